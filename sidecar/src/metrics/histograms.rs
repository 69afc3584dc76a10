//! Distributions. They are added to without a lock and without memory, and read by the registry itself: OpenTelemetry can only
//! observe sums.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, core::Collector};

use super::Source;

/// From memory, from disks, from origins, and up to where clients give up.
const FIRST_BYTE_BUCKETS: [f64; 7] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 10.0];
/// An hour, six, a day, three, a week, two and a month: below three days a larger disk would pay.
const EVICTED_AGE_BUCKETS: [f64; 7] =
    [3_600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0, 1_209_600.0, 2_592_000.0];

/// Times to the first byte, by where it came from.
#[derive(Debug)]
pub(crate) struct FirstBytes {
    family: HistogramVec,
    by_source: [Histogram; 4],
}

impl Default for FirstBytes {
    fn default() -> Self {
        let options = HistogramOpts::new(
            "connectedcache_time_to_first_byte_seconds",
            "Time from a request's head to the first body byte that the kernel took, by where that came from",
        );
        let options = options.const_label("protocol", "http").buckets(FIRST_BYTE_BUCKETS.to_vec());
        let family = HistogramVec::new(options, &["source"]).expect("its names and buckets are constants");
        let by_source = Source::ALL.map(|source| family.with_label_values(&[source.as_str()]));
        Self { family, by_source }
    }
}

impl FirstBytes {
    pub(super) fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.family.clone())
    }

    /// Takes no lock and no memory.
    pub(crate) fn add(&self, source: Source, waited: Duration) {
        self.by_source[source.index()].observe(waited.as_secs_f64());
    }
}

/// Ages of what was evicted.
#[derive(Debug)]
pub(crate) struct EvictedAges(Histogram);

impl Default for EvictedAges {
    fn default() -> Self {
        let options = HistogramOpts::new(
            "connectedcache_evicted_age_seconds",
            "Time since the last use of their object, of pieces that were evicted to make room",
        );
        let options = options.buckets(EVICTED_AGE_BUCKETS.to_vec());
        Self(Histogram::with_opts(options).expect("its name and buckets are constants"))
    }
}

impl EvictedAges {
    pub(super) fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.0.clone())
    }

    /// So many pieces of one age.
    pub(crate) fn add(&self, pieces: usize, age: Duration) {
        for _ in 0..pieces {
            self.0.observe(age.as_secs_f64());
        }
    }
}
