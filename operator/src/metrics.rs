//! Metrics of the operator, prefix `connectedcache_operator_`. All are registered here.

use std::time::Instant;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, MeterProvider},
};
use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider};
use prometheus::{Encoder, Registry, TextEncoder};

/// A pass reads eleven objects and usually writes none, so it takes milliseconds; a slow API server makes it seconds.
const DURATION_BOUNDARIES_SECONDS: [f64; 11] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Why metrics are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Two metrics of one name, or a name that is none: a mistake in this file.
    #[error("failed to register the metrics: {0}")]
    Register(String),
}

/// The metrics of one process.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    reconcile_duration: Histogram<f64>,
    reconcile_errors: Counter<u64>,
    leader: Gauge<u64>,
    // Kept alive: the instruments above report to it.
    _provider: SdkMeterProvider,
}

impl Metrics {
    /// Registers all metrics.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()
            .map_err(|error| MetricsError::Register(error.to_string()))?;
        let provider = SdkMeterProvider::builder()
            .with_resource(Resource::builder_empty().build())
            .with_reader(reader)
            .build();
        let meter = provider.meter("connected-cache-operator");
        meter
            .u64_gauge("connectedcache_operator_build_info")
            .with_description("Always 1; the label says which version runs")
            .build()
            .record(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
        let leader = meter
            .u64_gauge("connectedcache_operator_leader")
            .with_description("1 while this process works, 0 while another one does")
            .build();
        leader.record(0, &[]);
        Ok(Self {
            reconcile_duration: meter
                .f64_histogram("connectedcache_operator_reconcile_duration")
                .with_unit("s")
                .with_boundaries(DURATION_BOUNDARIES_SECONDS.to_vec())
                .with_description("Duration of one pass over one cache")
                .build(),
            reconcile_errors: meter
                .u64_counter("connectedcache_operator_reconcile_errors")
                .with_description("Passes that failed, by the phase that failed")
                .build(),
            leader,
            registry,
            _provider: provider,
        })
    }

    /// Measures until the returned guard is dropped, whatever the outcome.
    #[must_use]
    pub fn time_reconcile(&self) -> ReconcileTimer {
        ReconcileTimer { histogram: self.reconcile_duration.clone(), start: Instant::now() }
    }

    pub(crate) fn count_error(&self, phase: &'static str) {
        self.reconcile_errors.add(1, &[KeyValue::new("phase", phase)]);
    }

    pub(crate) fn set_leader(&self, is_leader: bool) {
        self.leader.record(u64::from(is_leader), &[]);
    }

    /// The metrics in Prometheus' text form.
    pub fn text(&self) -> Result<String, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .map_err(|error| MetricsError::Register(error.to_string()))?;
        String::from_utf8(text).map_err(|error| MetricsError::Register(error.to_string()))
    }
}

/// Measures one pass.
#[derive(Debug)]
pub struct ReconcileTimer {
    histogram: Histogram<f64>,
    start: Instant,
}

impl Drop for ReconcileTimer {
    fn drop(&mut self) {
        self.histogram.record(self.start.elapsed().as_secs_f64(), &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let metrics = Metrics::new().expect("metrics");
        drop(metrics.time_reconcile());
        metrics.count_error("apply");
        metrics.set_leader(true);
        let text = metrics.text().expect("text");
        for line in [
            "connectedcache_operator_reconcile_duration_seconds_count 1",
            "connectedcache_operator_reconcile_errors_total{phase=\"apply\"} 1",
            "connectedcache_operator_leader 1",
            "connectedcache_operator_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
