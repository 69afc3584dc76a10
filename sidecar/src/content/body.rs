//! The bytes of a reply: pieces in order from the volume or from fetches under way, a few fetched ahead. The length is fixed
//! before the first byte; if a piece can't be had, the body ends with an error and the connection closes early, because a
//! short body is something that clients notice and a wrong byte is not.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use connected_cache_config::ReadAheadMode;
use connected_cache_core::{ByteRange, PieceIndex};
use futures::{Stream, StreamExt, stream};
use http_body::{Frame, SizeHint};

use crate::{
    catalog::{Catalog, Opened, Piece},
    metrics::{Counters, Source},
    socket::Ledger,
    store::Object,
    upstream::{FetchTarget, UpstreamError},
};

/// Pieces fetched beyond the one that is being sent.
const READ_AHEAD_PIECES: usize = 4;

pub(super) type FirstPiece = (PieceIndex, Piece);

/// What a body needs beside its range.
pub(super) struct BodyPlan {
    pub(super) catalog: Catalog,
    pub(super) counters: Arc<Counters>,
    pub(super) ledger: Option<Arc<Ledger>>,
    pub(super) read_ahead: ReadAheadMode,
    pub(super) target: FetchTarget,
}

impl BodyPlan {
    pub(super) fn into_body(self, opened: Opened, range: ByteRange, first: FirstPiece) -> Body {
        let (ledger, counters) = (self.ledger.clone(), self.counters.clone());
        let mut pieces = opened.object.layout().pieces_of(range);
        pieces.next();
        let reader = Reader {
            catalog: self.catalog,
            target: self.target,
            read_ahead: match self.read_ahead {
                ReadAheadMode::Off => 0,
                ReadAheadMode::Adaptive | ReadAheadMode::WholeObject => READ_AHEAD_PIECES,
            },
            object: opened.object,
            next: range.first,
            last: range.last,
            window: VecDeque::from([first]),
            rest: pieces.collect::<VecDeque<_>>(),
        };
        let stream = stream::try_unfold(reader, |mut reader| async move {
            Ok(reader.next_bytes().await?.map(|bytes| (bytes, reader)))
        });
        Body::new(ContentBody { stream: stream.boxed(), remaining: range.length(), ledger, counters })
    }
}

/// Where a body is.
struct Reader {
    catalog: Catalog,
    target: FetchTarget,
    read_ahead: usize,
    object: Arc<Object>,
    /// Offset of the next byte.
    next: u64,
    last: u64,
    /// The piece being sent, then those fetched ahead. Holding a fill keeps its bytes.
    window: VecDeque<FirstPiece>,
    rest: VecDeque<PieceIndex>,
}

impl Reader {
    async fn next_bytes(&mut self) -> Result<Option<(Bytes, Source)>, UpstreamError> {
        if self.next > self.last {
            return Ok(None);
        }
        self.fetch_ahead();
        let Some((piece, state)) = self.window.front().cloned() else {
            return Err(UpstreamError::WrongLength);
        };
        let bounds = self.object.layout().range_of(piece);
        let wanted_last = self.last.min(bounds.last);
        let within = ByteRange { first: self.next - bounds.first, last: wanted_last - bounds.first };
        let (mut bytes, source) = match state {
            Piece::Stored => self.read_stored(piece, within).await?,
            Piece::Filling(fill, source) => (fill.read(within.first).await?, source),
        };
        bytes.truncate(usize::try_from(within.length()).unwrap_or(usize::MAX));
        self.next += bytes.len() as u64;
        if self.next > wanted_last {
            self.window.pop_front();
        }
        Ok(Some((bytes, source)))
    }

    /// A stored piece may be gone or turn out damaged: then it is fetched like a missing one.
    async fn read_stored(
        &mut self,
        piece: PieceIndex,
        within: ByteRange,
    ) -> Result<(Bytes, Source), UpstreamError> {
        if let Some(bytes) = self.catalog.read(&self.object, piece, within).await {
            return Ok((bytes, Source::Disk));
        }
        match self.catalog.piece(&self.object, piece, &self.target) {
            Piece::Filling(fill, source) => {
                if let Some(front) = self.window.front_mut() {
                    front.1 = Piece::Filling(fill.clone(), source);
                }
                Ok((fill.read(within.first).await?, source))
            }
            // Stored again in this very moment.
            Piece::Stored => {
                let bytes = self.catalog.read(&self.object, piece, within).await;
                bytes.map(|bytes| (bytes, Source::Disk)).ok_or(UpstreamError::Changed)
            }
        }
    }

    fn fetch_ahead(&mut self) {
        while self.window.len() <= self.read_ahead.max(usize::from(self.window.is_empty())) {
            let Some(piece) = self.rest.pop_front() else { return };
            self.window.push_back((piece, self.catalog.piece(&self.object, piece, &self.target)));
        }
    }
}

type Chunks = Pin<Box<dyn Stream<Item = Result<(Bytes, Source), UpstreamError>> + Send>>;

/// A body of known length that tells the socket where its bytes come from.
struct ContentBody {
    stream: Chunks,
    remaining: u64,
    ledger: Option<Arc<Ledger>>,
    counters: Arc<Counters>,
}

impl http_body::Body for ContentBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        match body.stream.as_mut().poll_next(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                tracing::info!(%error, "a transfer was cut because its bytes could not be had");
                Poll::Ready(Some(Err(io::Error::other(error))))
            }
            Poll::Ready(Some(Ok((bytes, source)))) => {
                body.remaining = body.remaining.saturating_sub(bytes.len() as u64);
                match &body.ledger {
                    Some(ledger) => ledger.expect(&bytes, source),
                    // No socket to count at (a router called directly).
                    None => body.counters.add_served(source, bytes.len() as u64),
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
