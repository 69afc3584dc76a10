//! Purging: out of the openings, out of memory, out of the store.

use std::sync::atomic::Ordering;

use connected_cache_store::{Filter, Purged};

use super::Catalog;

impl Catalog {
    /// Removes every object that is meant, also those that are only being opened or filled. Whoever asks for one of them after
    /// this gets what the origin says then. Whoever is being sent one gets the rest of the same state from the origin, or
    /// an early end. Ends with the work even if nobody waits for it; `None` = it was interrupted by the end of the process.
    pub(crate) async fn purge(&self, filter: Filter) -> Option<Purged> {
        let catalog = self.clone();
        let work = move || {
            let shared = &catalog.shared;
            // In this order: what was under way before finds its way into neither memory nor store from here on, except from
            // the store into memory, where it is not used once it is removed from the store.
            shared.openings.purge(&filter);
            shared.objects.retain(|key, object| !filter.is_met(key.as_str(), object.class()));
            let purged = shared.store.purge(&filter);
            shared.counters.purged_objects.fetch_add(purged.objects, Ordering::Relaxed);
            shared.counters.purged_bytes.fetch_add(purged.bytes, Ordering::Relaxed);
            purged
        };
        tokio::task::spawn_blocking(work).await.ok()
    }
}
