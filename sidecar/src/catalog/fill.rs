//! One piece on its way from an origin: many wait for it, one fetches it. Followers read along while it arrives. The bytes
//! stay in memory until they are stored, or, if they can't be, for as long as anybody holds the fill.

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::upstream::UpstreamError;

/// A piece in transit.
#[derive(Debug)]
pub(crate) struct Fill {
    length_bytes: u64,
    held: Mutex<Held>,
    progress: watch::Sender<Progress>,
}

/// What is in memory, and the room that it was promised.
#[derive(Debug, Default)]
struct Held {
    chunks: Vec<(u64, Bytes)>,
    stored: bool,
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
    pub(super) fn new(length_bytes: u64) -> Self {
        Self { length_bytes, held: Mutex::default(), progress: watch::Sender::new(Progress::Running(0)) }
    }

    /// Keeps the promise of memory for as long as the bytes are held.
    pub(super) fn keep_room(&self, room: OwnedSemaphorePermit) {
        self.held.lock().room = Some(room);
    }

    /// Adds bytes; more than the piece is long are refused.
    pub(super) fn push(&self, bytes: Bytes) -> Result<(), UpstreamError> {
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

    /// All bytes as they came.
    pub(super) fn chunks(&self) -> Vec<Bytes> {
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

    /// Waits until something can be read at this offset of the piece, and returns what is there in one chunk.
    pub(crate) async fn read(&self, offset: u64) -> Result<Found, UpstreamError> {
        let mut progress = self.progress.subscribe();
        loop {
            let state = progress.borrow_and_update().clone();
            if let Some(found) = self.held.lock().at(offset) {
                return Ok(found);
            }
            match state {
                Progress::Failed(error) => return Err(error),
                Progress::Complete => return Err(UpstreamError::WrongLength),
                // The sender lives in `self`, so the channel can't be closed.
                Progress::Running(_) => drop(progress.changed().await),
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

    fn at(&self, offset: u64) -> Option<Found> {
        if self.stored {
            return Some(Found::Stored);
        }
        let after = self.chunks.partition_point(|(start, _)| *start <= offset);
        let (start, bytes) = self.chunks.get(after.checked_sub(1)?)?;
        let within = usize::try_from(offset - start).ok()?;
        (within < bytes.len()).then(|| Found::Bytes(bytes.slice(within..)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Found {
        Found::Bytes(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn a_follower_reads_what_is_there_and_waits_for_the_rest() {
        let fill = std::sync::Arc::new(Fill::new(6));
        fill.push(Bytes::from_static(b"abc")).unwrap();
        assert_eq!(fill.read(1).await, Ok(bytes("bc")));
        let follower = tokio::spawn({
            let fill = fill.clone();
            async move { fill.read(3).await }
        });
        fill.push(Bytes::from_static(b"def")).unwrap();
        assert_eq!(follower.await.unwrap(), Ok(bytes("def")));
        fill.finish(Ok(()));
        assert_eq!(fill.read(5).await, Ok(bytes("f")));
        fill.release();
        assert_eq!(fill.read(5).await, Ok(Found::Stored));
        assert!(fill.is_complete() && fill.chunks().is_empty());
    }

    #[tokio::test]
    async fn bytes_before_a_failure_are_readable_and_then_the_failure() {
        let fill = Fill::new(6);
        fill.push(Bytes::from_static(b"abc")).unwrap();
        fill.finish(Err(UpstreamError::TimedOut));
        assert_eq!(fill.read(0).await, Ok(bytes("abc")));
        assert_eq!(fill.read(3).await, Err(UpstreamError::TimedOut));
    }

    #[tokio::test]
    async fn too_few_and_too_many_bytes_are_errors() {
        let fill = Fill::new(4);
        fill.push(Bytes::from_static(b"abc")).unwrap();
        assert_eq!(fill.push(Bytes::from_static(b"de")), Err(UpstreamError::WrongLength));
        fill.finish(Ok(()));
        assert_eq!(fill.read(3).await, Err(UpstreamError::WrongLength));
    }
}
