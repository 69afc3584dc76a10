//! Reply heads (dossier delivery-optimization 1.4): numeric lengths always, ranges answered 206, and for what is refused a
//! status that does not cost the client more than it must.

use std::borrow::Cow;

use axum::body::Body;
use connected_cache_config::ClientErrors;
use connected_cache_core::{ByteRange, ContentRange, OriginRefused};
use connected_cache_wire::delivery_optimization::OriginNameError;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};

use crate::{
    catalog::Freshly,
    metrics::{CacheResult, Source},
    upstream::UpstreamError,
};

use super::ContentState;

/// Headers that a reply has beside its origin's, `Date` among them.
const OURS: usize = 9;

pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const X_CID: HeaderName = HeaderName::from_static("x-cid");

/// A reply about content.
#[derive(Debug)]
pub(super) struct ReplyHead<'a> {
    /// The origin's headers that are passed on.
    pub(super) headers: &'a [(HeaderName, HeaderValue)],
    /// Seconds since the origin made it; `None` = it comes from there now.
    pub(super) age_seconds: Option<u64>,
    pub(super) status: StatusCode,
    /// Length of the whole content in bytes.
    pub(super) total: u64,
    /// `None` = nothing of it is sent, or it is empty.
    pub(super) range: Option<ByteRange>,
    pub(super) result: CacheResult,
    /// Where the first bytes come from.
    pub(super) source: Source,
    pub(super) collapsed: bool,
    pub(super) freshly: Freshly,
}

impl ReplyHead<'_> {
    pub(super) fn into_response(self, body: Body, state: &ContentState) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.reserve(self.headers.len() + OURS);
        headers.extend(self.headers.iter().cloned());
        if self.status != StatusCode::NOT_MODIFIED {
            let length = self.range.map_or(0, ByteRange::length);
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        if let Some(range) = self.range.filter(|_| self.status == StatusCode::PARTIAL_CONTENT) {
            let text = ContentRange::Part { range, total: self.total }.to_string();
            insert_text(headers, header::CONTENT_RANGE, &text);
        }
        if let Some(age) = self.age_seconds {
            headers.insert(header::AGE, HeaderValue::from(age));
        }
        headers.insert(header::VIA, state.via.ours());
        let (x_cache, status) = self.cache_status();
        headers.insert(X_CACHE, HeaderValue::from_static(x_cache));
        match status {
            Cow::Borrowed(status) => drop(headers.insert(CACHE_STATUS, HeaderValue::from_static(status))),
            Cow::Owned(status) => insert_text(headers, CACHE_STATUS, &status),
        }
        headers.insert(X_CID, state.node_id.clone());
        response
    }

    /// `X-Cache`, and `Cache-Status` (RFC 9211).
    fn cache_status(&self) -> (&'static str, Cow<'static, str>) {
        let collapsed = if self.collapsed { "; collapsed" } else { "" };
        let source = self.source.as_str();
        match (self.result, self.freshly) {
            (CacheResult::Hit, Freshly::NotAsked) => ("HIT", plain_hit(self.source).into()),
            (CacheResult::Hit, Freshly::Stale { seconds }) => {
                ("HIT", format!("connectedcache; hit; ttl=-{seconds}; detail={source}").into())
            }
            (CacheResult::Hit, Freshly::Validated) => (
                "HIT",
                format!("connectedcache; fwd=stale; fwd-status=304{collapsed}; detail={source}").into(),
            ),
            (CacheResult::Partial, _) => (
                "PARTIAL",
                format!("connectedcache; fwd=partial{collapsed}; detail={}", self.fetched_from()).into(),
            ),
            (CacheResult::Bypass, _) => ("MISS", "connectedcache; fwd=bypass; detail=origin".into()),
            (CacheResult::Miss | CacheResult::None, _) => (
                "MISS",
                format!("connectedcache; fwd=miss{collapsed}; detail={}", self.fetched_from()).into(),
            ),
        }
    }

    /// Where what was not here came from.
    fn fetched_from(&self) -> &'static str {
        if self.source == Source::Peer { Source::Peer.as_str() } else { Source::Origin.as_str() }
    }
}

