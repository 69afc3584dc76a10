//! Slow background work over what is stored: pieces are checked against their SHA-256 again and again, and objects that nobody
//! used for long go.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use connected_cache_core::ContentClass;
use connected_cache_store::{Object, PIECE_LENGTH, Store};

use crate::{catalog::now_seconds, metrics::Counters, settings::RulesByClass};

/// How often old objects are looked for, at most.
const EXPIRE_EVERY: Duration = Duration::from_mins(10);
/// How long the scrubber rests when it has seen everything, or is off.
const SCRUB_REST: Duration = Duration::from_mins(1);

/// What the upkeep works with.
#[derive(Clone, Debug)]
pub(crate) struct Upkeep {
    store: Arc<Store>,
    counters: Arc<Counters>,
    scrub_bytes_per_second: u64,
    rules: RulesByClass,
}

impl Upkeep {
    pub(crate) fn new(
        store: Arc<Store>,
        counters: Arc<Counters>,
        config: &connected_cache_config::Config,
    ) -> Self {
        Self {
            store,
            counters,
            scrub_bytes_per_second: u64::from(config.storage.scrub_mib_per_second) << 20,
            rules: RulesByClass::new(&config.content),
        }
    }

    /// Removes what a crash left on the volumes without being named by their indexes.
    pub(crate) async fn remove_leftovers(self) {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || store.remove_orphans()).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(files)) => tracing::info!(files, "files that a crash left behind were removed"),
            Ok(Err(error)) => tracing::warn!(%error, "unable to look for files that a crash left behind"),
        }
    }

    /// Removes what was not used for `content.ttl.maxAgeSeconds` and is not pinned, forever.
    pub(crate) async fn expire(self) {
        let every = EXPIRE_EVERY.min(Duration::from_secs((self.rules.least_max_age_seconds() / 2).max(1)));
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let upkeep = self.clone();
            let _ = tokio::task::spawn_blocking(move || upkeep.remove_old(now_seconds())).await;
        }
    }

    fn remove_old(&self, now: u64) {
        let max_age =
            |object: &Object| self.rules.of(ContentClass::of_number(object.class())).max_age_seconds;
        let old = |object: &Arc<Object>| {
            now.saturating_sub(object.last_used()) > max_age(object) && !object.is_pinned()
        };
        for object in self.store.objects().into_iter().filter(old) {
            tracing::debug!(object = object.number(), "an object that nobody used goes");
            self.store.remove(&object);
        }
    }

    /// Checks every stored piece, one after the other at the configured rate, forever. A damaged piece is dropped and counted.
    pub(crate) async fn scrub(self) {
        if self.scrub_bytes_per_second == 0 {
            return;
        }
        let pause = Duration::from_micros(PIECE_LENGTH as u64 * 1_000_000 / self.scrub_bytes_per_second);
        let mut pace = tokio::time::interval(pause);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            for object in self.store.objects() {
                for piece in (0..object.pieces()).filter(|piece| object.has(*piece)) {
                    pace.tick().await;
                    if !object.takes_pieces() {
                        // Nothing could be mended while its volume fails.
                        break;
                    }
                    self.check(&object, piece).await;
                }
            }
            tokio::time::sleep(SCRUB_REST).await;
        }
    }

    async fn check(&self, object: &Arc<Object>, piece: usize) {
        let checked = object.clone();
        let outcome = tokio::task::spawn_blocking(move || checked.check(piece)).await;
        self.counters.pieces_scrubbed.fetch_add(1, Ordering::Relaxed);
        if let Ok(Err(connected_cache_store::ReadError::Damaged(_))) = outcome {
            self.counters.pieces_rejected.fetch_add(1, Ordering::Relaxed);
        }
    }
}
