//! One piece on its way from an origin: many wait for it, one fetches it. Followers read along while it arrives; the bytes
//! stay in memory for as long as anybody holds the fill.

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::upstream::UpstreamError;

/// A piece in transit.
#[derive(Debug)]
pub(crate) struct Fill {
    length_bytes: u64,
    chunks: Mutex<Vec<(u64, Bytes)>>,
    progress: watch::Sender<Progress>,
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

impl Fill {
    pub(super) fn new(length_bytes: u64) -> Self {
        Self { length_bytes, chunks: Mutex::default(), progress: watch::Sender::new(Progress::Running(0)) }
    }

    /// Adds bytes; more than the piece is long are refused.
    pub(super) fn push(&self, bytes: Bytes) -> Result<(), UpstreamError> {
        let received = {
            let mut chunks = self.chunks.lock();
            let received = chunks.last().map_or(0, |(start, last)| start + last.len() as u64);
            if received + bytes.len() as u64 > self.length_bytes {
                return Err(UpstreamError::WrongLength);
            }
            let after = received + bytes.len() as u64;
            chunks.push((received, bytes));
            after
        };
        self.progress.send_replace(Progress::Running(received));
        Ok(())
    }

    /// How many bytes are here.
    pub(super) fn received(&self) -> u64 {
        self.chunks.lock().last().map_or(0, |(start, last)| start + last.len() as u64)
    }

    /// All bytes as they came.
    pub(super) fn chunks(&self) -> Vec<Bytes> {
        self.chunks.lock().iter().map(|(_, bytes)| bytes.clone()).collect()
    }

    pub(super) fn finish(&self, result: Result<(), UpstreamError>) {
        let progress = match result {
            Ok(()) if self.received() == self.length_bytes => Progress::Complete,
            Ok(()) => Progress::Failed(UpstreamError::WrongLength),
            Err(error) => Progress::Failed(error),
        };
        self.progress.send_replace(progress);
    }

    /// Waits until something can be read at this offset of the piece, and returns what is there in one chunk.
    pub(crate) async fn read(&self, offset: u64) -> Result<Bytes, UpstreamError> {
        let mut progress = self.progress.subscribe();
        loop {
            let state = progress.borrow_and_update().clone();
            if let Some(bytes) = self.chunk_at(offset) {
                return Ok(bytes);
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
        self.received() == self.length_bytes
    }

    /// Waits until it is complete or has failed.
    pub(crate) async fn done(&self) {
        let mut progress = self.progress.subscribe();
        // The sender lives in `self`, so the channel can't be closed.
        let _ = progress.wait_for(|state| !matches!(state, Progress::Running(_))).await;
    }

    fn chunk_at(&self, offset: u64) -> Option<Bytes> {
        let chunks = self.chunks.lock();
        let after = chunks.partition_point(|(start, _)| *start <= offset);
        let (start, bytes) = chunks.get(after.checked_sub(1)?)?;
        let within = usize::try_from(offset - start).ok()?;
        (within < bytes.len()).then(|| bytes.slice(within..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_follower_reads_what_is_there_and_waits_for_the_rest() {
        let fill = std::sync::Arc::new(Fill::new(6));
        fill.push(Bytes::from_static(b"abc")).unwrap();
        assert_eq!(fill.read(1).await.unwrap(), "bc");
        let follower = tokio::spawn({
            let fill = fill.clone();
            async move { fill.read(3).await }
        });
        fill.push(Bytes::from_static(b"def")).unwrap();
        assert_eq!(follower.await.unwrap().unwrap(), "def");
        fill.finish(Ok(()));
        assert_eq!(fill.read(5).await.unwrap(), "f");
    }

    #[tokio::test]
    async fn bytes_before_a_failure_are_readable_and_then_the_failure() {
        let fill = Fill::new(6);
        fill.push(Bytes::from_static(b"abc")).unwrap();
        fill.finish(Err(UpstreamError::TimedOut));
        assert_eq!(fill.read(0).await.unwrap(), "abc");
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
