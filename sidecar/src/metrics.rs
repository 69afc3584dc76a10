//! Counters and their names. The counters are plain atomics, read by the OpenTelemetry instruments when somebody scrapes and by
//! the summary, so that both say the same and the hot path pays one addition.
//!
//! Labels come from closed sets; never a host, a path, a client or a content id.

mod bandwidth;
mod certificates;
mod control_plane;
mod histograms;
mod members;
mod peers;
mod requests;
mod sharing;
mod simple_mode;
mod swarm;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use connected_cache_core::ContentClass;
use connected_cache_store::{ClassUsage, Health, Store};
use opentelemetry::{KeyValue, metrics::MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use parking_lot::Mutex;
use prometheus::{Encoder, Registry, TextEncoder};

use crate::{bandwidth::Bandwidth, peers::Identity, tls::Certificates};
pub(crate) use bandwidth::Direction;
use control_plane::CallCounts;
pub(crate) use control_plane::{CallResult, Service};
use histograms::{EvictedAges, FirstBytes};
use members::MemberCounts;
use peers::PeerCounts;
pub(crate) use peers::{LinkDirection, OpenPeer};
use requests::RequestCounts;
#[cfg(test)]
pub(crate) use sharing::Questions;
use sharing::SharingCounts;
use simple_mode::SimpleModeCounts;
use swarm::SwarmCounts;
pub(crate) use swarm::{PeerDirection, PeerState, PeerZone};

/// Where bytes that a client got came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Held in memory, for example because another client's fetch was followed.
    Memory,
    /// Read from a volume.
    Disk,
    /// From another pod or a peer.
    Peer,
    /// Fetched for this client.
    Origin,
}

impl Source {
    /// Every source, in the order of its index.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Disk, Self::Peer, Self::Origin];

    /// The word for labels and headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Peer => "peer",
            Self::Origin => "origin",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CacheResult {
    /// Nothing was fetched.
    Hit,
    /// Everything was fetched.
    Miss,
    /// Some was fetched.
    Partial,
    /// It is not shared and was passed on for one client.
    Bypass,
    /// Not answered from content: refused or failed.
    None,
}

impl CacheResult {
    const ALL: [Self; 5] = [Self::Hit, Self::Miss, Self::Partial, Self::Bypass, Self::None];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Partial => "partial",
            Self::Bypass => "bypass",
            Self::None => "none",
        }
    }
}

/// Labels of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestLabels {
    /// What the origin delivers; `None` = no origin was accepted.
    pub class: Option<ContentClass>,
    /// How it was answered.
    pub result: CacheResult,
    /// First digit of the status.
    pub code_class: u16,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) first_bytes: FirstBytes,
    pub(crate) evicted_ages: EvictedAges,
    /// Connections to peers.
    pub(crate) swarm: SwarmCounts,
    /// Calls to the control plane.
    pub(crate) control_plane: CallCounts,
    /// What pods of this cache ask each other.
    pub(crate) sharing: SharingCounts,
    /// The other pods.
    pub(crate) members: MemberCounts,
    /// Connections and requests between pods.
    pub(crate) peers: PeerCounts,
    served_bytes: [AtomicU64; 4],
    /// Nanoseconds, by direction: five hundred years of waiting.
    paced: [AtomicU64; 2],
    /// Body bytes that came from origins.
    pub origin_bytes: AtomicU64,
    /// Requests to origins.
    pub origin_requests: AtomicU64,
    /// Requests that went to an origin because the parent gave nothing.
    pub parent_fallbacks: AtomicU64,
    /// Pieces that could not be stored.
    pub pieces_passed_through: AtomicU64,
    /// Pieces whose bytes were not those that were stored, or not the authenticated ones.
    pub pieces_rejected: AtomicU64,
    /// Pieces that were found to be the authenticated ones.
    pub pieces_verified: AtomicU64,
    /// Times that the bytes of a fetched piece were hashed.
    pub pieces_hashed: AtomicU64,
    /// Fetched pieces that were stored.
    pub pieces_admitted: AtomicU64,
    /// Objects that went to simple mode.
    pub(crate) simple_mode_objects: SimpleModeCounts,
    /// Stored pieces that were checked in the background.
    pub pieces_scrubbed: AtomicU64,
    /// Bytes that were purged from volumes.
    pub purged_bytes: AtomicU64,
    /// Objects that were purged.
    pub purged_objects: AtomicU64,
    /// Requests that waited for another one's first fetch.
    pub collapsed_requests: AtomicU64,
    /// Requests that got a 503 because there were too many connections.
    pub requests_turned_away: AtomicU64,
    /// Open content connections.
    pub connections: AtomicU64,
    requests: RequestCounts,
    origin_errors: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    /// Adds body bytes that were handed to the kernel.
    pub fn add_served(&self, source: Source, bytes: u64) {
        self.served_bytes[source.index()].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Body bytes that were handed to the kernel so far.
    #[must_use]
    pub fn served(&self, source: Source) -> u64 {
        self.served_bytes[source.index()].load(Ordering::Relaxed)
    }

    /// Adds the time that one transfer waited because of a cap.
    pub(crate) fn add_paced(&self, direction: Direction, waited: Duration) {
        let nanoseconds = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.paced[direction as usize].fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn paced(&self, direction: Direction) -> Duration {
        Duration::from_nanos(self.paced[direction as usize].load(Ordering::Relaxed))
    }

    /// Counts an answered request.
    pub fn add_request(&self, labels: RequestLabels) {
        self.requests.add(labels);
    }

    /// Counts a request to an origin that gave nothing, by the label of its error.
    pub fn add_origin_error(&self, reason: &'static str) {
        *self.origin_errors.lock().entry(reason).or_default() += 1;
    }

    /// Requests with this result so far.
    #[must_use]
    pub fn requests(&self, result: CacheResult) -> u64 {
        self.requests.seen().filter(|(labels, _)| labels.result == result).map(|(_, count)| count).sum()
    }
}

/// The instruments and what renders them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    _provider: SdkMeterProvider,
}

