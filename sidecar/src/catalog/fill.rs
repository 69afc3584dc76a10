//! One piece on its way from an origin: many wait for it, one fetches it. Followers read along while it arrives. The bytes
//! stay in memory until they are stored, or, if they can't be, for as long as anybody holds the fill.
//!
//! Bytes of content that is checked, or whose check is being prepared, are *held back*: they arrive and nobody sees them before
//! they are shown, all at once. Where the origin is so slow that its client would give up meanwhile, they are shown as they come, to
//! each reader all but the last byte that it wants, so that no reply is ever whole that holds bytes of a piece that was not checked.

use bytes::Bytes;
use connected_cache_core::ByteRange;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Duration, Instant, timeout_at},
};

use crate::{metrics::Source, sharing::message::AskedAs, upstream::UpstreamError};

/// How long one reader waits for bytes that are held back while the origin still sends: less than half of what clients bear.
const LONGEST_HELD: Duration = Duration::from_secs(4);

/// A piece in transit.
#[derive(Debug)]
pub(crate) struct Fill {
    length_bytes: u64,
    held: Mutex<Held>,
    /// Hashes bytes as they come, while they are at hand; `None` = nobody asks for it.
    hasher: Option<Mutex<Sha256>>,
    way: Mutex<Way>,
    progress: watch::Sender<Progress>,
}

/// By which way its bytes come.
#[derive(Clone, Copy, Debug, Default)]
enum Way {
    #[default]
    Origin,
    /// Another pod is asked for it, as this, and is so far with what it was asked.
    AsksMember { asked_as: AskedAs, beyond: u64 },
    /// They came from another pod, which vouched for this SHA-256 of them; they have it.
    OfMember { sha256: [u8; 32] },
}

/// What is in memory, and the room that it was promised.
#[derive(Debug, Default)]
struct Held {
    chunks: Vec<(u64, Bytes)>,
    stored: bool,
    /// Bytes from the front that may be seen, if they are here.
    visible: u64,
    /// Bytes from the front that somebody saw.
    seen: u64,
    /// They may be seen only because somebody waited for long.
    is_front: bool,
    /// They were found to be right, or there is nothing to check them against.
    is_checked: bool,
    room: Option<OwnedSemaphorePermit>,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// So many bytes are here.
    Running(u64),
    /// All of them.
    Complete,
    /// No more will come.
    Failed(UpstreamError),
}

/// What a follower finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Bytes from the asked offset on.
    Bytes(Bytes),
    /// The piece was stored and is to be read from there.
    Stored,
}

impl Fill {
    /// One whose bytes are seen as they come.
    pub(super) fn new(length_bytes: u64) -> Self {
        let held = Mutex::new(Held { visible: u64::MAX, ..Held::default() });
        Self::holding(length_bytes, held)
    }

    /// One whose bytes are seen once [`Self::show`] says so.
    pub(super) fn held_back(length_bytes: u64) -> Self {
        Self::holding(length_bytes, Mutex::default())
    }

    fn holding(length_bytes: u64, held: Mutex<Held>) -> Self {
        let progress = watch::Sender::new(Progress::Running(0));
        Self { length_bytes, held, hasher: None, way: Mutex::default(), progress }
    }

    /// With the SHA-256 of its bytes.
    pub(super) fn hashed(self) -> Self {
        Self { hasher: Some(Mutex::new(Sha256::new())), ..self }
    }

    /// SHA-256 of the bytes so far; `None` = they are not hashed.
    pub(crate) fn sha256(&self) -> Option<[u8; 32]> {
        if let Way::OfMember { sha256 } = *self.way.lock() {
            return Some(sha256);
        }
        self.hasher.as_ref().map(|hasher| hasher.lock().clone().finalize().into())
    }

    /// All bytes may be seen, those that are still to come too.
    pub(super) fn show(&self) {
        {
            let mut held = self.held.lock();
            (held.visible, held.is_front) = (u64::MAX, false);
        }
        self.progress.send_modify(|_| ());
    }

