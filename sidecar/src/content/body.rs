//! The bytes of a reply: pieces in order from the volume or from fetches under way, some fetched ahead. The length is fixed
//! before the first byte; if a piece can't be had even by another try, the body ends with an error and the connection closes
//! early, because a short body is something that clients notice and a wrong byte is not.

use std::{
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
    catalog::{Catalog, Comparisons, Fill, Found, MOST_AHEAD, Object, PassedBody, Piece},
    metrics::{Counters, Source},
    socket::{Ledger, Transport},
    upstream::{FetchTarget, UpstreamError},
};

use super::patience::Patience;

/// Pieces fetched beyond the one that is being sent: this many at first, and twice as many with each piece that was sent, up to
/// [`MOST_AHEAD`].
const FIRST_AHEAD: u64 = 2;
/// Tries for one reply beyond the first one of each piece.
const RETRIES: u32 = 4;

pub(super) type FirstPiece = (PieceIndex, Piece);

/// Where the bytes that a client gets are counted.
#[derive(Clone)]
pub(super) struct Meter {
    pub(super) ledger: Option<Arc<Ledger>>,
    pub(super) counters: Arc<Counters>,
}

impl Meter {
    /// A body that lies in memory as it is.
    pub(super) fn at_hand(self, bytes: Bytes, source: Source) -> Body {
        let remaining = bytes.len() as u64;
        let chunks = Chunks::Here((remaining > 0).then_some((bytes, source)));
        ContentBody::boxed(chunks, remaining, self)
    }

    /// A body that comes from the origin for this client alone.
    pub(super) fn passed_on(self, body: PassedBody) -> Body {
        let remaining = body.remaining();
        let stream = stream::try_unfold(body, |mut body| async move {
            Ok(body.next().await?.map(|bytes| ((bytes, Source::Origin), body)))
        });
        ContentBody::boxed(Chunks::Coming(stream.boxed()), remaining, self)
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.transport() == Transport::Plain)
    }
}

/// What a body needs beside its range.
pub(super) struct BodyPlan<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) meter: Meter,
    pub(super) read_ahead: ReadAheadMode,
    pub(super) target: &'a FetchTarget,
}

impl BodyPlan<'_> {
    pub(super) fn into_body(self, object: Arc<Object>, range: ByteRange, first: FirstPiece) -> Body {
        if matches!(first.1, Piece::Stored)
            && let Some(bytes) = object.in_memory(range)
        {
            object.touch(first.0);
            return self.meter.at_hand(bytes, Source::Disk);
        }
        let ahead = match self.read_ahead {
            ReadAheadMode::Off => 0,
            ReadAheadMode::Adaptive | ReadAheadMode::WholeObject => FIRST_AHEAD,
        };
        let comparisons = object.comparisons();
        let reader = Reader {
            mapped: self.meter.is_mapped(),
            catalog: self.catalog.clone(),
            target: self.target.clone(),
            ahead,
            asked_ahead: first.0.number() + 1,
            fetched: Vec::new(),
            patience: Patience::new(),
            object,
            first: range.first,
            next: range.first,
            last: range.last,
            current: first,
            comparisons,
            is_unchecked: false,
            retries: RETRIES,
        };
        let stream = stream::try_unfold(reader, |mut reader| async move {
            Ok(reader.next_bytes().await?.map(|bytes| (bytes, reader)))
        });
        ContentBody::boxed(Chunks::Coming(stream.boxed()), range.length(), self.meter)
    }
}

/// Where a body is.
struct Reader {
    catalog: Catalog,
    target: FetchTarget,
    object: Arc<Object>,
    /// The bytes go to the kernel untouched.
    mapped: bool,
    /// Offset of the first byte.
    first: u64,
    /// Offset of the next byte.
    next: u64,
    last: u64,
    /// The piece being sent. Holding a fill keeps its bytes.
    current: FirstPiece,
    /// The comparisons of stored bytes when it began.
    comparisons: Comparisons,
    /// Bytes of it were sent that were not checked then.
    is_unchecked: bool,
    /// Pieces to fetch ahead.
    ahead: u64,
    /// Number of the first piece that was not asked for ahead.
    asked_ahead: u64,
    /// Pieces that are fetched for this reply: wherever their bytes are by then, they came from the origin for it. Holding
    /// their fills keeps the bytes where no volume takes them.
    fetched: Vec<(PieceIndex, Arc<Fill>)>,
    patience: Patience,
    retries: u32,
}

impl Reader {
    async fn next_bytes(&mut self) -> Result<Option<(Bytes, Source)>, UpstreamError> {
        if self.next > self.last {
            return Ok(None);
        }
        let layout = self.object.layout();
        let piece = layout.piece_at(self.next).ok_or(UpstreamError::WrongLength)?;
        if piece != self.current.0 {
            self.fetched.retain(|(fetched, _)| *fetched >= piece);
            let state = match self.fetched_fill(piece) {
                Some(fill) => Piece::Filling(fill, Source::Origin),
                None => self.catalog.piece(&self.object, piece, &self.target),
            };
            self.current = (piece, state);
            self.ahead = (self.ahead * 2).min(MOST_AHEAD);
            self.comparisons = self.object.comparisons();
            self.is_unchecked = false;
        }
        self.fetch_ahead();
        let bounds = layout.range_of(piece);
        let within =
            ByteRange { first: self.next - bounds.first, last: self.last.min(bounds.last) - bounds.first };
        let (mut bytes, mut source) = self.read(piece, within).await?;
        if let Some(fill) = self.fetched_fill(piece) {
            source = fill.source(Source::Origin);
        }
        bytes.truncate(usize::try_from(within.length()).unwrap_or(usize::MAX));
        self.next += bytes.len() as u64;
        self.patience.got(bytes.len());
        Ok(Some((bytes, source)))
    }

