//! Fetches: one piece by range, the first piece of an unknown object, and the whole stream of an origin that knows no
//! ranges. What an answer says about length and validators decides whether its bytes belong to the object at all.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use connected_cache_core::{
    ByteRange, ContentRange, Generation, ObjectKey, PIECE_LENGTH_BYTES, PieceIndex, PieceLayout,
};
use http::{HeaderMap, Response, StatusCode, header};
use hyper::body::Incoming;

use super::{Catalog, Fill, Opened, transit::StreamRole};
use crate::{
    store::{Object, ObjectHead},
    upstream::{FetchTarget, UpstreamError},
};

/// Headers of the origin that replies repeat.
const PASSED_ON: [header::HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
];

/// A usable answer: what the object is, and where in it the body begins.
struct Answer {
    head: ObjectHead,
    /// `None` = the body is the whole content from byte 0.
    part: Option<ByteRange>,
    body: Incoming,
}

impl Catalog {
    /// Asks for a piece of an object that is not known yet, and makes it known.
    pub(super) async fn fetch_unknown(
        &self,
        key: &ObjectKey,
        target: &FetchTarget,
        piece_number: u64,
    ) -> Result<Opened, UpstreamError> {
        let first = piece_number.saturating_mul(PIECE_LENGTH_BYTES);
        let range = ByteRange { first, last: first.saturating_add(PIECE_LENGTH_BYTES - 1) };
        let answer = match self.ask(target, Some(range)).await {
            // An empty object has no byte to ask for; its head comes with a plain request.
            Err(UpstreamError::OutsideContent { total: 0 }) => self.ask(target, None).await?,
            other => other?,
        };
        let object = self.shared.store.admit(key, answer.head.clone()).await;
        // Beyond the end of what turned out to be shorter: the stream starts at the first piece.
        let piece = object.layout().piece(piece_number).or_else(|| object.layout().piece(0));
        let Some(piece) = piece else { return Ok(Opened { object, first: None, collapsed: false }) };
        let Some(fill) = self.shared.transit.register_if_missing(&object, piece) else {
            return Ok(Opened { object, first: None, collapsed: false });
        };
        // Before anybody asks for the next piece, so that it waits for the stream instead of opening another.
        let role = answer.part.is_none().then(|| self.shared.transit.join_stream(&object, piece));
        let (catalog, task_object, task_fill) = (self.clone(), object.clone(), fill.clone());
        self.shared
            .tasks
            .spawn(async move { catalog.take_body(&task_object, piece, task_fill, answer, role).await });
        Ok(Opened { object, first: Some((piece, fill)), collapsed: false })
    }

    /// Fetches a piece of a known object into its fill.
    pub(super) async fn fetch_piece(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        target: &FetchTarget,
        fill: Arc<Fill>,
    ) {
        let range = object.layout().range_of(piece);
        let error = match self.ask(target, Some(range)).await {
            Ok(answer) if answer.head.generation.agrees_with(&object.head().generation) => {
                let role = answer.part.is_none().then(|| self.shared.transit.join_stream(object, piece));
                return self.take_body(object, piece, fill, answer, role).await;
            }
            // Another length, another validator: none of the stored pieces may be continued with these bytes.
            Ok(_) | Err(UpstreamError::OutsideContent { .. }) => {
                self.shared.store.drop_object(object).await;
                UpstreamError::Changed
            }
            Err(error) => error,
        };
        self.settle(object, piece, &fill, Err(error)).await;
    }

    async fn take_body(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        fill: Arc<Fill>,
        answer: Answer,
        role: Option<StreamRole>,
    ) {
        let expected = object.layout().range_of(piece);
        let result = match (answer.part, role) {
            (Some(part), _) if part == expected => self.pour(&fill, answer.body, expected.length()).await,
            (Some(_), _) => Err(UpstreamError::Protocol { reason: "another range came than was asked for" }),
            (None, Some(StreamRole::Carry)) => return self.carry_stream(object, piece, answer.body).await,
            (None, Some(StreamRole::Wait)) => return,
            (None, _) => self.pour_alone(&fill, answer.body, object.layout(), piece).await,
        };
        self.settle(object, piece, &fill, result).await;
    }

    /// Exactly so many bytes of a body into a fill.
    async fn pour(&self, fill: &Fill, mut body: Incoming, length: u64) -> Result<(), UpstreamError> {
        while let Some(bytes) = self.next(&mut body).await? {
            fill.push(bytes)?;
        }
        if fill.received() == length { Ok(()) } else { Err(UpstreamError::WrongLength) }
    }

