//! Hashes that came later than the pieces: each stored piece is compared by the SHA-256 that the index has of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Keeper;
use crate::GROUP_PIECES;
use crate::index::{Change, PieceRecord, Trust};
use crate::object::Object;

/// The authenticated SHA-256 of a piece, by number; `None` = nobody knows it.
pub type Digests = Box<dyn Fn(usize) -> Option<[u8; 32]> + Send>;

/// Hears what came of it.
pub type Answer = Box<dyn FnOnce(Authenticated) + Send>;

/// What came of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authenticated {
    /// Pieces that are what the hashes say.
    pub right: usize,
    /// Those among them that were not authenticated before.
    pub upgraded: usize,
    /// Pieces that were another content and are gone.
    pub dropped: Vec<usize>,
}

/// One object and the hashes for it.
pub(crate) struct Authentication {
    pub(crate) object: Arc<Object>,
    pub(crate) digests: Digests,
    pub(crate) answer: Answer,
}

impl fmt::Debug for Authentication {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authentication").field("object", &self.object).finish_non_exhaustive()
    }
}

impl Keeper {
    /// A group that can't be read from the index stays as it is; its volume is failing.
    pub(super) fn authenticate(&mut self, authentication: Authentication) {
        let Authentication { object, digests, answer } = authentication;
        let mut outcome = Authenticated::default();
        let pending = self.pending(&object);
        for group in 0..object.pieces().div_ceil(GROUP_PIECES) {
            let pieces = group * GROUP_PIECES..object.pieces().min((group + 1) * GROUP_PIECES);
            if !pieces.clone().any(|piece| object.has(piece)) {
                continue;
            }
            let number = u32::try_from(group).unwrap_or(u32::MAX);
            let Ok(stored) = self.volume.group(object.number(), number) else { continue };
            for piece in pieces.filter(|piece| object.has(*piece)) {
                let record = pending.get(&piece).copied().or_else(|| stored.get(piece % GROUP_PIECES));
                let (Some(record), Some(digest)) = (record, digests(piece)) else { continue };
                if record.sha256 != digest {
                    self.drop_piece(&object, piece);
                    outcome.dropped.push(piece);
                    continue;
                }
                outcome.right += 1;
                if record.trust != Trust::Authenticated && object.note_authenticated(piece) {
                    let record = PieceRecord { trust: Trust::Authenticated, ..record };
                    self.change(Change::Trust { number: object.number(), piece, record }, 0);
                    outcome.upgraded += 1;
                }
            }
        }
        answer(outcome);
    }

    /// What the index will say of pieces that were committed since the last commit.
    fn pending(&self, object: &Object) -> BTreeMap<usize, PieceRecord> {
        let pieces = self.changes.iter().filter_map(|change| match change {
            Change::Piece { number, piece, record } | Change::Trust { number, piece, record }
                if *number == object.number() =>
            {
                Some((*piece, *record))
            }
            _ => None,
        });
        pieces.collect()
    }
}