/// The exporter could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("failed to set up metrics: {reason}")]
pub struct MetricsError {
    reason: String,
}

impl Metrics {
    /// Instruments over these counters, this store, these caps and the certificates of the listeners.
    pub(crate) fn new(
        counters: &Arc<Counters>,
        store: &Arc<Store>,
        bandwidth: Option<&Arc<Bandwidth>>,
        certificates: Option<&Arc<Certificates>>,
        identity: Option<&Arc<Identity>>,
    ) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        for histogram in [counters.first_bytes.collector(), counters.evicted_ages.collector()] {
            registry.register(histogram).map_err(|error| MetricsError { reason: error.to_string() })?;
        }
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .without_units()
            .build()
            .map_err(|error| MetricsError { reason: error.to_string() })?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("connectedcache");
        instrument_counters(&meter, counters);
        simple_mode::instrument(&meter, counters);
        instrument_store(&meter, store);
        bandwidth::instrument(&meter, counters, bandwidth);
        control_plane::instrument(&meter, counters);
        sharing::instrument(&meter, counters);
        members::instrument(&meter, counters);
        swarm::instrument(&meter, counters);
        peers::instrument(&meter, counters);
        instrument_classes(&meter, store);
        certificates::instrument(&meter, certificates, identity);
        Ok(Self { registry, _provider: provider })
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> Result<String, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .map_err(|error| MetricsError { reason: error.to_string() })?;
        String::from_utf8(text).map_err(|error| MetricsError { reason: error.to_string() })
    }
}

/// Picks one of the plain counters.
type Counter = fn(&Counters) -> &AtomicU64;

/// Names get their `_total` from the exporter.
fn instrument_counters(meter: &opentelemetry::metrics::Meter, counters: &Arc<Counters>) {
    let http = || KeyValue::new("protocol", "http");
    let shared = counters.clone();
    meter
        .u64_observable_counter("connectedcache_served_bytes")
        .with_description("Body bytes written to clients, by where they came from")
        .with_callback(move |observer| {
            for source in Source::ALL {
                observer.observe(shared.served(source), &[http(), KeyValue::new("source", source.as_str())]);
            }
        })
        .build();
    let shared = counters.clone();
    meter
        .u64_observable_counter("connectedcache_requests")
        .with_description("Answered content requests")
        .with_callback(move |observer| {
            for (labels, count) in shared.requests.seen() {
                let class = labels.class.map_or("none", class_label);
                let labels = [
                    http(),
                    KeyValue::new("content_class", class),
                    KeyValue::new("cache_status", labels.result.as_str()),
                    KeyValue::new("code_class", format!("{}xx", labels.code_class)),
                ];
                observer.observe(count, &labels);
            }
        })
        .build();
    let single: [(&'static str, &'static str, Counter); 13] = [
        ("connectedcache_origin_bytes", "Body bytes fetched from origins or the parent", |c| &c.origin_bytes),
        ("connectedcache_origin_requests", "Requests to origins, or to the parent first", |c| {
            &c.origin_requests
        }),
        (
            "connectedcache_parent_fallbacks",
            "Requests sent to origins because the parent gave nothing",
            |c| &c.parent_fallbacks,
        ),
        ("connectedcache_pieces_passed_through", "Pieces that no volume could take", |c| {
            &c.pieces_passed_through
        }),
        ("connectedcache_pieces_rejected", "Pieces whose bytes were wrong", |c| &c.pieces_rejected),
        ("connectedcache_pieces_verified", "Pieces found to be the authenticated ones", |c| {
            &c.pieces_verified
        }),
        ("connectedcache_pieces_hashed", "Times that a fetched piece was hashed", |c| &c.pieces_hashed),
        ("connectedcache_pieces_admitted", "Fetched pieces that were stored", |c| &c.pieces_admitted),
        ("connectedcache_pieces_scrubbed", "Stored pieces checked in the background", |c| &c.pieces_scrubbed),
        ("connectedcache_purged_bytes", "Bytes purged from volumes", |c| &c.purged_bytes),
        ("connectedcache_purged_objects", "Objects purged", |c| &c.purged_objects),
        ("connectedcache_collapsed_requests", "Requests that waited for another one's fetch", |c| {
            &c.collapsed_requests
        }),
        ("connectedcache_turned_away_requests", "Requests answered 503 for too many connections", |c| {
            &c.requests_turned_away
        }),
    ];
    for (name, description, counter) in single {
        let shared = counters.clone();
        meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| observer.observe(counter(&shared).load(Ordering::Relaxed), &[]))
            .build();
    }
    let shared = counters.clone();
    meter
        .u64_observable_counter("connectedcache_origin_errors")
        .with_description("Requests to origins that gave nothing, by reason")
        .with_callback(move |observer| {
            for (reason, count) in shared.origin_errors.lock().iter() {
                observer.observe(*count, &[KeyValue::new("reason", *reason)]);
            }
        })
        .build();
    let shared = counters.clone();
    meter
        .u64_observable_gauge("connectedcache_connections")
        .with_description("Open content connections")
        .with_callback(move |observer| {
            observer.observe(shared.connections.load(Ordering::Relaxed), &[http()]);
        })
        .build();
    meter
        .u64_observable_gauge("connectedcache_build_info")
        .with_description("Always 1; the version is a label")
        .with_callback(|observer| observer.observe(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]))
        .build();
}

