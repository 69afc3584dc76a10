//! Fetches: the head of an object with its first piece, a run of pieces by one range, and the whole stream of an origin that
//! knows no ranges. What an answer says about length and validators decides whether its bytes belong to the object at all.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use bytes::Bytes;
use connected_cache_core::{ByteRange, PIECE_LENGTH_BYTES, PieceIndex, PieceLayout};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    Catalog, Fill, Freshly, Object, OpenError, Opened,
    answer::{Clock, Meaning, head, is_shared, understand},
    known::Known,
    now_seconds,
    object::ObjectHead,
    opening::Kept,
    siblings::{MemberPieces, OfMember, Waiting, Wish},
    transit::StreamRole,
};
use crate::upstream::{FetchTarget, OriginBody, UpstreamError};

/// A content whose length only its end tells is taken into memory first, up to this: clients need the length before the bytes.
const MAX_UNMEASURED_BYTES: u64 = 16 << 20;

/// A usable answer: what the object is, and where in it the body begins.
struct Answer {
    head: ObjectHead,
    /// `None` = the body is the whole content from byte 0.
    part: Option<ByteRange>,
    shared: bool,
    content: Sent,
}

/// How the bytes come.
#[expect(clippy::large_enum_variant, reason = "there is one for each fetch, within a boxed answer")]
enum Sent {
    /// From the origin.
    Stream(Body),
    /// From another pod.
    Pieces(Box<MemberPieces>),
}

/// What an origin sends, or sent.
enum Body {
    Arriving(OriginBody),
    Here(Option<Bytes>),
}

/// What came of asking.
enum Asked {
    Content(Box<Answer>),
    NotModified(Meaning),
}

impl Body {
    async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        match self {
            Self::Arriving(body) => body.next().await,
            Self::Here(bytes) => Ok(bytes.take().filter(|bytes| !bytes.is_empty())),
        }
    }
}

impl Catalog {
    /// Asks for the head of an object and a piece with it, and makes it the current generation. One that is known is asked for
    /// by its validators.
    pub(super) async fn fetch_head(
        &self,
        kept: Kept<'_>,
        target: &FetchTarget,
        piece_number: u64,
        known: Option<Arc<Object>>,
    ) -> Result<Opened, OpenError> {
        let begun = Instant::now();
        let first = piece_number.saturating_mul(PIECE_LENGTH_BYTES);
        let range = ByteRange { first, last: first.saturating_add(PIECE_LENGTH_BYTES - 1) };
        let Some(room) = self.shared.room.wait(PIECE_LENGTH_BYTES).await else {
            return Err(UpstreamError::NoRoom.into());
        };
        let mut target = self.trusted_target(kept.key, known.as_deref(), target);
        if self.shared.changed.holds(kept.key) {
            target.to_mut().past_parent = true;
        }
        let target = &*target;
        let conditions = known.as_ref().map(|known| conditions(known)).unwrap_or_default();
        let wish = Wish {
            key: kept.key,
            state: None,
            target,
            first: piece_number,
            last: piece_number,
            waiting: Waiting::Opening(kept.ticket),
        };
        let asked = match self.ask_anyone(wish, range, &conditions).await {
            // An empty object has no byte to ask for; its head comes with a plain request.
            Err(UpstreamError::OutsideContent { total: 0 }) => self.ask(target, None, &conditions).await,
            other => other,
        };
        let asked = match asked {
            Ok(Asked::Content(answer)) if is_older(&answer, known.as_ref()) => {
                self.ask(target, Some(range), &conditions).await
            }
            other => other,
        };
        let answer = match (asked, &known) {
            (Ok(Asked::Content(answer)), _) => *answer,
            (Ok(Asked::NotModified(Meaning::NotModified { freshness, headers })), Some(known)) => {
                known.refresh(freshness, headers);
                return Ok(Opened {
                    object: known.clone(),
                    first: None,
                    collapsed: false,
                    freshly: Freshly::Validated,
                });
            }
            (Ok(Asked::NotModified(_)), _) => return Err(unasked_304().into()),
            (Err(error), known) => {
                // Gone for good, or another length: what is kept is not the object any more.
                let is_gone = matches!(&error, UpstreamError::Status { status } if is_gone(*status))
                    && !error.is_about_signature_of(target);
                if let Some(known) = known
                    && (is_gone || matches!(error, UpstreamError::OutsideContent { .. }))
                {
                    self.forget(known);
                }
                return Err(error.into());
            }
        };
        if !answer.shared {
            self.shared.passing.add(kept.key);
            if let Some(known) = &known {
                self.forget(known);
            }
            return Err(OpenError::NotShared);
        }
        // What could not be read before may be readable by now.
        let current = match &known {
            Some(known) => Known::Object(known.clone()),
            None => self.known(kept.key).await,
        };
        let object = self.admit(kept, answer.head.clone(), &current);
        self.ask_if_due(&object, target, begun);
        let is_the_same = known.is_some_and(|known| Arc::ptr_eq(&known, &object));
        let freshly = if is_the_same { Freshly::Validated } else { Freshly::NotAsked };
        let opened = |object, first| Opened { object, first, collapsed: false, freshly };
        // Beyond the end of what turned out to be shorter: the stream starts at the first piece.
        let piece = object.layout().piece(piece_number).or_else(|| object.layout().piece(0));
        let Some(piece) = piece else { return Ok(opened(object, None)) };
        let Some(fill) = self.shared.transit.register_if_missing(&object, piece) else {
            return Ok(opened(object, None));
        };
        fill.keep_room(room);
        // Before anybody asks for the next piece, so that it waits for the stream instead of opening another.
        let role = answer.part.is_none().then(|| self.shared.transit.join_stream(&object, piece));
        let (catalog, task_object, run) = (self.clone(), object.clone(), vec![(piece, fill.clone())]);
        let target = target.clone();
        self.shared
            .tasks
            .spawn(async move { catalog.take_body(&task_object, &target, run, answer, role).await });
        Ok(opened(object, Some((piece, fill))))
    }

