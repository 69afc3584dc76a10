//! The content endpoint (dossier delivery-optimization section 1): what a request asks for, where its bytes are, and the
//! reply whose every header and byte a Windows client relies on.

mod body;
mod forwarded_for;
mod patience;
mod request;
mod respond;
mod test_objects;
mod via;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use axum::body::Body;
use connected_cache_config::{ClientAddress, ClientErrors, ReadAheadMode};
use connected_cache_core::{AllowList, ByteRange, CacheHostOrigin, PieceIndex, QueryRule, Selection};
use http::{HeaderValue, Request, Response, StatusCode};

use crate::{
    access_log::{AccessLog, Reply},
    catalog::{Catalog, Freshly, OpenError, Opened, Piece, now_seconds},
    metrics::{CacheResult, Counters, RequestLabels, Source},
    settings::RulesByClass,
    socket::{Ledger, Transport},
    upstream::{FetchTarget, UpstreamError},
};

use body::{BodyPlan, FirstPiece, Meter};
pub(crate) use request::key_of_url;
use request::{Asked, ContentRequest};
use respond::{Refusal, ReplyHead};
pub(crate) use via::Via;

/// What the content endpoint works with.
pub(crate) struct ContentState {
    pub(crate) catalog: Catalog,
    pub(crate) counters: Arc<Counters>,
    pub(crate) allow_list: Arc<AllowList>,
    pub(crate) query_rule: QueryRule,
    pub(crate) rules: RulesByClass,
    /// How long a client waits at most for the head of its reply.
    pub(crate) first_byte: Duration,
    /// Value of `X-CID`.
    pub(crate) node_id: HeaderValue,
    /// Stand-ins for the objects of tests are served while their origin can't be reached.
    pub(crate) test_objects: bool,
    /// How much origins are told of clients' addresses.
    pub(crate) forwarded_for: ClientAddress,
    /// Clients are served over plain HTTP too.
    pub(crate) serves_plain: bool,
    /// What clients get for a 4xx of an origin.
    pub(crate) client_errors: ClientErrors,
    pub(crate) access_log: AccessLog,
    /// Our name in `Via`.
    pub(crate) via: Via,
}

impl ContentState {
    /// Half of the time that a client still waits for its first byte, which came with a request that began then.
    fn half_of_time(&self, begun: Instant) -> Duration {
        self.first_byte.saturating_sub(begun.elapsed()) / 2
    }
}

/// Times that a request starts over when its object changes at the origin before the reply has begun.
const MAX_ATTEMPTS: usize = 3;

/// Missing pieces of a range that are looked at one by one to say how much of it is here.
const MOST_LOOKED_AT: u64 = 64;

/// Answers a request. Every path is content; there is nothing else on this port, so nothing to be routed.
pub(crate) async fn serve(state: Arc<ContentState>, request: Request<Body>) -> Response<Body> {
    let begun = Instant::now();
    let ledger = request.extensions().get::<Arc<Ledger>>().cloned();
    let client = ledger.as_ref().map(|ledger| ledger.client());
    let transport = ledger.as_ref().map_or(Transport::Plain, |ledger| ledger.transport());
    let parsed = ContentRequest::parse(&request, client, transport, &state);
    let (content, outcome) = match parsed {
        Ok(content) => {
            let meter = Meter { ledger, counters: state.counters.clone() };
            // Around everything: retries, second requests and a slow first byte of the body must not add up.
            let answering = answer(&state, &content, begun, meter.clone());
            let answered = tokio::time::timeout(state.first_byte, answering).await;
            let outcome = answered.unwrap_or(Err(Refusal::Upstream(UpstreamError::TimedOut)));
            let outcome =
                outcome.or_else(|refusal| test_objects::instead_of(refusal, &content, &state, meter));
            (Some(content), outcome)
        }
        Err(refusal) => (None, Err(refusal)),
    };
    let origin = content.as_ref().map(|content| &content.origin);
    let (mut response, result) = match outcome {
        Ok((response, result)) => (response, result),
        Err(refusal) => (refusal.into_response(request.method(), &state), CacheResult::None),
    };
    let code_class = response.status().as_u16() / 100;
    let class = origin.map(CacheHostOrigin::class);
    state.counters.add_request(RequestLabels { class, result, code_class });
    let origin = origin.map(|origin| (origin.name().as_str(), origin.class()));
    let https = transport == Transport::Tls;
    let reply = Reply { request: &request, response: &response, client, https, origin, result, begun };
    if let Some(record) = state.access_log.record(&reply) {
        response.extensions_mut().insert(record);
    }
    response
}

