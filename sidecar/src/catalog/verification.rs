//! Whether the pieces of an object can be checked against authenticated hashes, and what was found so far (dossier
//! delivery-optimization, section 4).
//!
//! ```text
//! Unasked ──> Awaited ──> Authenticated <──> Disputed
//!                └──────> Simple ──> Authenticated, Simple
//! ```
//!
//! While the verdict is awaited, which is for a moment only, pieces are fetched and nobody sees their bytes. Pieces of
//! authenticated content are seen once they were checked, as a whole; in simple mode bytes are seen as they come. An origin
//! that sends a piece twice that is not the authenticated one disputes the hashes: its bytes are passed on as in simple mode.
//! Those that the hashes contradict are kept only if these seem to be of another content altogether, such as an older version.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use connected_cache_core::{PIECE_LENGTH_BYTES, PieceIndex};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::object::index;
use crate::control_plane::{Metadata, Policy, SimpleMode};

/// How long after its last piece a content counts as being fetched.
const FETCHED_LATELY_SECONDS: u64 = 15 * 60;

/// What is known of an object's hashes.
#[derive(Debug)]
pub(crate) struct Verification {
    verdict: watch::Sender<Verdict>,
    /// From when on it is worth asking, in seconds since 1970.
    due_at: AtomicU64,
    is_asking: AtomicBool,
    /// Times in a row that a fetched piece was another one than these hashes say.
    tries: Mutex<BTreeMap<PieceIndex, u32>>,
    /// Comparisons of stored bytes that were begun, and those that are over.
    comparing: AtomicU32,
    compared: AtomicU32,
    /// The reason that was counted last.
    counted: Mutex<Option<SimpleMode>>,
    /// A piece was the authenticated one.
    is_confirmed: AtomicBool,
    /// The hashes that were found last are those of whole stored pieces.
    is_of_whole_pieces: AtomicBool,
    /// Bytes that its origin sent for it.
    fetched_bytes: AtomicU64,
    /// When the last of them came, in seconds since 1970.
    fetched_at: AtomicU64,
}

/// Comparisons of stored bytes with hashes that came late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparisons {
    begun: u32,
    over: u32,
}

impl Comparisons {
    /// Whether one was under way then, or has begun since: who read the front of a piece then, and can't read on now, may have
    /// read wrong bytes.
    pub(crate) fn may_have_dropped(self, now: Self) -> bool {
        self.begun != self.over || self.begun != now.begun
    }
}

/// What was found so far.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Nobody needed to know.
    Unasked,
    /// The control plane is being asked, and clients wait for it.
    Awaited,
    /// There are no hashes.
    Simple(SimpleMode),
    /// Every piece is checked before anybody sees it.
    Authenticated(Arc<Hashes>),
    /// The origin sends other bytes than the hashes say.
    Disputed(Arc<Hashes>),
}

impl Verdict {
    /// Whether bytes are seen as they come.
    const fn shows_at_once(&self) -> bool {
        matches!(self, Self::Unasked | Self::Simple(_) | Self::Disputed(_))
    }

    /// The hashes, disputed or not.
    pub(crate) const fn hashes(&self) -> Option<&Arc<Hashes>> {
        match self {
            Self::Authenticated(hashes) | Self::Disputed(hashes) => Some(hashes),
            Self::Unasked | Self::Awaited | Self::Simple(_) => None,
        }
    }
}

/// Authenticated hashes, by the pieces that are stored.
#[derive(Debug)]
pub(crate) struct Hashes {
    metadata: Metadata,
    /// Hashes for one stored piece.
    per_piece: usize,
}

/// Bytes that were compared with hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Compared {
    pub(super) sha256: [u8; 32],
    pub(super) is_right: bool,
}

impl Hashes {
    /// `None` = a stored piece is no whole number of hashed ones.
    pub(super) fn new(metadata: Metadata) -> Option<Self> {
        let length = u64::from(metadata.pieces.piece_length_bytes());
        let per_piece = PIECE_LENGTH_BYTES.checked_div(length)?;
        let divides = per_piece > 0 && per_piece * length == PIECE_LENGTH_BYTES;
        let per_piece = usize::try_from(per_piece).ok().filter(|_| divides)?;
        Some(Self { metadata, per_piece })
    }