    /// Fetches pieces of a known object that follow each other into their fills, those of one home by one question.
    pub(super) async fn fetch_run(
        &self,
        object: &Arc<Object>,
        target: &FetchTarget,
        run: Vec<(PieceIndex, Arc<Fill>)>,
    ) {
        let target = &*self.trusted_target(object.key(), Some(object), target);
        let parts = self.by_way(object, target, run);
        let fetching = parts.into_iter().map(|part| self.fetch_part(object, target, part, false));
        futures::future::join_all(fetching).await;
    }

    /// `of_origin` = other pods were asked already.
    async fn fetch_part(
        &self,
        object: &Arc<Object>,
        target: &FetchTarget,
        run: Vec<(PieceIndex, Arc<Fill>)>,
        of_origin: bool,
    ) {
        let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else { return };
        let (first, last) = (*first, *last);
        let layout = object.layout();
        let range = ByteRange { first: layout.range_of(first).first, last: layout.range_of(last).last };
        let asked = if of_origin {
            self.ask(target, Some(range), &HeaderMap::new()).await
        } else {
            let (key, state) = (object.key(), Some(object.generation()));
            let (first, last, waiting) = (first.number(), last.number(), Waiting::Fills(&run));
            let wish = Wish { key, state, target, first, last, waiting };
            self.ask_anyone(wish, range, &HeaderMap::new()).await
        };
        let error = match asked {
            Ok(Asked::Content(answer))
                if belongs(&answer, object)
                    || replaces(&answer, object, first)
                    || (of_origin && is_as_unnamed(&answer, object)) =>
            {
                let role = answer.part.is_none().then(|| self.shared.transit.join_stream(object, first));
                return self.take_body(object, target, run, *answer, role).await;
            }
            // Another length, another validator: none of the stored pieces may be continued with these bytes.
            Ok(Asked::Content(_)) | Err(UpstreamError::OutsideContent { .. }) => {
                self.forget(object);
                self.shared.changed.add(object.key());
                UpstreamError::Changed
            }
            Ok(Asked::NotModified(_)) => unasked_304(),
            Err(error) => error,
        };
        self.fail_run(object, &run, &error);
    }