type Answer = Result<(Response<Body>, CacheResult), Refusal>;

async fn answer(state: &Arc<ContentState>, request: &ContentRequest, begun: Instant, meter: Meter) -> Answer {
    let mut attempt = 1;
    loop {
        match attempt_answer(state, request, begun, meter.clone()).await {
            Err(Refusal::Upstream(UpstreamError::Changed)) if attempt < MAX_ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

async fn attempt_answer(
    state: &Arc<ContentState>,
    request: &ContentRequest,
    begun: Instant,
    meter: Meter,
) -> Answer {
    let opened = match state.catalog.open(&request.opening()).await {
        Ok(opened) => opened,
        Err(OpenError::NotShared) => return Box::pin(pass_on(state, request, meter)).await,
        Err(OpenError::Upstream(error)) => return Err(error.into()),
    };
    if opened.collapsed {
        state.counters.collapsed_requests.fetch_add(1, Ordering::Relaxed);
    }
    let object = opened.object.clone();
    let head = object.head();
    let total = object.generation().content_length_bytes;
    let comes_now = opened.first.is_some();
    let reply = |status, range, result, source| ReplyHead {
        headers: &head.headers,
        age_seconds: (!comes_now).then(|| head.freshness.age_seconds(now_seconds())),
        status,
        total,
        range,
        result,
        source,
        collapsed: opened.collapsed,
        freshly: opened.freshly,
    };
    let (status, range) = match request.reply(object.generation()) {
        Asked::NotModified => {
            let result = if comes_now { CacheResult::Miss } else { CacheResult::Hit };
            let head = reply(StatusCode::NOT_MODIFIED, None, result, Source::Disk);
            return Ok((head.into_response(Body::empty(), state), result));
        }
        Asked::AnotherState => return Err(Refusal::AnotherState),
        Asked::Content(Selection::Unsatisfiable) => return Err(Refusal::Unsatisfiable { total }),
        Asked::Content(Selection::Part(range)) => (StatusCode::PARTIAL_CONTENT, Some(range)),
        Asked::Content(Selection::Whole) => {
            (StatusCode::OK, total.checked_sub(1).map(|last| ByteRange { first: 0, last }))
        }
    };
    let result = cache_result(state, &opened, range);
    let read_ahead = state.rules.of(request.origin.class()).read_ahead;
    if read_ahead == ReadAheadMode::WholeObject && !request.is_head {
        state.catalog.complete_in_background(&object, &request.target);
    }
    if request.is_head || range.is_none() {
        let head = reply(status, range, result, Source::Disk);
        return Ok((head.into_response(Body::empty(), state), result));
    }
    let Some(range) = range else { return Err(Refusal::Unsatisfiable { total }) };
    // The reply begins once its first bytes are here: until then a failure can still be told by a status.
    let first = match stored_piece(&opened, range) {
        Some(stored) => stored,
        None => {
            Box::pin(first_piece(state, &opened, range, &request.target, begun, meter.is_mapped())).await?
        }
    };
    let (result, source) = match (&first.1, result) {
        (Piece::Stored, _) => (result, Source::Disk),
        // It was here a moment ago and had to be fetched after all.
        (Piece::Filling(fill, Source::Origin), CacheResult::Hit) => {
            (CacheResult::Miss, fill.source(Source::Origin))
        }
        (Piece::Filling(fill, source), _) => (result, fill.source(*source)),
    };
    if read_ahead == ReadAheadMode::Adaptive {
        state.catalog.fetch_on(&object, range, &request.target);
    }
    let plan = BodyPlan { catalog: &state.catalog, meter, read_ahead, target: &request.target };
    let head = reply(status, Some(range), result, source);
    Ok((head.into_response(plan.into_body(object.clone(), range, first), state), result))
}

/// Content that is not shared: the origin's answer for this client alone.
async fn pass_on(state: &Arc<ContentState>, request: &ContentRequest, meter: Meter) -> Answer {
    let passed = state.catalog.pass_on(&request.target, request.wanted()).await?;
    let total = passed.generation.content_length_bytes;
    let result = CacheResult::Bypass;
    let head = |status, range| ReplyHead {
        headers: &passed.headers,
        age_seconds: None,
        status,
        total,
        range,
        result,
        source: Source::Origin,
        collapsed: false,
        freshly: Freshly::NotAsked,
    };
    match request.reply(&passed.generation) {
        Asked::AnotherState => return Err(Refusal::AnotherState),
        Asked::NotModified => {
            return Ok((head(StatusCode::NOT_MODIFIED, None).into_response(Body::empty(), state), result));
        }
        Asked::Content(_) => {}
    }
    let whole = total.checked_sub(1).map(|last| ByteRange { first: 0, last });
    let head = match passed.part {
        Some(part) => head(StatusCode::PARTIAL_CONTENT, Some(part)),
        None => head(StatusCode::OK, whole),
    };
    let body = if request.is_head { Body::empty() } else { meter.passed_on(passed.body) };
    Ok((head.into_response(body, state), result))
}

/// The piece that the range begins in, if it is stored and another fetch could go on with it. What waits is boxed apart, so that
/// the future of a request that needn't wait is small: it is moved several times.
fn stored_piece(opened: &Opened, range: ByteRange) -> Option<FirstPiece> {
    let object = &opened.object;
    let piece = object.layout().piece_at(range.first)?;
    let is_plain = opened.first.is_none() && object.has(piece) && object.generation().is_named();
    is_plain.then_some((piece, Piece::Stored))
}

/// The piece that the range begins in, with its first bytes.
async fn first_piece(
    state: &ContentState,
    opened: &Opened,
    range: ByteRange,
    target: &FetchTarget,
    begun: Instant,
    mapped: bool,
) -> Result<FirstPiece, UpstreamError> {
    let layout = opened.object.layout();
    let piece = layout.piece_at(range.first).ok_or(UpstreamError::WrongLength)?;
    let bytes = layout.range_of(piece);
    // What opening fetched counts as fetched for the one who opened.
    if let Some((number, fill)) = opened.first.as_ref().filter(|(number, _)| *number == piece) {
        match fill.ready(range.first - bytes.first, state.half_of_time(begun)).await {
            Ok(()) => {
                let source = if opened.collapsed { Source::Memory } else { Source::Origin };
                return Ok((*number, Piece::Filling(fill.clone(), source)));
            }
            // It is fetched once more.
            Err(UpstreamError::BadPiece) => {}
            Err(error) => return Err(error),
        }
    }
    loop {
        let found = state.catalog.piece(&opened.object, piece, target);
        if let Piece::Filling(fill, source) = &found
            && let Err(error) = fill.ready(range.first - bytes.first, state.half_of_time(begun)).await
        {
            // Another client's signature was refused; ours is to be judged by itself. And a bad piece is fetched once more.
            if (*source == Source::Memory && error.is_about_signature_of(target))
                || error == UpstreamError::BadPiece
            {
                continue;
            }
            return Err(error);
        }
        if matches!(found, Piece::Stored) && !opened.object.generation().is_named() {
            let held = state.catalog.hold(&opened.object, piece, mapped).await;
            return Ok((piece, Piece::Filling(held.ok_or(UpstreamError::Changed)?, Source::Disk)));
        }
        return Ok((piece, found));
    }
}

/// How much of the asked range is here at this moment.
fn cache_result(state: &ContentState, opened: &Opened, range: Option<ByteRange>) -> CacheResult {
    let Some(range) = range else {
        return if opened.first.is_some() { CacheResult::Miss } else { CacheResult::Hit };
    };
    let object = &opened.object;
    let (stored, pieces) = object.stored_of(range);
    let mut here = stored;
    if stored < pieces && pieces - stored <= MOST_LOOKED_AT {
        // Complete in memory and about to be stored counts as here, unless it was fetched for this very request. What is not
        // here is counted, because it only ever gets less while we count.
        let is_fetched = |piece| opened.first.as_ref().is_some_and(|(first, _)| *first == piece);
        let is_absent = |piece: &PieceIndex| {
            is_fetched(*piece) || (!object.has(*piece) && !state.catalog.is_here(object, *piece))
        };
        here = pieces - object.layout().pieces_of(range).filter(is_absent).count() as u64;
    }
    match here {
        0 => CacheResult::Miss,
        _ if here >= pieces => CacheResult::Hit,
        _ => CacheResult::Partial,
    }
}
