//! How many members are known, and how long ago their source was heard.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use opentelemetry::{KeyValue, metrics::Meter};
use parking_lot::Mutex;

use super::Counters;
use crate::sharing::members::Member;

/// What is known of the members.
#[derive(Debug, Default)]
pub(crate) struct MemberCounts {
    ready: AtomicU64,
    not_ready: AtomicU64,
    leaving: AtomicU64,
    /// `None` = the members don't come from an API server.
    heard: Mutex<Option<Instant>>,
}

impl MemberCounts {
    pub(crate) fn set(&self, members: &[Member]) {
        let leaving = members.iter().filter(|member| member.is_leaving).count();
        let ready = members.iter().filter(|member| member.is_ready && !member.is_leaving).count();
        for (gauge, count) in [
            (&self.ready, ready),
            (&self.leaving, leaving),
            (&self.not_ready, members.len() - ready - leaving),
        ] {
            gauge.store(count as u64, Ordering::Relaxed);
        }
    }

    /// From now on the API server is to be heard.
    pub(crate) fn source_starts(&self) {
        self.heard();
    }

    /// The API server answered.
    pub(crate) fn heard(&self) {
        *self.heard.lock() = Some(Instant::now());
    }

    fn age_seconds(&self) -> Option<f64> {
        Some(self.heard.lock().as_ref()?.elapsed().as_secs_f64())
    }
}

pub(super) fn instrument(meter: &Meter, counters: &Arc<Counters>) {
    let shared = counters.clone();
    meter
        .u64_observable_gauge("connectedcache_members")
        .with_description("Known pods of this cache, this one included, by state")
        .with_callback(move |observer| {
            let members = &shared.members;
            for (state, gauge) in
                [("ready", &members.ready), ("not_ready", &members.not_ready), ("leaving", &members.leaving)]
            {
                observer.observe(gauge.load(Ordering::Relaxed), &[KeyValue::new("state", state)]);
            }
        })
        .build();
    let shared = counters.clone();
    meter
        .f64_observable_gauge("connectedcache_members_age_seconds")
        .with_description("Time since the API server last answered the watch of the members")
        .with_callback(move |observer| {
            if let Some(age) = shared.members.age_seconds() {
                observer.observe(age, &[]);
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
    fn members_are_shown_by_state_and_the_age_only_of_what_is_watched() {
        let counters = Arc::new(Counters::default());
        let member = |is_ready, is_leaving| Member {
            name: String::new(),
            zone: None,
            swarm: ([127, 0, 0, 1], 1).into(),
            peers: None,
            is_ready,
            is_leaving,
        };
        let members =
            [(true, false), (true, false), (true, true), (false, true), (false, true), (false, false)];
        counters.members.set(&members.map(|(is_ready, is_leaving)| member(is_ready, is_leaving)));
        let shown = text(&counters);
        for (state, count) in [("ready", 2), ("leaving", 3), ("not_ready", 1)] {
            let line = format!("connectedcache_members{{state=\"{state}\"}} {count}");
            assert!(shown.lines().any(|found| found == line), "{line}: {shown}");
        }
        assert!(!shown.contains("connectedcache_members_age_seconds"), "{shown}");
        counters.members.heard();
        assert!(text(&counters).contains("\nconnectedcache_members_age_seconds "), "{shown}");
    }
}