    /// Ends fills that nothing will be put into.
    pub(super) fn fail_run(
        &self,
        object: &Arc<Object>,
        run: &[(PieceIndex, Arc<Fill>)],
        error: &UpstreamError,
    ) {
        for (piece, fill) in run {
            self.shared.transit.remove(object, *piece);
            fill.finish(Err(error.clone()));
        }
    }

    async fn take_body(
        &self,
        object: &Arc<Object>,
        target: &FetchTarget,
        run: Vec<(PieceIndex, Arc<Fill>)>,
        answer: Answer,
        role: Option<StreamRole>,
    ) {
        let Some((first, _)) = run.first() else { return };
        let first = *first;
        let body = match answer.content {
            Sent::Stream(body) => body,
            Sent::Pieces(pieces) => return self.pour_pieces(object, target, run, pieces).await,
        };
        for (_, fill) in &run {
            fill.asks_member(None);
        }
        match (answer.part, role) {
            (Some(part), _) => self.pour_run(object, target, run, part, body).await,
            (None, Some(StreamRole::Carry)) => {
                // Only the first waits for this stream; the others begin anew when somebody asks for them.
                self.fail_run(object, &run[1..], &UpstreamError::WrongLength);
                self.carry_stream(object, target, first, body).await;
            }
            (None, Some(StreamRole::Wait)) => self.fail_run(object, &run[1..], &UpstreamError::WrongLength),
            (None, _) => {
                self.fail_run(object, &run[1..], &UpstreamError::WrongLength);
                let result = self.pour_alone(&run[0].1, body, object.layout(), first).await;
                self.settle(object, first, &run[0].1, target, result).await;
            }
        }
    }

    /// What another pod gives into the fills of its pieces. What it does not give, the origin is asked for.
    async fn pour_pieces(
        &self,
        object: &Arc<Object>,
        target: &FetchTarget,
        run: Vec<(PieceIndex, Arc<Fill>)>,
        pieces: Box<MemberPieces>,
    ) {
        let rest = self.pour_what_comes(object, target, run, pieces).await;
        if !rest.is_empty() {
            self.shared.counters.sharing.fell_back();
            for (_, fill) in &rest {
                fill.asks_member(None);
            }
            Box::pin(self.fetch_part(object, target, rest, true)).await;
        }
    }

    /// What another pod gives into the fills of its pieces; returns those for which nothing came.
    pub(super) async fn pour_what_comes(
        &self,
        object: &Arc<Object>,
        target: &FetchTarget,
        run: Vec<(PieceIndex, Arc<Fill>)>,
        mut pieces: Box<MemberPieces>,
    ) -> Vec<(PieceIndex, Arc<Fill>)> {
        let (mut stored, mut run) = (Vec::new(), VecDeque::from(run));
        while let Some((piece, fill)) = run.front().cloned() {
            fill.asks_member(Some(pieces.asked_as));
            let Ok((bytes, sha256)) = pieces.next(&fill).await else { break };
            run.pop_front();
            self.shared.counters.sharing.add_pieces_of_members(bytes.len() as u64);
            let pushed = fill.push_whole(bytes, sha256);
            // Stored by the side, so that the next piece is not held up.
            let (catalog, object, target) = (self.clone(), object.clone(), target.clone());
            let settling = async move { catalog.settle(&object, piece, &fill, &target, pushed).await };
            stored.push(self.shared.tasks.spawn(settling));
        }
        drop(pieces);
        if run.is_empty() {
            futures::future::join_all(stored).await;
        }
        run.into()
    }

