//! Objects that went to simple mode, by reason.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use opentelemetry::{KeyValue, metrics::Meter};

use super::Counters;
use crate::control_plane::SimpleMode;

/// One count for each reason.
#[derive(Debug, Default)]
pub(crate) struct SimpleModeCounts([AtomicU64; SimpleMode::ALL.len()]);

impl SimpleModeCounts {
    pub(crate) fn add(&self, reason: SimpleMode) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn of(&self, reason: SimpleMode) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }
}

pub(super) fn instrument(meter: &Meter, counters: &Arc<Counters>) {
    let counters = counters.clone();
    meter
        .u64_observable_counter("connectedcache_simple_mode_objects")
        .with_description("Objects that went to simple mode, by reason")
        .with_callback(move |observer| {
            for reason in SimpleMode::ALL {
                let count = counters.simple_mode_objects.of(reason);
                observer.observe(count, &[KeyValue::new("reason", reason.label())]);
            }
        })
        .build();
}
