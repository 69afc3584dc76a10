//! Calls to the control plane by service and result.

use std::{
    array,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use opentelemetry::{KeyValue, metrics::Meter};

use super::Counters;

/// Who was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Service {
    Geo,
    KeyValue,
    ContentPolicy,
    PieceHashFile,
    Discovery,
    Array,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum CallResult {
    /// A usable answer.
    Ok,
    /// No whole answer.
    Unreachable,
    /// An answer with another status than 200.
    Status,
    /// A web page.
    CaptivePortal,
    /// An empty JSON document.
    Empty,
    /// Anything else that can't be used.
    Unusable,
}

impl Service {
    const ALL: [Self; 6] =
        [Self::Geo, Self::KeyValue, Self::ContentPolicy, Self::PieceHashFile, Self::Discovery, Self::Array];

    /// Its own name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Geo => "Geo",
            Self::KeyValue => "KeyValue",
            Self::ContentPolicy => "ContentPolicy",
            Self::PieceHashFile => "PieceHashFile",
            Self::Discovery => "Discovery",
            Self::Array => "Array",
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Geo => "geo",
            Self::KeyValue => "key_value",
            Self::ContentPolicy => "content_policy",
            Self::PieceHashFile => "piece_hash_file",
            Self::Discovery => "discovery",
            Self::Array => "array",
        }
    }
}

impl CallResult {
    /// Every result.
    pub(crate) const ALL: [Self; 6] =
        [Self::Ok, Self::Unreachable, Self::Status, Self::CaptivePortal, Self::Empty, Self::Unusable];

    const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unreachable => "unreachable",
            Self::Status => "status",
            Self::CaptivePortal => "captive_portal",
            Self::Empty => "empty",
            Self::Unusable => "unusable",
        }
    }
}

const COMBINATIONS: usize = Service::ALL.len() * CallResult::ALL.len();

/// One counter for each combination.
#[derive(Debug)]
pub(crate) struct CallCounts([AtomicU64; COMBINATIONS]);

impl Default for CallCounts {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl CallCounts {
    pub(crate) fn add(&self, service: Service, result: CallResult) {
        self.of(service, result).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, service: Service, result: CallResult) -> u64 {
        self.of(service, result).load(Ordering::Relaxed)
    }

    fn of(&self, service: Service, result: CallResult) -> &AtomicU64 {
        &self.0[service as usize * CallResult::ALL.len() + result as usize]
    }
}

/// A service that was never called has no series.
pub(super) fn instrument(meter: &Meter, counters: &Arc<Counters>) {
    let shared = counters.clone();
    meter
        .u64_observable_counter("connectedcache_control_plane_requests")
        .with_description("Calls to the services of the control plane, by service and result")
        .with_callback(move |observer| {
            for service in Service::ALL {
                for result in CallResult::ALL {
                    let count = shared.control_plane.count(service, result);
                    if count > 0 {
                        let labels = [
                            KeyValue::new("service", service.label()),
                            KeyValue::new("result", result.label()),
                        ];
                        observer.observe(count, &labels);
                    }
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

    #[test]
    fn calls_are_shown_by_service_and_result() {
        let (registry, counters) = (Registry::new(), Arc::new(Counters::default()));
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .build();
        let provider = SdkMeterProvider::builder().with_reader(exporter.unwrap()).build();
        instrument(&provider.meter("test"), &counters);
        counters.control_plane.add(Service::ContentPolicy, CallResult::CaptivePortal);
        counters.control_plane.add(Service::ContentPolicy, CallResult::CaptivePortal);
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("connectedcache_control_plane_requests_total{"))
            .collect();
        assert_eq!(lines.len(), 1, "{text}");
        for part in ["result=\"captive_portal\"", "service=\"content_policy\"", "} 2"] {
            assert!(lines[0].contains(part), "{lines:?}");
        }
    }

    #[test]
    fn every_service_and_result_has_a_counter_of_its_own() {
        let counts = CallCounts::default();
        let pairs = || Service::ALL.into_iter().flat_map(|one| CallResult::ALL.map(|result| (one, result)));
        for ((service, result), times) in pairs().zip(1..) {
            (0..times).for_each(|_| counts.add(service, result));
        }
        for ((service, result), times) in pairs().zip(1..) {
            assert_eq!(counts.count(service, result), times, "{service:?} {result:?}");
        }
    }
}