    /// A body that is exactly the asked range, or the front of it, into the fills of its pieces.
    async fn pour_run(
        &self,
        object: &Arc<Object>,
        target: &FetchTarget,
        run: Vec<(PieceIndex, Arc<Fill>)>,
        part: ByteRange,
        mut body: Body,
    ) {
        let layout = object.layout();
        let mut rest = Bytes::new();
        let mut stored = Vec::new();
        let mut next = part.first;
        let mut error = None;
        for (piece, fill) in run {
            let expected = layout.range_of(piece);
            if error.is_none() && (next != expected.first || part.last < expected.last) {
                error = Some(UpstreamError::Protocol { reason: "another range came than was asked for" });
            }
            if error.is_none() {
                let poured = self.pour_from_stream(Some(&fill), &mut body, &mut rest, layout, piece).await;
                match poured {
                    Ok(()) => {
                        next = expected.last + 1;
                        // Stored by the side, so that the next piece is not held up.
                        let (catalog, object, target) = (self.clone(), object.clone(), target.clone());
                        stored.push(self.shared.tasks.spawn(async move {
                            catalog.settle(&object, piece, &fill, &target, Ok(())).await;
                        }));
                        continue;
                    }
                    Err(cause) => error = Some(cause),
                }
            }
            let cause = error.clone().unwrap_or(UpstreamError::WrongLength);
            self.fail_run(object, &[(piece, fill)], &cause);
        }
        futures::future::join_all(stored).await;
    }

