//! The final check of an object (dossier delivery-optimization 4.2 F): all of it is here and has the SHA-256 that somebody expects.

use std::sync::{Arc, atomic::Ordering};

use connected_cache_core::ObjectKey;
use connected_cache_store::WholeError;
use tokio::sync::OwnedMutexGuard;

use super::{Catalog, Object};
use crate::priority::step_back;

/// What a final check found.
#[derive(Debug)]
pub(crate) enum Whole {
    /// Nothing is stored under this key.
    Unknown,
    /// Not all of it is stored, or it can't be read.
    Unfinished(WholeError),
    /// All of it is.
    Found {
        length_bytes: u64,
        sha256: [u8; 32],
        pieces: usize,
        authenticated_pieces: usize,
        /// It is not the expected content and was removed.
        removed: bool,
    },
}

impl Catalog {
    /// Reads all of an object and hashes it. One that is not what is expected is removed. `None` = interrupted by the end of the
    /// process.
    /// The turn ends with the work, even if nobody waits for it.
    pub(crate) async fn check_whole(
        &self,
        key: ObjectKey,
        expected: Option<[u8; 32]>,
        turn: OwnedMutexGuard<()>,
    ) -> Option<Whole> {
        let catalog = self.clone();
        let work = move || {
            let _turn = turn;
            step_back();
            let Some(stored) = catalog.shared.store.get(key.as_str()) else { return Whole::Unknown };
            let sha256 = match stored.sha256() {
                Ok(sha256) => sha256,
                Err(error) => return Whole::Unfinished(error),
            };
            let removed = expected.is_some_and(|expected| expected != sha256);
            let (pieces, authenticated_pieces) = (stored.pieces(), stored.authenticated());
            if removed {
                catalog.shared.counters.pieces_rejected.fetch_add(pieces as u64, Ordering::Relaxed);
                let is_this = |object: &Arc<Object>| {
                    object.stored().is_some_and(|current| Arc::ptr_eq(&current, &stored))
                };
                if let Some(object) = catalog.shared.objects.peek(&key).filter(is_this) {
                    catalog.forget(&object);
                }
                catalog.shared.store.remove(&stored);
                tracing::warn!(object = %key, "an object is not the expected content and was removed");
            }
            Whole::Found { length_bytes: stored.length(), sha256, pieces, authenticated_pieces, removed }
        };
        tokio::task::spawn_blocking(work).await.ok()
    }
}