fn instrument_store(meter: &opentelemetry::metrics::Meter, store: &Arc<Store>) {
    let shared = store.clone();
    meter
        .u64_observable_gauge("connectedcache_storage_bytes")
        .with_description("Bytes of each volume: pieces and index in use, and the limit for both")
        .with_callback(move |observer| {
            for (path, _, usage) in shared.volumes() {
                let path = path.display().to_string();
                let states =
                    [("used", usage.pieces + usage.index), ("index", usage.index), ("limit", usage.limit)];
                for (state, bytes) in states {
                    let labels = [KeyValue::new("volume", path.clone()), KeyValue::new("state", state)];
                    observer.observe(bytes, &labels);
                }
            }
        })
        .build();
    let shared = store.clone();
    meter
        .u64_observable_gauge("connectedcache_storage_healthy")
        .with_description("1 = the volume is written to, 0 = it fails and is passed by")
        .with_callback(move |observer| {
            for (path, health, _) in shared.volumes() {
                let path = path.display().to_string();
                let healthy = u64::from(health == Health::Healthy);
                observer.observe(healthy, &[KeyValue::new("volume", path)]);
            }
        })
        .build();
    let shared = store.clone();
    meter
        .u64_observable_counter("connectedcache_evicted_bytes")
        .with_description("Bytes evicted to make room")
        .with_callback(move |observer| {
            for (path, _, usage) in shared.volumes() {
                observer.observe(usage.evicted, &[KeyValue::new("volume", path.display().to_string())]);
            }
        })
        .build();
}

/// Picks one of the figures of a class.
type Figure = fn(ClassUsage) -> u64;

fn instrument_classes(meter: &opentelemetry::metrics::Meter, store: &Arc<Store>) {
    let gauges: [(&'static str, &'static str, Figure); 2] = [
        ("connectedcache_storage_class_bytes", "Bytes of stored pieces, by class", |usage| usage.bytes),
        ("connectedcache_storage_class_objects", "Objects with stored pieces, by class", |usage| {
            usage.objects
        }),
    ];
    for (name, description, figure) in gauges {
        let shared = store.clone();
        meter
            .u64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |observer| {
                for (class, usage) in by_class(&shared) {
                    observer.observe(figure(usage), &[KeyValue::new("content_class", class_label(class))]);
                }
            })
            .build();
    }
}

/// What is stored of every class, all volumes together; nothing is a figure too.
pub(crate) fn by_class(store: &Store) -> BTreeMap<ContentClass, ClassUsage> {
    let nothing = |class: ContentClass| ClassUsage { class: class.number(), objects: 0, bytes: 0 };
    let mut classes: BTreeMap<_, _> = ContentClass::ALL.map(|class| (class, nothing(class))).into();
    for found in store.classes() {
        let class = ContentClass::of_number(found.class);
        let usage = classes.entry(class).or_insert_with(|| nothing(class));
        usage.objects += found.objects;
        usage.bytes += found.bytes;
    }
    classes
}

pub(crate) fn class_label(class: ContentClass) -> &'static str {
    match class {
        ContentClass::WindowsUpdate => "windows_update",
        ContentClass::Edge => "edge",
        ContentClass::Office => "office",
        ContentClass::Intune => "intune",
        ContentClass::Teams => "teams",
        ContentClass::Outlook => "outlook",
        ContentClass::Xbox => "xbox",
        ContentClass::DeviceUpdate => "device_update",
        ContentClass::Other => "other",
    }
}