    /// No more bytes are seen than were already, until [`Self::show`]; unless they were checked, as far as that was possible then, and
    /// are on their way to a volume.
    pub(super) fn hold_back(&self) {
        let mut held = self.held.lock();
        if held.is_checked {
            return;
        }
        held.visible = held.visible.min(held.seen);
        held.is_front = true;
    }

    /// Somebody waited for long: what comes may be seen, except for the end, unless all is here and about to be checked.
    fn show_front(&self) {
        let mut held = self.held.lock();
        if held.received() < self.length_bytes {
            held.visible = held.visible.max(self.length_bytes - 1);
            held.is_front = true;
        }
    }

    /// Forgets all bytes, so that others can take their place; `false` = some were seen, and nobody sees more of these.
    pub(super) fn begin_again(&self) -> bool {
        let mut held = self.held.lock();
        if held.stored {
            return false;
        }
        held.visible = 0;
        held.chunks.clear();
        if let Some(hasher) = &self.hasher {
            *hasher.lock() = Sha256::new();
        }
        *self.way.lock() = Way::Origin;
        let is_unseen = held.seen == 0;
        drop(held);
        self.progress.send_replace(Progress::Running(0));
        is_unseen
    }

    /// Keeps the promise of memory for as long as the bytes are held.
    pub(super) fn keep_room(&self, room: OwnedSemaphorePermit) {
        self.held.lock().room = Some(room);
    }

    /// Adds bytes; more than the piece is long are refused.
    pub(super) fn push(&self, bytes: Bytes) -> Result<(), UpstreamError> {
        if let Some(hasher) = &self.hasher {
            // One pushes, so they come in order; nobody who reads waits for it.
            hasher.lock().update(&bytes);
        }
        self.take(bytes)
    }

    /// Adds all bytes at once, as they came from another pod, with the SHA-256 that they were found to have.
    pub(super) fn push_whole(&self, bytes: Bytes, sha256: [u8; 32]) -> Result<(), UpstreamError> {
        *self.way.lock() = Way::OfMember { sha256 };
        self.take(bytes)
    }

    fn take(&self, bytes: Bytes) -> Result<(), UpstreamError> {
        let received = {
            let mut held = self.held.lock();
            let before = held.received();
            let after = before + bytes.len() as u64;
            if after > self.length_bytes {
                return Err(UpstreamError::WrongLength);
            }
            held.chunks.push((before, bytes));
            after
        };
        self.progress.send_replace(Progress::Running(received));
        Ok(())
    }

    /// Another pod is asked for it; `None` = not any more.
    pub(super) fn asks_member(&self, asked_as: Option<AskedAs>) {
        let mut way = self.way.lock();
        match (*way, asked_as) {
            (Way::Origin, Some(asked_as)) => *way = Way::AsksMember { asked_as, beyond: 0 },
            (Way::AsksMember { beyond, .. }, Some(asked_as)) => *way = Way::AsksMember { asked_as, beyond },
            (Way::AsksMember { .. }, None) => *way = Way::Origin,
            (Way::Origin, None) | (Way::OfMember { .. }, _) => {}
        }
    }

    /// How far the pod is that was asked for it.
    pub(super) fn note_beyond(&self, bytes: u64) {
        if let Way::AsksMember { beyond, .. } = &mut *self.way.lock() {
            *beyond = bytes;
        }
    }

    /// As what the pod is asked that it waits for, if it does.
    pub(super) fn waits_as(&self) -> Option<AskedAs> {
        match *self.way.lock() {
            Way::AsksMember { asked_as, .. } => Some(asked_as),
            Way::Origin | Way::OfMember { .. } => None,
        }
    }

    /// Whether its bytes came from another pod.
    pub(super) fn is_of_member(&self) -> bool {
        matches!(*self.way.lock(), Way::OfMember { .. })
    }

    /// Where the bytes came from for one to whom they would count as from `origin` or from memory.
    pub(crate) fn source(&self, source: Source) -> Source {
        if source == Source::Origin && self.is_of_member() { Source::Peer } else { source }
    }