    /// The origin ignored the range and sends everything: cut the stream into pieces, keep those that are missing, and
    /// stop once the asked one is done, nobody waits for more, and the rest would not be kept anyway.
    async fn carry_stream(&self, object: &Arc<Object>, asked: PieceIndex, mut body: Incoming) {
        let layout = object.layout();
        let mut rest = Bytes::new();
        let mut result = Ok(());
        for piece in (0..layout.piece_count()).filter_map(|number| layout.piece(number)) {
            let fill = self.shared.transit.advance_stream(object, piece);
            result = self.pour_from_stream(fill.as_deref(), &mut body, &mut rest, layout, piece).await;
            if let Some(fill) = fill {
                self.settle(object, piece, &fill, result.clone()).await;
            }
            if result.is_err() {
                break;
            }
            let is_kept = object.has(piece) || piece < asked;
            if !is_kept && self.shared.transit.end_idle_stream(object) {
                return;
            }
        }
        // Whoever still waits for this stream waits in vain.
        let error = result.err().unwrap_or(UpstreamError::WrongLength);
        for (piece, fill) in self.shared.transit.end_stream(object) {
            self.settle(object, piece, &fill, Err(error.clone())).await;
        }
    }

    /// The stream of everything, for one piece only: another stream of the object is already past it.
    async fn pour_alone(
        &self,
        fill: &Fill,
        mut body: Incoming,
        layout: PieceLayout,
        asked: PieceIndex,
    ) -> Result<(), UpstreamError> {
        let mut rest = Bytes::new();
        for piece in (0..=asked.number()).filter_map(|number| layout.piece(number)) {
            let target = (piece == asked).then_some(fill);
            self.pour_from_stream(target, &mut body, &mut rest, layout, piece).await?;
        }
        Ok(())
    }

    async fn pour_from_stream(
        &self,
        fill: Option<&Fill>,
        body: &mut Incoming,
        rest: &mut Bytes,
        layout: PieceLayout,
        piece: PieceIndex,
    ) -> Result<(), UpstreamError> {
        let mut missing = layout.range_of(piece).length();
        while missing > 0 {
            if rest.is_empty() {
                *rest = self.next(body).await?.ok_or(UpstreamError::WrongLength)?;
            }
            let take = usize::try_from(missing).unwrap_or(usize::MAX).min(rest.len());
            let bytes = rest.split_to(take);
            missing -= bytes.len() as u64;
            if let Some(fill) = fill {
                fill.push(bytes)?;
            }
        }
        Ok(())
    }

    async fn next(&self, body: &mut Incoming) -> Result<Option<Bytes>, UpstreamError> {
        let bytes = self.shared.upstream.next_chunk(body).await?;
        if let Some(bytes) = &bytes {
            self.shared.counters.origin_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    async fn ask(&self, target: &FetchTarget, range: Option<ByteRange>) -> Result<Answer, UpstreamError> {
        self.shared.counters.origin_requests.fetch_add(1, Ordering::Relaxed);
        let result = match self.shared.upstream.get(target, range).await {
            Ok(response) => understand(response),
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            tracing::info!(origin = %target.origin.name(), label = error.label(), %error, "the origin gave nothing");
        }
        result
    }
}

/// The longest content that is believed to exist. The largest game packages have a tenth of it; and as work and memory grow
/// with the number of pieces, an origin must not be able to name any number it likes.
const MAX_CONTENT_LENGTH_BYTES: u64 = 1 << 40;

/// What an answer means for the cache.
fn understand(response: Response<Incoming>) -> Result<Answer, UpstreamError> {
    let (parts, body) = response.into_parts();
    let (length, part) = match parts.status {
        StatusCode::PARTIAL_CONTENT => match content_range(&parts.headers) {
            Some(ContentRange::Part { range, total }) => (total, Some(range)),
            _ => return Err(UpstreamError::Protocol { reason: "206 without a usable Content-Range" }),
        },
        StatusCode::OK => match content_length(&parts.headers) {
            Some(length) => (length, None),
            None => return Err(UpstreamError::Protocol { reason: "200 without Content-Length" }),
        },
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(match content_range(&parts.headers) {
                Some(ContentRange::Unsatisfied { total }) => UpstreamError::OutsideContent { total },
                _ => UpstreamError::Protocol { reason: "416 without a usable Content-Range" },
            });
        }
        status => return Err(UpstreamError::Status { status }),
    };
    if length > MAX_CONTENT_LENGTH_BYTES {
        return Err(UpstreamError::Protocol { reason: "content of more than 1 TiB" });
    }
    let generation = Generation {
        content_length_bytes: length,
        etag: text_of(&parts.headers, &header::ETAG),
        last_modified: text_of(&parts.headers, &header::LAST_MODIFIED),
    };
    let headers = PASSED_ON
        .iter()
        .filter_map(|name| Some((name.as_str().to_owned(), text_of(&parts.headers, name)?)))
        .collect();
    Ok(Answer { head: ObjectHead { generation, headers }, part, body })
}

fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    ContentRange::parse(headers.get(header::CONTENT_RANGE)?.to_str().ok()?)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn text_of(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}
