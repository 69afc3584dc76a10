//! Metrics of bandwidth caps.

use std::sync::Arc;

use connected_cache_core::BandwidthLimits;
use opentelemetry::KeyValue;

use super::Counters;
use crate::bandwidth::Bandwidth;

/// Where paced bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From us to clients.
    Client,
    /// From origins to us.
    Upstream,
}

impl Direction {
    const ALL: [Self; 2] = [Self::Client, Self::Upstream];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
        }
    }
}

/// A cap that is not in force has no series.
pub(super) fn instrument(
    meter: &opentelemetry::metrics::Meter,
    counters: &Arc<Counters>,
    bandwidth: Option<&Arc<Bandwidth>>,
) {
    let direction = |name| KeyValue::new("direction", name);
    let shared = counters.clone();
    meter
        .f64_observable_counter("connectedcache_paced_seconds")
        .with_description("Time that transfers waited because of a bandwidth cap, all of them added up")
        .with_callback(move |observer| {
            for way in Direction::ALL {
                observer.observe(shared.paced(way).as_secs_f64(), &[direction(way.as_str())]);
            }
        })
        .build();
    let Some(shared) = bandwidth.cloned() else { return };
    meter
        .u64_observable_gauge("connectedcache_bandwidth_limit_bits_per_second")
        .with_description(
            "Bandwidth caps in force: of all clients, of each client address, of what is fetched",
        )
        .with_callback(move |observer| {
            let BandwidthLimits { upstream, client, per_client } = shared.limits();
            for (name, cap) in [("client", client), ("per_client", per_client), ("upstream", upstream)] {
                if let Some(rate) = cap {
                    observer.observe(rate.bits(), &[direction(name)]);
                }
            }
        })
        .build();
}