/// What most replies say, without making a text for each.
const fn plain_hit(source: Source) -> &'static str {
    match source {
        Source::Memory => "connectedcache; hit; detail=memory",
        Source::Disk => "connectedcache; hit; detail=disk",
        Source::Peer => "connectedcache; hit; detail=peer",
        Source::Origin => "connectedcache; hit; detail=origin",
    }
}

/// A reply without content.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Neither GET nor HEAD.
    Method,
    /// Not HTTP as it should be.
    BadRequest(&'static str),
    /// `cacheHostOrigin` can't name an origin.
    OriginName(OriginNameError),
    /// It names one that is not served.
    Origin(OriginRefused),
    /// No `cacheHostOrigin`, and addressed to something that is no origin.
    NotACacheRequest,
    /// The request was passed on by ourselves before.
    Loop,
    /// `If-Match` or `If-Unmodified-Since` don't hold.
    AnotherState,
    /// The range lies outside the content.
    Unsatisfiable { total: u64 },
    /// The origin gave no usable bytes.
    Upstream(UpstreamError),
}

impl From<OriginRefused> for Refusal {
    fn from(refused: OriginRefused) -> Self {
        Self::Origin(refused)
    }
}

impl From<UpstreamError> for Refusal {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::OutsideContent { total } => Self::Unsatisfiable { total },
            error => Self::Upstream(error),
        }
    }
}

impl Refusal {
    fn status(&self, client_errors: ClientErrors) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::OriginName(_) | Self::Origin(_) | Self::NotACacheRequest => StatusCode::FORBIDDEN,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::AnotherState => StatusCode::PRECONDITION_FAILED,
            Self::Unsatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Upstream(error) => error.client_status(client_errors),
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Self::Method => "only GET and HEAD are served here".to_owned(),
            Self::BadRequest(reason) => (*reason).to_owned(),
            Self::OriginName(error) => format!("cacheHostOrigin holds {error}"),
            Self::Origin(refused) => refused.to_string(),
            Self::NotACacheRequest => {
                "this is a content cache: add ?cacheHostOrigin=<origin host> or send the origin in the Host header".to_owned()
            }
            Self::Loop => "this request came through this cache before, check the origin's address".to_owned(),
            Self::AnotherState => "the content is not in the state that the request names".to_owned(),
            Self::Unsatisfiable { total } => format!("the range lies outside the content of {total} bytes"),
            Self::Upstream(error) => error.to_string(),
        }
    }

    pub(super) fn into_response(self, method: &Method, state: &ContentState) -> Response<Body> {
        let message = format!("{}\n", self.message());
        let length = message.len();
        let body = if method == Method::HEAD { Body::empty() } else { Body::from(message) };
        let mut response = Response::new(body);
        *response.status_mut() = self.status(state.client_errors);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(X_CID, state.node_id.clone());
        headers.insert(header::VIA, state.via.ours());
        match &self {
            Self::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Self::Unsatisfiable { total } => {
                insert_text(
                    headers,
                    header::CONTENT_RANGE,
                    &ContentRange::Unsatisfied { total: *total }.to_string(),
                );
                headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            }
            Self::Upstream(error) => {
                let forwarded = match error {
                    UpstreamError::Status { status } => format!("; fwd-status={}", status.as_u16()),
                    _ => String::new(),
                };
                insert_text(
                    headers,
                    CACHE_STATUS,
                    &format!("connectedcache; fwd=miss{forwarded}; detail={}", error.label()),
                );
                headers.insert(X_CACHE, HeaderValue::from_static("MISS"));
                if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
                }
            }
            _ => {}
        }
        response
    }
}

fn insert_text(headers: &mut http::HeaderMap, name: HeaderName, text: &str) {
    // Texts made here are visible ASCII.
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}
