//! The summary: totals since the start and of the last full period, in the words of the documented report
//! (dossier delivery-optimization 1.9).

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use connected_cache_store::{Health, Store};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use crate::metrics::{CacheResult, Counters, Source};

/// Length of a period.
pub(crate) const INTERVAL: Duration = Duration::from_secs(15);

/// Takes a note of the totals at the end of each period.
#[derive(Debug)]
pub(crate) struct Reporter {
    node_id: String,
    counters: Arc<Counters>,
    store: Arc<Store>,
    periods: Mutex<Periods>,
}

#[derive(Debug, Default)]
struct Periods {
    at_last_end: Totals,
    last_period: Totals,
    ended_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    hits: u64,
    misses: u64,
    hit_bytes: u64,
    miss_bytes: u64,
}

/// The report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    node_id: String,
    generated_at: String,
    interval_seconds: u64,
    period: Figures,
    lifetime: Figures,
    drives: Vec<Drive>,
    origin_bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    hits: u64,
    misses: u64,
    hit_bytes: u64,
    miss_bytes: u64,
    /// Spelt as in the documented report.
    eggress_bytes: u64,
    hit_ratio_bytes: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Drive {
    path: String,
    size_gb: u64,
    used_bytes: u64,
    /// Why it is passed by; null = it works.
    failure: Option<String>,
}

impl Reporter {
    pub(super) fn new(node_id: &str, counters: Arc<Counters>, store: Arc<Store>) -> Self {
        Self { node_id: node_id.to_owned(), counters, store, periods: Mutex::default() }
    }

    /// Ends a period.
    pub(crate) fn end_period(&self, now: Timestamp) {
        let totals = self.totals();
        let mut periods = self.periods.lock();
        periods.last_period = totals.since(periods.at_last_end);
        periods.at_last_end = totals;
        periods.ended_at = Some(now);
    }

    /// Ends a period every 15 seconds, forever.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.end_period(Timestamp::now());
        }
    }

    pub(super) fn current(&self) -> Summary {
        let (period, generated_at) = {
            let periods = self.periods.lock();
            (periods.last_period, periods.ended_at.unwrap_or_else(Timestamp::now))
        };
        let drives = self.store.volumes().into_iter().map(|(path, health, usage)| Drive {
            path: path.display().to_string(),
            size_gb: usage.limit / 1_000_000_000,
            used_bytes: usage.pieces + usage.index,
            failure: match health {
                Health::Healthy => None,
                Health::Failed(reason) => Some(reason),
            },
        });
        Summary {
            node_id: self.node_id.clone(),
            generated_at: format!("{generated_at:.0}"),
            interval_seconds: INTERVAL.as_secs(),
            period: period.into(),
            lifetime: self.totals().into(),
            drives: drives.collect(),
            origin_bytes: self.counters.origin_bytes.load(Ordering::Relaxed),
        }
    }

    fn totals(&self) -> Totals {
        let counters = &self.counters;
        Totals {
            hits: counters.requests(CacheResult::Hit),
            misses: [CacheResult::Miss, CacheResult::Partial, CacheResult::Bypass]
                .map(|result| counters.requests(result))
                .iter()
                .sum(),
            hit_bytes: [Source::Memory, Source::Disk, Source::Peer]
                .map(|source| counters.served(source))
                .iter()
                .sum(),
            miss_bytes: counters.served(Source::Origin),
        }
    }
}

impl Totals {
    const fn since(self, earlier: Self) -> Self {
        Self {
            hits: self.hits - earlier.hits,
            misses: self.misses - earlier.misses,
            hit_bytes: self.hit_bytes - earlier.hit_bytes,
            miss_bytes: self.miss_bytes - earlier.miss_bytes,
        }
    }
}

impl From<Totals> for Figures {
    #[allow(clippy::cast_precision_loss, reason = "a ratio for people; 2^53 bytes are enough")]
    fn from(totals: Totals) -> Self {
        let egress = totals.hit_bytes + totals.miss_bytes;
        let ratio = if egress == 0 { 0.0 } else { totals.hit_bytes as f64 / egress as f64 };
        Self {
            hits: totals.hits,
            misses: totals.misses,
            hit_bytes: totals.hit_bytes,
            miss_bytes: totals.miss_bytes,
            eggress_bytes: egress,
            hit_ratio_bytes: ratio,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_of_nothing_is_zero() {
        let figures = Figures::from(Totals { hits: 0, misses: 1, hit_bytes: 0, miss_bytes: 0 });
        assert!(figures.hit_ratio_bytes.abs() < f64::EPSILON);
    }
}
