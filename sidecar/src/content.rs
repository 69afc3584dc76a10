//! The content endpoint (dossier delivery-optimization section 1): what a request asks for, where its bytes are, and the
//! reply whose every header and byte a Windows client relies on.

mod body;
mod request;
mod respond;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{Router, body::Body, extract::State};
use connected_cache_config::ReadAheadMode;
use connected_cache_core::{AllowList, ByteRange, PieceIndex, QueryRule, Selection};
use http::{HeaderValue, Request, Response, StatusCode};

use crate::{
    catalog::{Catalog, Opened, Piece},
    metrics::{CacheResult, Counters, RequestLabels, Source},
    socket::Ledger,
    upstream::{FetchTarget, UpstreamError},
};

use body::{BodyPlan, FirstPiece};
use request::ContentRequest;
use respond::{Refusal, ReplyHead};

/// What the content endpoint works with.
#[derive(Clone)]
pub(crate) struct ContentState {
    pub(crate) catalog: Catalog,
    pub(crate) counters: Arc<Counters>,
    pub(crate) allow_list: Arc<AllowList>,
    pub(crate) query_rule: QueryRule,
    pub(crate) read_ahead: ReadAheadMode,
    /// How long a client waits at most for the head of its reply.
    pub(crate) first_byte: Duration,
    /// Value of `X-CID`.
    pub(crate) node_id: HeaderValue,
}

/// Times that a request starts over when its object changes at the origin before the reply has begun.
const MAX_ATTEMPTS: usize = 3;

/// Every path is content; there is nothing else on this port.
pub(crate) fn router(state: ContentState) -> Router {
    Router::new().fallback(serve).with_state(Arc::new(state))
}

async fn serve(State(state): State<Arc<ContentState>>, request: Request<Body>) -> Response<Body> {
    let ledger = request.extensions().get::<Arc<Ledger>>().cloned();
    let parsed = ContentRequest::parse(&request, &state);
    let (class, outcome) = match parsed {
        Ok(content) => {
            // Around everything: retries, second requests and a slow first byte of the body must not add up.
            let answered = tokio::time::timeout(state.first_byte, answer(&state, &content, ledger)).await;
            let outcome = answered.unwrap_or(Err(Refusal::Upstream(UpstreamError::TimedOut)));
            (Some(content.origin.class()), outcome)
        }
        Err(refusal) => (None, Err(refusal)),
    };
    let (response, result) = match outcome {
        Ok((response, result)) => (response, result),
        Err(refusal) => (refusal.into_response(request.method(), &state.node_id), CacheResult::None),
    };
    let code_class = response.status().as_u16() / 100;
    state.counters.add_request(RequestLabels { class, result, code_class });
    tracing::debug!(method = %request.method(), path = request.uri().path(), status = response.status().as_u16(), ?result, "answered");
    response
}

type Answer = Result<(Response<Body>, CacheResult), Refusal>;

async fn answer(state: &Arc<ContentState>, request: &ContentRequest, ledger: Option<Arc<Ledger>>) -> Answer {
    let mut attempt = 1;
    loop {
        match attempt_answer(state, request, ledger.clone()).await {
            Err(Refusal::Upstream(UpstreamError::Changed)) if attempt < MAX_ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

async fn attempt_answer(
    state: &Arc<ContentState>,
    request: &ContentRequest,
    ledger: Option<Arc<Ledger>>,
) -> Answer {
    let opened = state.catalog.open(&request.key, &request.target, request.likely_offset()).await?;
    if opened.collapsed {
        state.counters.collapsed_requests.fetch_add(1, Ordering::Relaxed);
    }
    let length = opened.object.layout().content_length_bytes();
    let (status, range) = match request.selection(&opened.object.head().generation) {
        Selection::Unsatisfiable => return Err(Refusal::Unsatisfiable { total: length }),
        Selection::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
        Selection::Whole => (StatusCode::OK, length.checked_sub(1).map(|last| ByteRange { first: 0, last })),
    };
    let result = cache_result(state, &opened, range);
    let reply = |result, source| ReplyHead {
        object: opened.object.clone(),
        status,
        range,
        result,
        source,
        collapsed: opened.collapsed,
    };
    if state.read_ahead == ReadAheadMode::WholeObject && !request.is_head {
        state.catalog.complete_in_background(&opened.object, &request.target);
    }
    let Some(range) = range.filter(|_| !request.is_head) else {
        return Ok((reply(result, Source::Disk).into_response(Body::empty(), &state.node_id), result));
    };
    let plan = BodyPlan {
        catalog: state.catalog.clone(),
        counters: state.counters.clone(),
        ledger,
        read_ahead: state.read_ahead,
        target: request.target.clone(),
    };
    // The reply begins once its first bytes are here: until then a failure can still be told by a status.
    let first = first_piece(state, &opened, range, &request.target).await?;
    let (result, source) = match (&first.1, result) {
        (Piece::Stored, _) => (result, Source::Disk),
        // It was here a moment ago and had to be fetched after all.
        (Piece::Filling(_, Source::Origin), CacheResult::Hit) => (CacheResult::Miss, Source::Origin),
        (Piece::Filling(_, source), _) => (result, *source),
    };
    let head = reply(result, source);
    Ok((head.into_response(plan.into_body(opened, range, first), &state.node_id), result))
}

/// The piece that the range begins in, with its first bytes.
async fn first_piece(
    state: &ContentState,
    opened: &Opened,
    range: ByteRange,
    target: &FetchTarget,
) -> Result<FirstPiece, UpstreamError> {
    let layout = opened.object.layout();
    let piece = layout.piece_at(range.first).ok_or(UpstreamError::WrongLength)?;
    let bytes = layout.range_of(piece);
    // What opening fetched counts as fetched for the one who opened.
    if let Some((number, fill)) = opened.first.as_ref().filter(|(number, _)| *number == piece) {
        fill.read(range.first - bytes.first).await?;
        let source = if opened.collapsed { Source::Memory } else { Source::Origin };
        return Ok((*number, Piece::Filling(fill.clone(), source)));
    }
    let found = state.catalog.piece(&opened.object, piece, target);
    if let Piece::Filling(fill, _) = &found {
        fill.read(range.first - bytes.first).await?;
    }
    Ok((piece, found))
}

/// How much of the asked range is here at this moment.
fn cache_result(state: &ContentState, opened: &Opened, range: Option<ByteRange>) -> CacheResult {
    let fetched = |piece: &PieceIndex| {
        opened.first.as_ref().is_some_and(|(first, _)| first == piece)
            || !state.catalog.is_here(&opened.object, *piece)
    };
    let Some(range) = range else {
        return if opened.first.is_some() { CacheResult::Miss } else { CacheResult::Hit };
    };
    let (mut hits, mut misses) = (0_u64, 0_u64);
    for piece in opened.object.layout().pieces_of(range) {
        *(if fetched(&piece) { &mut misses } else { &mut hits }) += 1;
    }
    match (hits, misses) {
        (_, 0) => CacheResult::Hit,
        (0, _) => CacheResult::Miss,
        _ => CacheResult::Partial,
    }
}