    pub(crate) const fn policy(&self) -> &Policy {
        &self.metadata.policy
    }

    /// Whether these are the same hashes.
    pub(super) fn are(&self, other: &Self) -> bool {
        self.metadata.policy.hash_of_hashes == other.metadata.policy.hash_of_hashes
    }

    /// Whether each stored piece has one hash, rather than several for its parts.
    pub(super) const fn are_of_stored_pieces(&self) -> bool {
        self.per_piece == 1
    }

    /// The SHA-256 of a stored piece; `None` = only parts of it have one.
    pub(super) fn sha256_of(&self, piece: usize) -> Option<[u8; 32]> {
        let hash = self.metadata.pieces.piece(piece).filter(|_| self.per_piece == 1)?;
        Some(*hash.as_bytes())
    }

    /// Hashes the bytes of a stored piece and compares them. Takes about a millisecond.
    pub(super) fn compare(&self, piece: PieceIndex, chunks: &[Bytes]) -> Compared {
        let mut whole = Sha256::new();
        for chunk in chunks {
            whole.update(chunk);
        }
        let sha256 = whole.finalize().into();
        let is_right = match self.per_piece {
            1 => self.sha256_of(index(piece)) == Some(sha256),
            _ => self.are_right(piece, chunks),
        };
        Compared { sha256, is_right }
    }

    /// Hashes the parts of a piece that have hashes of their own.
    fn are_right(&self, piece: PieceIndex, chunks: &[Bytes]) -> bool {
        let length = self.metadata.pieces.piece_length_bytes() as usize;
        let first = index(piece) * self.per_piece;
        let bytes: Bytes = chunks.concat().into();
        let parts: Vec<&[u8]> = bytes.chunks(length).collect();
        (1..=self.per_piece).contains(&parts.len())
            && (first..).zip(parts).all(|(number, part)| self.metadata.pieces.is_piece(number, part))
    }
}

impl Default for Verification {
    fn default() -> Self {
        Self {
            verdict: watch::Sender::new(Verdict::Unasked),
            due_at: AtomicU64::new(0),
            is_asking: AtomicBool::new(false),
            tries: Mutex::default(),
            comparing: AtomicU32::new(0),
            compared: AtomicU32::new(0),
            counted: Mutex::default(),
            is_confirmed: AtomicBool::new(false),
            is_of_whole_pieces: AtomicBool::new(false),
            fetched_bytes: AtomicU64::new(0),
            fetched_at: AtomicU64::new(0),
        }
    }
}

