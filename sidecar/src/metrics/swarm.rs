//! The swarm: connections, what was refused and why, and bytes of pieces by who got or gave them.

use std::{
    array,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use opentelemetry::{
    KeyValue,
    metrics::{Meter, ObservableCounter},
};
use parking_lot::Mutex;

use super::Counters;

/// Which side opened a connection, or which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum PeerDirection {
    In,
    Out,
}

/// The other end, as far as labels tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PeerZone {
    Same,
    Other,
    /// A member whose zone is not known.
    Unknown,
    /// No member.
    Foreign,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PeerState {
    /// Its handshake is not complete.
    HalfOpen,
    Open,
}

impl PeerDirection {
    const ALL: [Self; 2] = [Self::In, Self::Out];

    const fn label(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl PeerZone {
    const ALL: [Self; 4] = [Self::Same, Self::Other, Self::Unknown, Self::Foreign];

    const fn label(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Other => "other",
            Self::Unknown => "unknown",
            Self::Foreign => "foreign",
        }
    }
}

impl PeerState {
    const ALL: [Self; 2] = [Self::HalfOpen, Self::Open];

    const fn label(self) -> &'static str {
        match self {
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// Occurrences by the label of their reason, which is one of a closed set.
#[derive(Debug, Default)]
pub(crate) struct ByReason(Mutex<BTreeMap<&'static str, u64>>);

impl ByReason {
    pub(crate) fn add(&self, reason: &'static str) {
        *self.0.lock().entry(reason).or_default() += 1;
    }

    #[cfg(test)]
    pub(crate) fn of(&self, reason: &str) -> u64 {
        self.0.lock().get(reason).copied().unwrap_or_default()
    }
}

/// Everything that is counted of the swarm.
#[derive(Debug)]
pub(crate) struct SwarmCounts {
    bytes: [AtomicU64; PeerDirection::ALL.len() * PeerZone::ALL.len()],
    connections: [AtomicU64; PeerDirection::ALL.len() * PeerState::ALL.len()],
    /// Connections that were closed because of a bound or of who they are.
    pub(crate) refused: ByReason,
    /// Rules that peers broke.
    pub(crate) violations: ByReason,
    pub(crate) bans: ByReason,
    /// Pieces of peers that failed their check.
    pub(crate) bad_pieces: AtomicU64,
}

impl Default for SwarmCounts {
    fn default() -> Self {
        Self {
            bytes: array::from_fn(|_| AtomicU64::new(0)),
            connections: array::from_fn(|_| AtomicU64::new(0)),
            refused: ByReason::default(),
            violations: ByReason::default(),
            bans: ByReason::default(),
            bad_pieces: AtomicU64::new(0),
        }
    }
}

impl SwarmCounts {
    /// Adds bytes of pieces.
    pub(crate) fn add_bytes(&self, direction: PeerDirection, zone: PeerZone, bytes: u64) {
        self.bytes_of(direction, zone).fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self, direction: PeerDirection, zone: PeerZone) -> u64 {
        self.bytes_of(direction, zone).load(Ordering::Relaxed)
    }

    fn bytes_of(&self, direction: PeerDirection, zone: PeerZone) -> &AtomicU64 {
        &self.bytes[direction as usize * PeerZone::ALL.len() + zone as usize]
    }

    /// Connections of this kind that are there.
    pub(crate) fn connections(&self, direction: PeerDirection, state: PeerState) -> &AtomicU64 {
        &self.connections[direction as usize * PeerState::ALL.len() + state as usize]
    }
}

/// Picks one of the counts by reason.
type Pick = fn(&SwarmCounts) -> &ByReason;

/// Reasons that never occurred have no series.
pub(super) fn instrument(meter: &Meter, counters: &Arc<Counters>) {
    let shared = counters.clone();
    meter
        .u64_observable_counter("connectedcache_peer_bytes")
        .with_description("Bytes of pieces that came from peers and went to them, by the zone of the peer")
        .with_callback(move |observer| {
            for direction in PeerDirection::ALL {
                for zone in PeerZone::ALL {
                    let labels =
                        [KeyValue::new("direction", direction.label()), KeyValue::new("zone", zone.label())];
                    observer.observe(shared.swarm.bytes(direction, zone), &labels);
                }
            }
        })
        .build();
    let shared = counters.clone();
    meter
        .u64_observable_gauge("connectedcache_swarm_connections")
        .with_description("Connections to peers, by who opened them and how far they are")
        .with_callback(move |observer| {
            for direction in PeerDirection::ALL {
                for state in PeerState::ALL {
                    let labels = [
                        KeyValue::new("direction", direction.label()),
                        KeyValue::new("state", state.label()),
                    ];
                    let count = shared.swarm.connections(direction, state).load(Ordering::Relaxed);
                    observer.observe(count, &labels);
                }
            }
        })
        .build();
    let by_reason: [(&'static str, &'static str, Pick); 3] = [
        ("connectedcache_swarm_refused", "Connections of peers that were refused, by reason", |c| &c.refused),
        ("connectedcache_swarm_violations", "Rules of the swarm protocol that peers broke", |c| {
            &c.violations
        }),
        ("connectedcache_swarm_bans", "Peers that were banned, by reason", |c| &c.bans),
    ];
    for (name, description, counts) in by_reason {
        reasons(meter, name, description, counters.clone(), counts);
    }
    let shared = counters.clone();
    meter
        .u64_observable_counter("connectedcache_swarm_bad_pieces")
        .with_description("Pieces of peers that failed their check")
        .with_callback(move |observer| {
            observer.observe(shared.swarm.bad_pieces.load(Ordering::Relaxed), &[]);
        })
        .build();
}

fn reasons(
    meter: &Meter,
    name: &'static str,
    description: &'static str,
    counters: Arc<Counters>,
    counts: Pick,
) -> ObservableCounter<u64> {
    meter
        .u64_observable_counter(name)
        .with_description(description)
        .with_callback(move |observer| {
            for (reason, count) in counts(&counters.swarm).0.lock().iter() {
                observer.observe(*count, &[KeyValue::new("reason", *reason)]);
            }
        })
        .build()
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::{Registry, TextEncoder};

    use super::*;

    #[test]
    fn every_figure_is_shown_under_its_labels() {
        let (registry, counters) = (Registry::new(), Arc::new(Counters::default()));
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false);
        let provider = SdkMeterProvider::builder().with_reader(exporter.build().unwrap()).build();
        instrument(&provider.meter("test"), &counters);
        let swarm = &counters.swarm;
        swarm.add_bytes(PeerDirection::In, PeerZone::Same, 11);
        swarm.add_bytes(PeerDirection::Out, PeerZone::Foreign, 22);
        swarm.connections(PeerDirection::In, PeerState::HalfOpen).store(3, Ordering::Relaxed);
        swarm.connections(PeerDirection::Out, PeerState::Open).store(4, Ordering::Relaxed);
        swarm.refused.add("banned");
        swarm.violations.add("unrequested_data");
        swarm.bans.add("bad_pieces");
        swarm.bad_pieces.store(5, Ordering::Relaxed);
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "connectedcache_peer_bytes_total{direction=\"in\",zone=\"same\"} 11",
            "connectedcache_peer_bytes_total{direction=\"out\",zone=\"foreign\"} 22",
            "connectedcache_peer_bytes_total{direction=\"out\",zone=\"same\"} 0",
            "connectedcache_swarm_connections{direction=\"in\",state=\"half_open\"} 3",
            "connectedcache_swarm_connections{direction=\"out\",state=\"open\"} 4",
            "connectedcache_swarm_refused_total{reason=\"banned\"} 1",
            "connectedcache_swarm_violations_total{reason=\"unrequested_data\"} 1",
            "connectedcache_swarm_bans_total{reason=\"bad_pieces\"} 1",
            "connectedcache_swarm_bad_pieces_total 5",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
    }
}
