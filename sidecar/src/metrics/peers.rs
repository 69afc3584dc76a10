//! Connections and requests between pods.

use std::{
    array,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use opentelemetry::{KeyValue, metrics::Meter};

use super::Counters;
use crate::peers::{ClientResult, HandshakeFailure};

/// Who connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkDirection {
    /// Another pod.
    In,
    /// This pod.
    Out,
}

impl LinkDirection {
    const ALL: [Self; 2] = [Self::In, Self::Out];

    const fn label(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// What happened between pods.
#[derive(Debug)]
pub(crate) struct PeerCounts {
    connections: [AtomicU64; LinkDirection::ALL.len()],
    handshake_failures: [AtomicU64; HandshakeFailure::ALL.len()],
    requests: [AtomicU64; ClientResult::ALL.len()],
}

impl Default for PeerCounts {
    fn default() -> Self {
        let zero = |_| AtomicU64::new(0);
        Self {
            connections: array::from_fn(zero),
            handshake_failures: array::from_fn(zero),
            requests: array::from_fn(zero),
        }
    }
}

impl PeerCounts {
    /// A request to a member.
    pub(crate) fn add_request(&self, result: ClientResult) {
        self.requests[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody was not let in.
    pub(crate) fn add_handshake_failure(&self, failure: HandshakeFailure) {
        self.handshake_failures[failure as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// What was counted between pods so far, by the words that metrics have for it.
impl Counters {
    /// Requests to members with this result.
    #[must_use]
    pub fn peer_requests(&self, label: &str) -> u64 {
        let results = ClientResult::ALL.iter().zip(&self.peers.requests);
        results
            .filter(|(result, _)| result.label() == label)
            .map(|(_, count)| count.load(Ordering::Relaxed))
            .sum()
    }

    /// Connections that were not let in for this reason.
    #[must_use]
    pub fn peer_handshake_failures(&self, label: &str) -> u64 {
        let failures = HandshakeFailure::ALL.iter().zip(&self.peers.handshake_failures);
        failures.filter(|(one, _)| one.label() == label).map(|(_, count)| count.load(Ordering::Relaxed)).sum()
    }

    /// Open connections that other pods made to this one (`in`) or this one to others (`out`).
    #[must_use]
    pub fn peer_connections(&self, label: &str) -> u64 {
        let open = LinkDirection::ALL.iter().zip(&self.peers.connections);
        open.filter(|(one, _)| one.label() == label).map(|(_, count)| count.load(Ordering::Relaxed)).sum()
    }
}

/// One in the gauge, however the connection ends.
#[derive(Debug)]
pub(crate) struct OpenPeer {
    counters: Arc<Counters>,
    direction: LinkDirection,
}

impl OpenPeer {
    pub(crate) fn count(counters: &Arc<Counters>, direction: LinkDirection) -> Self {
        counters.peers.connections[direction as usize].fetch_add(1, Ordering::Relaxed);
        Self { counters: counters.clone(), direction }
    }
}

impl Drop for OpenPeer {
    fn drop(&mut self) {
        self.counters.peers.connections[self.direction as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// What never happened has no series.
pub(super) fn instrument(meter: &Meter, counters: &Arc<Counters>) {
    let shared = counters.clone();
    meter
        .u64_observable_gauge("connectedcache_peers_connections")
        .with_description("Open connections between pods, by who connected")
        .with_callback(move |observer| {
            for (direction, count) in LinkDirection::ALL.iter().zip(&shared.peers.connections) {
                let labels = [KeyValue::new("direction", direction.label())];
                observer.observe(count.load(Ordering::Relaxed), &labels);
            }
        })
        .build();
    let shared = counters.clone();
    meter
        .u64_observable_counter("connectedcache_peers_handshake_failures")
        .with_description("Connections to listen.peers that were not let in, by reason")
        .with_callback(move |observer| {
            for (failure, count) in HandshakeFailure::ALL.iter().zip(&shared.peers.handshake_failures) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    observer.observe(count, &[KeyValue::new("reason", failure.label())]);
                }
            }
        })
        .build();
    let shared = counters.clone();
    meter
        .u64_observable_counter("connectedcache_peers_requests")
        .with_description("Requests to other pods, by result")
        .with_callback(move |observer| {
            for (result, count) in ClientResult::ALL.iter().zip(&shared.peers.requests) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    observer.observe(count, &[KeyValue::new("result", result.label())]);
                }
            }
        })
        .build();
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::{Registry, TextEncoder};

    use super::*;

    /// What Prometheus reads of these instruments.
    fn text(counters: &Arc<Counters>) -> String {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build();
        let provider = SdkMeterProvider::builder().with_reader(exporter.unwrap()).build();
        instrument(&provider.meter("test"), counters);
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn what_happened_between_pods_is_shown_by_word() {
        let counters = Arc::new(Counters::default());
        let open = OpenPeer::count(&counters, LinkDirection::Out);
        counters.peers.add_handshake_failure(HandshakeFailure::NotAMember);
        (0..3).for_each(|_| counters.peers.add_request(ClientResult::Vanished));
        let lines = |counters: &Arc<Counters>| {
            let text = text(counters);
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        let expected = |out: u32| {
            [
                "connectedcache_peers_connections{direction=\"in\"} 0".to_owned(),
                format!("connectedcache_peers_connections{{direction=\"out\"}} {out}"),
                "connectedcache_peers_handshake_failures_total{reason=\"not_a_member\"} 1".to_owned(),
                "connectedcache_peers_requests_total{result=\"vanished\"} 3".to_owned(),
            ]
        };
        assert_eq!(lines(&counters), expected(1));
        drop(open);
        assert_eq!(lines(&counters), expected(0));
    }

    #[test]
    fn every_word_is_counted_by_itself() {
        let counters = Arc::new(Counters::default());
        for (times, result) in ClientResult::ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| counters.peers.add_request(result));
        }
        for (times, failure) in HandshakeFailure::ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| counters.peers.add_handshake_failure(failure));
        }
        for (times, result) in (1..).zip(ClientResult::ALL) {
            assert_eq!(counters.peer_requests(result.label()), times, "{result:?}");
        }
        for (times, failure) in (1..).zip(HandshakeFailure::ALL) {
            assert_eq!(counters.peer_handshake_failures(failure.label()), times, "{failure:?}");
        }
    }
}
