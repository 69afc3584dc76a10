//! Applies hashes to pieces that were stored before these were known.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use connected_cache_core::{PieceIndex, PieceLayout};
use connected_cache_store::{Digests, Object as Stored};

use super::{Checked, Hashes, Verification};
use crate::{
    catalog::{Catalog, Object, object::index},
    priority::step_back,
};

impl Catalog {
    /// Compares what is stored: pieces are upgraded or dropped.
    pub(super) fn compare_stored(&self, object: &Arc<Object>, hashes: Arc<Hashes>) {
        let (Some(stored), Some(verification)) = (object.stored(), object.verification()) else { return };
        if stored.committed() == 0 {
            return;
        }
        verification.note_comparing();
        if hashes.are_of_stored_pieces() {
            self.compare_by(object, &stored, Box::new(move |piece| hashes.sha256_of(piece)));
            return;
        }
        // Their own hashes are of parts of stored pieces, so the bytes have to be read.
        let (catalog, object) = (self.clone(), object.clone());
        self.shared.tasks.spawn(async move {
            let reading = stored.clone();
            let read = tokio::task::spawn_blocking(move || read_digests(&reading, &hashes));
            match read.await {
                Ok(digests) => {
                    let digests = Box::new(move |piece: usize| digests.get(&piece).copied());
                    catalog.compare_by(&object, &stored, digests);
                }
                Err(_) => drop(object.verification().map(Verification::note_compared)),
            }
        });
    }

    fn compare_by(&self, object: &Arc<Object>, stored: &Arc<Stored>, digests: Digests) {
        let (object, counters) = (object.clone(), self.shared.counters.clone());
        let answer = move |outcome: connected_cache_store::Authenticated| {
            counters.pieces_verified.fetch_add(outcome.upgraded as u64, Ordering::Relaxed);
            counters.pieces_rejected.fetch_add(outcome.dropped.len() as u64, Ordering::Relaxed);
            if let Some(verification) = object.verification() {
                verification.note_compared();
                if outcome.right > 0 {
                    verification.confirm();
                }
            }
            if !outcome.dropped.is_empty() {
                object.forget_small();
                let dropped = outcome.dropped.len();
                tracing::warn!(object = %object.key(), dropped, "stored pieces are not the authenticated ones and are dropped");
            }
        };
        stored.authenticate(digests, Box::new(answer));
    }

    /// After a piece was stored: if there are other hashes by now than it was checked by, they are for it too. An object that
    /// is whole needs none any more.
    pub(in crate::catalog) fn after_storing(&self, object: &Arc<Object>, checked: &Checked) {
        let Some(verification) = object.verification() else { return };
        let verdict = verification.verdict();
        let super::Verdict::Authenticated(hashes) = verdict else { return };
        match checked {
            Checked::Right { by, .. } if by.are(&hashes) => {
                if object.is_authenticated() {
                    verification.rest();
                }
            }
            _ => self.compare_stored(object, hashes),
        }
    }
}

/// SHA-256 of stored pieces that are right; of the others, one that no bytes have.
fn read_digests(stored: &Arc<Stored>, hashes: &Hashes) -> HashMap<usize, [u8; 32]> {
    step_back();
    let layout = PieceLayout::new(stored.length());
    let pieces = (0..layout.piece_count()).filter_map(|number| layout.piece(number));
    let digest_of = |piece: PieceIndex| {
        let number = index(piece);
        let bytes = stored.checked_bytes(number).ok()?;
        let compared = hashes.compare(piece, &[bytes]);
        Some((number, if compared.is_right { compared.sha256 } else { [0; 32] }))
    };
    pieces.filter_map(digest_of).collect()
}