    /// How far it is, here and beyond: grows as long as something comes.
    pub(super) fn distance(&self) -> u64 {
        let beyond = match *self.way.lock() {
            Way::AsksMember { beyond, .. } => beyond,
            Way::Origin | Way::OfMember { .. } => 0,
        };
        let held = self.held.lock();
        beyond + if held.stored { self.length_bytes } else { held.received() }
    }

    pub(super) const fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// How it ended, if it has.
    pub(super) fn outcome(&self) -> Option<Result<(), UpstreamError>> {
        match &*self.progress.borrow() {
            Progress::Running(_) => None,
            Progress::Complete => Some(Ok(())),
            Progress::Failed(error) => Some(Err(error.clone())),
        }
    }

    /// All bytes as they came.
    pub(crate) fn chunks(&self) -> Vec<Bytes> {
        self.held.lock().chunks.iter().map(|(_, bytes)| bytes.clone()).collect()
    }

    pub(super) fn finish(&self, result: Result<(), UpstreamError>) {
        let progress = match result {
            Ok(()) if self.is_complete() => Progress::Complete,
            Ok(()) => Progress::Failed(UpstreamError::WrongLength),
            Err(error) => Progress::Failed(error),
        };
        self.progress.send_replace(progress);
    }

    /// The piece is stored: whoever still reads along goes on there, and the memory is free.
    pub(super) fn release(&self) {
        let mut held = self.held.lock();
        *held = Held { stored: true, ..Held::default() };
    }

    /// The bytes were checked, as far as they can be.
    pub(super) fn note_checked(&self) {
        self.held.lock().is_checked = true;
    }

    /// Whether its bytes were checked, as far as they can be. Those that were seen before were too, then.
    pub(crate) fn is_checked(&self) -> bool {
        let held = self.held.lock();
        held.is_checked || held.stored
    }

    /// Waits until something can be read at the front of this range of the piece, and returns what is there in one chunk.
    pub(crate) async fn read(&self, within: ByteRange) -> Result<Found, UpstreamError> {
        self.look(LONGEST_HELD, |held| held.see(within)).await
    }

    /// Waits until something can be read at this offset. `longest_held` = how long its reader has for bytes that are held back while
    /// the origin still sends, if that is less than usual.
    pub(crate) async fn ready(&self, offset: u64, longest_held: Duration) -> Result<(), UpstreamError> {
        self.look(longest_held.min(LONGEST_HELD), |held| held.at(offset).map(drop)).await
    }

    async fn look<Seen>(
        &self,
        longest_held: Duration,
        look: impl Fn(&mut Held) -> Option<Seen>,
    ) -> Result<Seen, UpstreamError> {
        let mut progress = self.progress.subscribe();
        let mut held_until = Instant::now() + longest_held;
        loop {
            let state = progress.borrow_and_update().clone();
            let is_held_back = {
                let mut held = self.held.lock();
                if let Some(seen) = look(&mut held) {
                    return Ok(seen);
                }
                held.visible < u64::MAX
            };
            match state {
                Progress::Failed(error) => return Err(error),
                Progress::Complete => return Err(UpstreamError::WrongLength),
                // The sender lives in `self`, so the channel can't be closed.
                Progress::Running(_) if !is_held_back => drop(progress.changed().await),
                Progress::Running(_) => {
                    if timeout_at(held_until, progress.changed()).await.is_err() {
                        self.show_front();
                        held_until = Instant::now() + LONGEST_HELD;
                    }
                }
            }
        }
    }

    /// Whether every byte is here, even if nobody has said so yet.
    pub(super) fn is_complete(&self) -> bool {
        let held = self.held.lock();
        held.stored || held.received() == self.length_bytes
    }

    /// Waits until it is complete or has failed.
    pub(crate) async fn done(&self) {
        let mut progress = self.progress.subscribe();
        // The sender lives in `self`, so the channel can't be closed.
        let _ = progress.wait_for(|state| !matches!(state, Progress::Running(_))).await;
    }
}

impl Held {
    fn received(&self) -> u64 {
        self.chunks.last().map_or(0, |(start, last)| start + last.len() as u64)
    }