    /// The origin ignored the range and sends everything: cut the stream into pieces, keep those that are missing, and
    /// stop once the asked one is done, nobody waits for more, and the rest would not be kept anyway.
    async fn carry_stream(
        &self,
        object: &Arc<Object>,
        target: &FetchTarget,
        asked: PieceIndex,
        mut body: Body,
    ) {
        let layout = object.layout();
        let mut rest = Bytes::new();
        let mut result = Ok(());
        for piece in (0..layout.piece_count()).filter_map(|number| layout.piece(number)) {
            let fill = self.shared.transit.advance_stream(object, piece);
            result = self.pour_from_stream(fill.as_deref(), &mut body, &mut rest, layout, piece).await;
            if let Some(fill) = fill {
                self.settle(object, piece, &fill, target, result.clone()).await;
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
            self.settle(object, piece, &fill, target, Err(error.clone())).await;
        }
    }

    /// The stream of everything, for one piece only: another stream of the object is already past it.
    async fn pour_alone(
        &self,
        fill: &Fill,
        mut body: Body,
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
        body: &mut Body,
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

    async fn next(&self, body: &mut Body) -> Result<Option<Bytes>, UpstreamError> {
        let bytes = body.next().await?;
        if let (Some(bytes), Body::Arriving(_)) = (&bytes, &body) {
            self.shared.counters.origin_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    /// Asks the other pods of this cache, or the origin.
    async fn ask_anyone(
        &self,
        wish: Wish<'_>,
        range: ByteRange,
        conditions: &HeaderMap,
    ) -> Result<Asked, UpstreamError> {
        let origin = self.ask(wish.target, Some(range), conditions);
        let Some(sharing) = self.sharing_of(wish.target) else { return origin.await };
        let of_member = |OfMember { head, pieces }: OfMember| {
            let (part, content) = (pieces.range(), Sent::Pieces(pieces));
            Asked::Content(Box::new(Answer { head, part, shared: true, content }))
        };
        // Elsewhere in memory: most requests need no room for it.
        Box::pin(self.ask_members_or(sharing, wish, of_member, origin)).await
    }

    async fn ask(
        &self,
        target: &FetchTarget,
        range: Option<ByteRange>,
        conditions: &HeaderMap,
    ) -> Result<Asked, UpstreamError> {
        let result = self.ask_and_read(target, range, conditions).await;
        if let Err(error) = &result {
            self.shared.counters.add_origin_error(error.label());
            tracing::info!(origin = %target.origin.name(), label = error.label(), %error, "the origin gave nothing");
        }
        result
    }

    async fn ask_and_read(
        &self,
        target: &FetchTarget,
        range: Option<ByteRange>,
        conditions: &HeaderMap,
    ) -> Result<Asked, UpstreamError> {
        self.shared.counters.origin_requests.fetch_add(1, Ordering::Relaxed);
        let mut headers = conditions.clone();
        if let Some(range) = range {
            let value = HeaderValue::try_from(format!("bytes={}-{}", range.first, range.last))
                .map_err(|_| UpstreamError::Protocol { reason: "its range can't be asked for" })?;
            headers.insert(header::RANGE, value);
        }
        let requested_at = now_seconds();
        let response = self.shared.upstream.get(target, &headers).await?;
        let clock = Clock { requested_at, received_at: now_seconds() };
        let (parts, body) = response.into_parts();
        match understand(parts.status, &parts.headers, clock)? {
            Meaning::Content { head, part, shared } => Ok(Asked::Content(Box::new(Answer {
                head,
                part,
                shared,
                content: Sent::Stream(Body::Arriving(body)),
            }))),
            Meaning::Unmeasured => {
                let bytes = self.take_unmeasured(body).await?;
                let head = head(&parts.headers, bytes.len() as u64, clock)?;
                let shared = is_shared(&parts.headers, &head.generation);
                let content = Sent::Stream(Body::Here(Some(bytes)));
                Ok(Asked::Content(Box::new(Answer { head, part: None, shared, content })))
            }
            not_modified @ Meaning::NotModified { .. } => Ok(Asked::NotModified(not_modified)),
        }
    }

    /// Takes a body without a length: the first piece of it in the room that its asker holds, more beside.
    pub(super) async fn take_unmeasured(&self, body: OriginBody) -> Result<Bytes, UpstreamError> {
        let (mut body, mut collected, mut large) = (body.all_at_once(), Vec::new(), None);
        while let Some(bytes) = body.next().await? {
            self.shared.counters.origin_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if (collected.len() + bytes.len()) as u64 > MAX_UNMEASURED_BYTES {
                return Err(UpstreamError::Protocol { reason: "more than 16 MiB without a Content-Length" });
            }
            if (collected.len() + bytes.len()) as u64 > PIECE_LENGTH_BYTES && large.is_none() {
                large = Some(self.shared.room.wait_unmeasured().await.ok_or(UpstreamError::NoRoom)?);
            }
            collected.extend_from_slice(&bytes);
        }
        Ok(Bytes::from(collected))
    }
}

/// Whether the bytes are of the state that is kept. One that came as a whole in one piece needs no validator for that.
fn belongs(answer: &Answer, object: &Object) -> bool {
    answer.head.generation.agrees_with(object.generation())
}

/// Whether neither has a validator, and both have the same length: as near as such content comes to itself.
fn is_as_unnamed(answer: &Answer, object: &Object) -> bool {
    let (theirs, ours) = (&answer.head.generation, object.generation());
    !theirs.is_named() && !ours.is_named() && theirs.content_length_bytes == ours.content_length_bytes
}

/// Whether what another pod says is older than what is known here. It is not what is current, then.
fn is_older(answer: &Answer, known: Option<&Arc<Object>>) -> bool {
    matches!(answer.content, Sent::Pieces(_))
        && known.is_some_and(|known| {
            !belongs(answer, known) && answer.head.freshness.born_at <= known.head().freshness.born_at
        })
}

/// Whether the bytes may take the place of a bad piece. Content without a validator has no state that they could be of: its
/// length and the check have to do, as nobody has seen any of it.
fn replaces(answer: &Answer, object: &Object, piece: PieceIndex) -> bool {
    is_as_unnamed(answer, object)
        && object.verification().is_some_and(|verification| verification.was_rejected(piece))
}

/// A 304 to a request without conditions.
pub(super) const fn unasked_304() -> UpstreamError {
    UpstreamError::Status { status: StatusCode::NOT_MODIFIED }
}

const fn is_gone(status: StatusCode) -> bool {
    matches!(status.as_u16(), 403 | 404 | 410)
}

/// Asks whether what is known is still right (RFC 9111 4.3.1).
fn conditions(known: &Object) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let generation = known.generation();
    if let Some(value) = generation.etag.as_deref().and_then(|etag| HeaderValue::try_from(etag).ok()) {
        headers.insert(header::IF_NONE_MATCH, value);
    } else if let Some(value) =
        generation.last_modified.as_deref().and_then(|date| HeaderValue::try_from(date).ok())
    {
        headers.insert(header::IF_MODIFIED_SINCE, value);
    }
    headers
}