    fn fetched_fill(&self, piece: PieceIndex) -> Option<Arc<Fill>> {
        self.fetched.iter().find(|(fetched, _)| *fetched == piece).map(|(_, fill)| fill.clone())
    }

    /// Bytes from the front of a range of the current piece. What is stored may be gone or turn out damaged, and what is being
    /// fetched may fail: then it is fetched anew, and as every answer was found to be of the same state, it goes on where the
    /// last one ended.
    async fn read(&mut self, piece: PieceIndex, within: ByteRange) -> Result<(Bytes, Source), UpstreamError> {
        loop {
            let state = match self.current.1.clone() {
                Piece::Stored => match self.catalog.read(&self.object, piece, within, self.mapped).await {
                    Some(bytes) => {
                        // What is read back from the store by the reply that fetched it was not asked for again.
                        if self.fetched_fill(piece).is_none() {
                            self.object.touch(piece);
                        }
                        return Ok((bytes, Source::Disk));
                    }
                    // What was sent of it may have been found wrong, and nothing right can follow that.
                    None if self.has_begun(piece)
                        && self.comparisons.may_have_dropped(self.object.comparisons()) =>
                    {
                        return Err(UpstreamError::BadPiece);
                    }
                    None => self.catalog.piece_anew(&self.object, piece, &self.target),
                },
                Piece::Filling(fill, source) => match self.patience.wait_for(fill.read(within)).await {
                    Ok(Found::Bytes(bytes)) => {
                        self.is_unchecked |= !fill.is_checked();
                        return Ok((bytes, fill.source(source)));
                    }
                    Ok(Found::Stored) => {
                        if source == Source::Origin {
                            self.fetched.push((piece, fill));
                        }
                        Piece::Stored
                    }
                    Err(error) if self.patience.is_over() => return Err(error),
                    // Right bytes must not follow others that nobody has checked.
                    Err(error)
                        if self.has_begun(piece)
                            && (error == UpstreamError::BadPiece
                                || (self.is_unchecked && self.object.is_checked())) =>
                    {
                        return Err(UpstreamError::BadPiece);
                    }
                    Err(error)
                        if self.retries > 0 && (error.is_temporary() || error == UpstreamError::NoRoom) =>
                    {
                        self.retries -= 1;
                        self.fetched.retain(|(fetched, _)| *fetched != piece);
                        tracing::debug!(%error, "a piece is fetched again");
                        self.catalog.piece(&self.object, piece, &self.target)
                    }
                    // Another client's signature was refused; ours is to be judged by itself.
                    Err(error) if source == Source::Memory && error.is_about_signature_of(&self.target) => {
                        self.catalog.piece(&self.object, piece, &self.target)
                    }
                    Err(error) => return Err(error),
                },
            };
            self.current.1 = state;
        }
    }

    /// Whether bytes of this piece were sent.
    fn has_begun(&self, piece: PieceIndex) -> bool {
        self.next > self.first.max(self.object.layout().range_of(piece).first)
    }

    /// Keeps so many pieces on their way beyond the one that is being sent, within what was asked.
    fn fetch_ahead(&mut self) {
        let layout = self.object.layout();
        let Some(end) = layout.piece_at(self.last) else { return };
        let current = self.current.0.number();
        let first = self.asked_ahead.max(current + 1);
        let wanted = (current + self.ahead).min(end.number());
        // In runs: one request brings several.
        let is_worth_it = wanted + 1 >= first + self.ahead / 2 || wanted == end.number();
        let (Some(first), Some(last)) = (layout.piece(first), layout.piece(wanted)) else { return };
        if first <= last
            && is_worth_it
            && let Some(fetched) = self.catalog.fetch_ahead(&self.object, first, last, &self.target)
        {
            self.asked_ahead = last.number() + 1;
            self.fetched.extend(fetched);
        }
    }
}

/// Bytes and where they come from.
type Chunk = (Bytes, Source);

/// What is to be sent.
enum Chunks {
    /// All of it, as with small objects in memory.
    Here(Option<Chunk>),
    Coming(Pin<Box<dyn Stream<Item = Result<Chunk, UpstreamError>> + Send>>),
}

impl Chunks {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Chunk, UpstreamError>>> {
        match self {
            Self::Here(chunk) => Poll::Ready(chunk.take().map(Ok)),
            Self::Coming(stream) => stream.as_mut().poll_next(context),
        }
    }
}

/// A body of known length that tells the socket where its bytes come from.
struct ContentBody {
    chunks: Chunks,
    remaining: u64,
    meter: Meter,
    failure: Option<UpstreamError>,
}

impl ContentBody {
    fn boxed(chunks: Chunks, remaining: u64, meter: Meter) -> Body {
        Body::new(Self { chunks, remaining, meter, failure: None })
    }
}

impl http_body::Body for ContentBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        if let Some(error) = body.failure.take() {
            tracing::info!(%error, "a transfer was cut because its bytes could not be had");
            return Poll::Ready(Some(Err(io::Error::other(error))));
        }
        match body.chunks.poll_next(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                // On an error hyper drops what it has not sent yet, perhaps even the head. It sends that when a body has
                // nothing for it, so the error waits for one more turn.
                body.failure = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Some(Ok((bytes, source)))) => {
                body.remaining = body.remaining.saturating_sub(bytes.len() as u64);
                match &body.meter.ledger {
                    Some(ledger) => ledger.expect(&bytes, source),
                    // No socket to count at (a router called directly).
                    None => body.meter.counters.add_served(source, bytes.len() as u64),
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