    /// What is at the front of the range, for somebody who takes it.
    fn see(&mut self, within: ByteRange) -> Option<Found> {
        let found = self.at(within.first);
        let Some(Found::Bytes(mut bytes)) = found else { return found };
        let wanted = within.last.saturating_sub(within.first) + u64::from(!self.is_front);
        bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        if bytes.is_empty() {
            return None;
        }
        self.seen = self.seen.max(within.first + bytes.len() as u64);
        Some(Found::Bytes(bytes))
    }

    fn at(&self, offset: u64) -> Option<Found> {
        if self.stored {
            return Some(Found::Stored);
        }
        let after = self.chunks.partition_point(|(start, _)| *start <= offset);
        let (start, bytes) = self.chunks.get(after.checked_sub(1)?)?;
        let within = usize::try_from(offset - start).ok()?;
        let end = usize::try_from(self.visible.saturating_sub(*start)).unwrap_or(usize::MAX).min(bytes.len());
        (within < end).then(|| Found::Bytes(bytes.slice(within..end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(first: u64) -> ByteRange {
        ByteRange { first, last: 1000 }
    }

    fn bytes(text: &'static str) -> Found {
        Found::Bytes(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn a_follower_reads_what_is_there_and_waits_for_the_rest() {
        let fill = std::sync::Arc::new(Fill::new(6));
        fill.push(Bytes::from_static(b"abc")).unwrap();
        assert_eq!(fill.read(from(1)).await, Ok(bytes("bc")));
        let follower = tokio::spawn({
            let fill = fill.clone();
            async move { fill.read(from(3)).await }
        });
        fill.push(Bytes::from_static(b"def")).unwrap();
        assert_eq!(follower.await.unwrap(), Ok(bytes("def")));
        fill.finish(Ok(()));
        assert_eq!(fill.read(from(5)).await, Ok(bytes("f")));
        fill.release();
        assert_eq!(fill.read(from(5)).await, Ok(Found::Stored));
        assert!(fill.is_complete() && fill.chunks().is_empty());
    }

    #[test]
    fn what_is_hashed_is_what_is_there() {
        let fill = Fill::held_back(6).hashed();
        assert_eq!(Fill::new(6).sha256(), None);
        fill.push(Bytes::from_static(b"wrong!")).unwrap();
        assert!(fill.begin_again());
        for part in [&b"abc"[..], b"def"] {
            fill.push(Bytes::from_static(part)).unwrap();
        }
        assert_eq!(fill.sha256(), Some(Sha256::digest(b"abcdef").into()));
    }

    #[tokio::test]
    async fn bytes_that_are_held_back_are_seen_when_they_are_shown() {
        let fill = std::sync::Arc::new(Fill::held_back(6));
        let follower = tokio::spawn({
            let fill = fill.clone();
            async move { fill.read(from(1)).await }
        });
        fill.push(Bytes::from_static(b"wrong!")).unwrap();
        assert!(fill.begin_again() && !fill.is_complete());
        fill.push(Bytes::from_static(b"abcdef")).unwrap();
        assert!(fill.is_complete() && !follower.is_finished());
        fill.show();
        assert_eq!(follower.await.unwrap(), Ok(bytes("bcdef")));
        assert!(!fill.begin_again(), "somebody saw them");
    }

    #[tokio::test]
    async fn what_was_seen_stays_so_when_the_rest_is_held_back() {
        let fill = Fill::new(6);
        fill.push(Bytes::from_static(b"abc")).unwrap();
        assert_eq!(fill.read(from(0)).await, Ok(bytes("abc")));
        fill.hold_back();
        fill.push(Bytes::from_static(b"def")).unwrap();
        assert_eq!(fill.read(from(1)).await, Ok(bytes("bc")));
        // They turn out wrong: nobody sees another one of them.
        assert!(!fill.begin_again());
        fill.finish(Err(UpstreamError::BadPiece));
        assert_eq!(fill.read(from(0)).await, Err(UpstreamError::BadPiece));
        assert_eq!(fill.read(from(3)).await, Err(UpstreamError::BadPiece));
    }

    #[tokio::test]
    async fn what_is_done_is_not_held_back_any_more() {
        let fill = Fill::new(3);
        fill.push(Bytes::from_static(b"abc")).unwrap();
        fill.note_checked();
        fill.hold_back();
        fill.show();
        fill.finish(Ok(()));
        fill.hold_back();
        assert_eq!(fill.read(from(1)).await, Ok(bytes("bc")));
    }

    #[tokio::test]
    async fn what_nobody_saw_can_begin_again_although_it_could_be_seen() {
        let fill = Fill::new(6);
        fill.push(Bytes::from_static(b"abc")).unwrap();
        fill.hold_back();
        assert!(fill.begin_again());
        fill.push(Bytes::from_static(b"defghi")).unwrap();
        fill.show();
        assert_eq!(fill.read(from(0)).await, Ok(bytes("defghi")));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_long_for_a_slow_origin_sees_all_but_the_end_before_the_check() {
        let fill = std::sync::Arc::new(Fill::held_back(6));
        fill.push(Bytes::from_static(b"abcd")).unwrap();
        let begun = Instant::now();
        assert_eq!(fill.read(from(0)).await, Ok(bytes("abcd")));
        assert_eq!(begun.elapsed(), LONGEST_HELD);
        fill.push(Bytes::from_static(b"ef")).unwrap();
        assert_eq!(fill.read(from(4)).await, Ok(bytes("e")));
        let end = tokio::spawn({
            let fill = fill.clone();
            async move { fill.read(from(5)).await }
        });
        tokio::time::sleep(3 * LONGEST_HELD).await;
        assert!(!end.is_finished());
        fill.show();
        assert_eq!(end.await.unwrap(), Ok(bytes("f")));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_has_all_that_it_wanted_of_a_slow_piece_before_the_check() {
        let fill = std::sync::Arc::new(Fill::held_back(6));
        fill.push(Bytes::from_static(b"abcd")).unwrap();
        assert_eq!(fill.read(ByteRange { first: 1, last: 3 }).await, Ok(bytes("bc")));
        let last = tokio::spawn({
            let fill = fill.clone();
            async move { fill.read(ByteRange { first: 3, last: 3 }).await }
        });
        tokio::time::sleep(3 * LONGEST_HELD).await;
        assert!(!last.is_finished());
        fill.push(Bytes::from_static(b"ef")).unwrap();
        fill.show();
        assert_eq!(last.await.unwrap(), Ok(bytes("d")));
        assert_eq!(fill.read(ByteRange { first: 0, last: 1 }).await, Ok(bytes("ab")));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_seen_of_what_is_whole_and_waits_for_its_check() {
        let fill = std::sync::Arc::new(Fill::held_back(3));
        fill.push(Bytes::from_static(b"abc")).unwrap();
        let reader = tokio::spawn({
            let fill = fill.clone();
            async move { fill.read(from(0)).await }
        });
        tokio::time::sleep(3 * LONGEST_HELD).await;
        assert!(!reader.is_finished());
        fill.show();
        assert_eq!(reader.await.unwrap(), Ok(bytes("abc")));
    }

    #[tokio::test]
    async fn bytes_before_a_failure_are_readable_and_then_the_failure() {
        let fill = Fill::new(6);
        fill.push(Bytes::from_static(b"abc")).unwrap();
        fill.finish(Err(UpstreamError::TimedOut));
        assert_eq!(fill.read(from(0)).await, Ok(bytes("abc")));
        assert_eq!(fill.read(from(3)).await, Err(UpstreamError::TimedOut));
    }

    #[tokio::test]
    async fn too_few_and_too_many_bytes_are_errors() {
        let fill = Fill::new(4);
        fill.push(Bytes::from_static(b"abc")).unwrap();
        assert_eq!(fill.push(Bytes::from_static(b"de")), Err(UpstreamError::WrongLength));
        fill.finish(Ok(()));
        assert_eq!(fill.read(from(3)).await, Err(UpstreamError::WrongLength));
    }
}
