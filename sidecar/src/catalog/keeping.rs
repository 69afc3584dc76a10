//! From a complete fill to a stored piece: checked, shown to those who wait, written, let go of.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use connected_cache_core::PieceIndex;
use connected_cache_store::{FillError, Trust};
use sha2::{Digest, Sha256};

use super::{Catalog, Checked, Fill, Object, object};
use crate::upstream::{FetchTarget, UpstreamError};

/// How long a piece waits for the evictor to make room for it.
const ROOM_PATIENCE: Duration = Duration::from_secs(2);

impl Catalog {
    /// Ends a fill: stores what is complete, then lets go of it.
    pub(super) async fn settle(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        fill: &Arc<Fill>,
        target: &FetchTarget,
        result: Result<(), UpstreamError>,
    ) {
        let complete = result.is_ok() && fill.is_complete();
        if !complete {
            // Gone first, so that whoever tries again begins anew.
            self.shared.transit.remove(object, piece);
            fill.finish(result);
            return;
        }
        let checked = self.check(object, piece, fill, target).await;
        match &checked {
            Checked::Wrong => return self.fetch_again(object, piece, fill, target),
            Checked::Interrupted => {
                let reason = "the sidecar is ending".to_owned();
                let error = UpstreamError::Unreachable { reason };
                return self.fail_run(object, &[(piece, fill.clone())], &error);
            }
            Checked::Disputed { by, .. } => self.dispute(object, by),
            Checked::Unchecked { .. } | Checked::Right { .. } => {}
        }
        self.note_strayed(object, piece, fill);
        fill.note_checked();
        fill.show();
        fill.finish(Ok(()));
        if matches!(checked, Checked::Disputed { is_kept: false, .. }) {
            self.shared.counters.pieces_passed_through.fetch_add(1, Ordering::Relaxed);
            self.shared.transit.remove(object, piece);
            return;
        }
        match self.keep(object, piece, fill, &checked).await {
            // Who still reads along goes on from the store, and could fetch the piece again if it were evicted by then.
            Ok(()) if object.generation().is_named() => fill.release(),
            // Content without a validator can't be continued by another fetch, and what was in the store all the time may be
            // just what could not be read: these bytes stay with their readers.
            Ok(()) | Err(FillError::Present) => {}
            Err(error) => {
                self.shared.counters.pieces_passed_through.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(object = %object.key(), piece = piece.number(), %error, "a piece was passed through");
            }
        }
        self.shared.transit.remove(object, piece);
        self.announce(object, piece);
        self.after_storing(object, &checked);
    }

    /// Stores a complete piece; waits a moment for room.
    async fn keep(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        fill: &Arc<Fill>,
        checked: &Checked,
    ) -> Result<(), FillError> {
        let chunks = fill.chunks();
        if object.is_small() {
            object.keep_small(Bytes::from(chunks.concat()));
        }
        let number = object::index(piece);
        let trust = if fill.is_of_member() { Trust::Vouched } else { Trust::Origin };
        let Some(mut stored) = self.place(object) else { return Err(FillError::Unhealthy) };
        let mut outcome = self.write(&stored, number, &chunks, checked, trust).await;
        if matches!(outcome, Err(FillError::Unhealthy | FillError::Io(_)))
            && let Some(other) = self.place(object).filter(|other| !Arc::ptr_eq(other, &stored))
        {
            stored = other;
            outcome = self.write(&stored, number, &chunks, checked, trust).await;
        }
        if matches!(outcome, Err(FillError::Full)) {
            let waiting = stored.clone();
            let room = tokio::task::spawn_blocking(move || waiting.wait_for_room(number, ROOM_PATIENCE));
            if room.await.unwrap_or(false) {
                outcome = self.write(&stored, number, &chunks, checked, trust).await;
            }
        }
        outcome
    }

    async fn write(
        &self,
        stored: &Arc<connected_cache_store::Object>,
        piece: usize,
        chunks: &[Bytes],
        checked: &Checked,
        trust: Trust,
    ) -> Result<(), FillError> {
        let known = match checked {
            Checked::Right { sha256, .. } => Some((*sha256, Trust::Authenticated)),
            Checked::Disputed { sha256, .. } => Some((*sha256, Trust::Origin)),
            Checked::Unchecked { sha256 } => sha256.map(|sha256| (sha256, trust)),
            Checked::Wrong | Checked::Interrupted => None,
        };
        let (number, stored, chunks) = (stored.number(), stored.clone(), chunks.to_vec());
        let counters = self.shared.counters.clone();
        let work = move || {
            let mut writing = stored.begin(piece)?;
            writing.append_all(&chunks)?;
            let (sha256, trust) = known.unwrap_or_else(|| {
                counters.pieces_hashed.fetch_add(1, Ordering::Relaxed);
                let mut hasher = Sha256::new();
                for chunk in &chunks {
                    hasher.update(chunk);
                }
                (hasher.finalize().into(), Trust::Origin)
            });
            writing.commit(sha256, trust)?;
            counters.pieces_admitted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        self.shared.writers.run(number, work).await.unwrap_or(Err(FillError::Unhealthy))
    }
}