impl Verification {
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict.borrow().clone()
    }

    pub(super) fn shows_at_once(&self) -> bool {
        self.verdict.borrow().shows_at_once()
    }

    /// The verdict, once it is not awaited any more.
    pub(super) async fn concluded(&self) -> Verdict {
        let mut verdict = self.verdict.subscribe();
        // The sender lives in `self`, so the channel can't be closed.
        match verdict.wait_for(|verdict| !matches!(verdict, Verdict::Awaited)).await {
            Ok(verdict) => verdict.clone(),
            Err(_) => Verdict::Unasked,
        }
    }

    /// Before a piece is fetched: whether the caller is to ask the control plane now. Nobody else does before [`Self::end`].
    pub(super) fn begin(&self, now: u64) -> bool {
        // First of all, so that whoever comes at the same time waits too.
        let is_first = self.conclude(|verdict| {
            if !matches!(verdict, Verdict::Unasked) {
                return None;
            }
            self.is_asking.store(true, Ordering::Release);
            Some(Verdict::Awaited)
        });
        is_first || (self.is_due(now) && !self.is_asking.swap(true, Ordering::AcqRel))
    }

    /// The question that [`Self::begin`] allowed is answered; the next one is due then, or when a dispute that began meanwhile says.
    pub(super) fn end(&self, now: u64, due_at: u64) {
        // A dispute that was there before has been due since the question.
        let began_meanwhile = matches!(self.verdict(), Verdict::Disputed(_)) && !self.is_due(now);
        if !began_meanwhile {
            self.postpone(due_at);
        }
        self.is_asking.store(false, Ordering::Release);
    }

    /// All of the object is stored and authenticated: the hashes are let go, and asked for again when a piece is fetched.
    pub(super) fn rest(&self) {
        self.conclude(|verdict| matches!(verdict, Verdict::Authenticated(_)).then_some(Verdict::Unasked));
    }

    /// Whether it is time to ask.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.due_at.load(Ordering::Relaxed) <= now
    }

    /// The next question is due then.
    pub(super) fn postpone(&self, due_at: u64) {
        self.due_at.store(due_at, Ordering::Relaxed);
    }

    /// Takes another verdict if the present one lets it; whether it did.
    pub(super) fn conclude(&self, change: impl FnOnce(&Verdict) -> Option<Verdict>) -> bool {
        self.verdict.send_if_modified(|verdict| {
            let changed = change(verdict);
            let is_changed = changed.is_some();
            if let Some(changed) = changed {
                *verdict = changed;
            }
            is_changed
        })
    }

    /// A fetched piece is another one than the hashes say; how many times in a row.
    pub(super) fn reject(&self, piece: PieceIndex) -> u32 {
        *self.tries.lock().entry(piece).and_modify(|times| *times += 1).or_insert(1)
    }

    /// A fetched piece is right.
    pub(super) fn accept(&self, piece: PieceIndex) {
        self.confirm();
        self.tries.lock().remove(&piece);
    }

    /// Whether the last fetch of this piece was bad.
    pub(super) fn was_rejected(&self, piece: PieceIndex) -> bool {
        self.tries.lock().contains_key(&piece)
    }

    /// There are hashes against which nothing was tried; if they are not the ones of before, nothing was confirmed either.
    pub(super) fn begin_anew(&self, are_others: bool) {
        if are_others {
            self.is_confirmed.store(false, Ordering::Release);
        }
        self.tries.lock().clear();
    }

    /// Whether the hashes that were found last are those of whole stored pieces.
    pub(super) fn note_whole_pieces(&self, are: bool) {
        self.is_of_whole_pieces.store(are, Ordering::Release);
    }

    /// Whether they were, also after they were let go.
    pub(super) fn was_of_whole_pieces(&self) -> bool {
        self.is_of_whole_pieces.load(Ordering::Acquire)
    }

    /// A piece is the authenticated one.
    pub(super) fn confirm(&self) {
        self.is_confirmed.store(true, Ordering::Release);
    }

    /// Pieces that were not the authenticated ones and were not right since.
    pub(super) fn rejected_pieces(&self) -> usize {
        self.tries.lock().len()
    }

    /// Whether the hashes seem to be those of another content, rather than a piece of this one broken: several pieces are not
    /// what they say, and none ever was.
    pub(super) fn is_of_other_content(&self) -> bool {
        !self.is_confirmed.load(Ordering::Acquire) && self.rejected_pieces() > 1
    }

    /// Stored bytes are about to be compared, and those that are wrong will go.
    pub(super) fn note_comparing(&self) {
        self.comparing.fetch_add(1, Ordering::AcqRel);
    }

    /// Those that were wrong are gone.
    pub(super) fn note_compared(&self) {
        self.compared.fetch_add(1, Ordering::AcqRel);
    }

    /// The comparisons so far.
    pub(crate) fn comparisons(&self) -> Comparisons {
        let over = self.compared.load(Ordering::Acquire);
        Comparisons { begun: self.comparing.load(Ordering::Acquire), over }
    }

    /// Whether this reason is another one than was counted last.
    pub(super) fn is_news(&self, reason: SimpleMode) -> bool {
        self.counted.lock().replace(reason) != Some(reason)
    }

    /// It is not in simple mode any more.
    pub(super) fn is_well(&self) {
        *self.counted.lock() = None;
    }

    pub(super) fn add_fetched(&self, bytes: u64, now: u64) {
        self.fetched_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.fetched_at.store(now, Ordering::Relaxed);
    }

    /// Whether something of it came lately.
    pub(super) fn is_being_fetched(&self, now: u64) -> bool {
        now.saturating_sub(self.fetched_at.load(Ordering::Relaxed)) < FETCHED_LATELY_SECONDS
    }

    pub(super) fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
