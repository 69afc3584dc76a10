//! Calls to the services: JSON over HTTPS, each on a connection of its own, within one time limit.
//!
//! It is built on our own connector, so that names (`upstream.resolve`, `upstream.resolvers`), proxy and roots are treated
//! as those of origins are. Redirects are not followed: `HashOfHashes` is worth what its channel is worth. Queries may hold
//! tokens, so URLs are logged without them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Body, client::conn::http1};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use url::{Position, Url};

use super::{
    SimpleMode,
    clock::Clock,
    retry::{max_age, retry_after},
};
use crate::{
    metrics::{CallResult, Counters, Service},
    upstream::Dialer,
};

/// Longest reply that is read. The longest that is known, KeyValue's, has some ten KiB.
const MAX_REPLY_BYTES: usize = 1 << 20;
/// Calls at once: some hundred KiB each for TLS and the reply, and what a service may be asked without a burst.
const MAX_CALLS: usize = 32;
/// Calls of Discovery and Array at once.
const MAX_PEERS_CALLS: usize = 4;
const USER_AGENT: &str = concat!("connected-cache/", env!("CARGO_PKG_VERSION"));
/// Network authentication required (RFC 6585 section 6): what a captive portal should say.
const NETWORK_AUTHENTICATION_REQUIRED: u16 = 511;

/// Why a call gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    #[error("its URL is not https")]
    NotHttps,
    #[error("unable to reach it: {reason}")]
    Unreachable { reason: String },
    #[error("no whole answer within controlPlane.requestTimeoutMilliseconds")]
    TimedOut,
    #[error("it answered {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
    #[error(
        "a web page answered in its place, as captive portals do: sign in there, or let this host through"
    )]
    CaptivePortal,
    #[error("its answer is empty")]
    Empty,
    #[error("its answer can't be used: {reason}")]
    Unusable { reason: String },
}

impl CallError {
    pub(super) fn unusable(reason: impl Into<String>) -> Self {
        Self::Unusable { reason: reason.into() }
    }

    /// What it means for content.
    pub(super) const fn reason(&self) -> SimpleMode {
        match self {
            Self::NotHttps | Self::Unreachable { .. } | Self::TimedOut | Self::Status { .. } => {
                SimpleMode::Unreachable
            }
            Self::CaptivePortal => SimpleMode::CaptivePortal,
            Self::Empty => SimpleMode::EmptyReply,
            Self::Unusable { .. } => SimpleMode::UnusableReply,
        }
    }

    /// How long the service wants to be left alone.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(status.as_u16()),
            _ => None,
        }
    }

    const fn result(&self) -> CallResult {
        match self {
            Self::NotHttps | Self::Unreachable { .. } | Self::TimedOut => CallResult::Unreachable,
            Self::Status { .. } => CallResult::Status,
            Self::CaptivePortal => CallResult::CaptivePortal,
            Self::Empty => CallResult::Empty,
            Self::Unusable { .. } => CallResult::Unusable,
        }
    }
}

/// A usable answer's body, and how long it says that it holds.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) text: Bytes,
    /// `Cache-Control: max-age`, seconds.
    pub(super) max_age: Option<u64>,
}

/// The last call to a service that gave nothing.
#[derive(Clone, Debug)]
pub(super) struct LastError {
    pub(super) error: CallError,
    /// Seconds since 1970.
    pub(super) at: u64,
}

/// The caller of services.
pub(super) struct Client {
    dialer: Dialer,
    /// The administrator named the control plane, so its hosts may have any address.
    is_named: bool,
    patience: Duration,
    counters: Arc<Counters>,
    clock: Clock,
    errors: Mutex<BTreeMap<Service, LastError>>,
    /// Calls at once; more wait for their turn.
    turns: Semaphore,
    /// Those about peers, which nothing waits for, so that they don't take the turns of the others.
    peers_turns: Semaphore,
}

impl Client {
    pub(super) fn new(
        dialer: Dialer,
        is_named: bool,
        patience: Duration,
        counters: Arc<Counters>,
        clock: Clock,
    ) -> Self {
        let (errors, turns) = (Mutex::default(), Semaphore::new(MAX_CALLS));
        let peers_turns = Semaphore::new(MAX_PEERS_CALLS);
        Self { dialer, is_named, patience, counters, clock, errors, turns, peers_turns }
    }

    /// One GET; counted by what it was good for.
    pub(super) async fn get<T>(
        &self,
        service: Service,
        url: &Url,
        decode: impl FnOnce(&Reply) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        self.call(service, url, None, decode).await
    }

    /// One POST of a JSON document.
    pub(super) async fn post<T>(
        &self,
        service: Service,
        url: &Url,
        body: Bytes,
        decode: impl FnOnce(&Reply) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        self.call(service, url, Some(body), decode).await
    }

    /// The last error of each service that failed at its last call.
    pub(super) fn errors(&self) -> BTreeMap<Service, LastError> {
        self.errors.lock().clone()
    }

    /// Counts what became of a call, and keeps an error for who looks at the state.
    pub(super) fn note(&self, service: Service, error: Option<CallError>) {
        let result = error.as_ref().map_or(CallResult::Ok, CallError::result);
        self.counters.control_plane.add(service, result);
        match error {
            None => drop(self.errors.lock().remove(&service)),
            Some(error) => {
                self.errors.lock().insert(service, LastError { error, at: self.clock.seconds() });
            }
        }
    }

    async fn call<T>(
        &self,
        service: Service,
        url: &Url,
        body: Option<Bytes>,
        decode: impl FnOnce(&Reply) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let turns = match service {
            Service::Discovery | Service::Array => &self.peers_turns,
            Service::Geo | Service::KeyValue | Service::ContentPolicy | Service::PieceHashFile => &self.turns,
        };
        // They are never closed, so a turn always comes.
        let turn = turns.acquire().await;
        let asked = timeout(self.patience, self.ask(url, body)).await;
        drop(turn);
        let outcome = asked.unwrap_or(Err(CallError::TimedOut)).and_then(|reply| decode(&reply));
        let error = outcome.as_ref().err();
        if let Some(error) = error {
            tracing::info!(service = service.name(), url = shown(url), %error, "a service gave nothing");
        }
        self.note(service, error.cloned());
        outcome
    }

    async fn ask(&self, url: &Url, body: Option<Bytes>) -> Result<Reply, CallError> {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(CallError::NotHttps);
        };
        if url.scheme() != "https" {
            return Err(CallError::NotHttps);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(CallError::unusable("its URL has a user name, which is not sent"));
        }
        let request = request(url, host, body)?;
        let connecting = self.dialer.open(host, port, self.is_named).await;
        let stream = connecting.map_err(|error| CallError::Unreachable { reason: error.to_string() })?;
        let (mut sender, connection) =
            http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(async {
            // Whoever waits for the answer is told by the sender.
            let _ = connection.await;
        }));
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        check(head.status, &head.headers, self.clock.seconds())?;
        Ok(Reply { text: read(&head.headers, body).await?, max_age: max_age(&head.headers) })
    }
}

/// The URL without its query.
pub(super) fn shown(url: &Url) -> &str {
    // From the host on where there are credentials, which nobody is to see.
    if url.username().is_empty() && url.password().is_none() {
        &url[..Position::AfterPath]
    } else {
        &url[Position::BeforeHost..Position::AfterPath]
    }
}

fn request(url: &Url, host: &str, body: Option<Bytes>) -> Result<Request<Full<Bytes>>, CallError> {
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let builder = Request::builder()
        .method(if body.is_some() { Method::POST } else { Method::GET })
        .uri(&url[Position::BeforePath..Position::AfterQuery])
        .header(header::HOST, authority)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "application/json, text/json")
        .header(header::CONNECTION, "close");
    let builder = match &body {
        Some(_) => builder.header(header::CONTENT_TYPE, "application/json"),
        None => builder,
    };
    let request = builder.body(Full::new(body.unwrap_or_default()));
    request.map_err(|_| CallError::unusable("its URL can't be asked for"))
}

fn check(status: StatusCode, headers: &HeaderMap, now: u64) -> Result<(), CallError> {
    match status.as_u16() {
        200 => {}
        300..=399 => {
            return Err(CallError::unusable(format!("a redirect ({status}), which is not followed")));
        }
        NETWORK_AUTHENTICATION_REQUIRED => return Err(CallError::CaptivePortal),
        _ => return Err(CallError::Status { status, retry_after: retry_after(headers, now) }),
    }
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/json" | "text/json" => {}
        "text/html" | "application/xhtml+xml" => return Err(CallError::CaptivePortal),
        _ => return Err(CallError::unusable("its Content-Type is not that of JSON")),
    }
    match text(header::CONTENT_ENCODING) {
        None | Some("identity") => Ok(()),
        Some(_) => Err(CallError::unusable("it has a Content-Encoding that was not asked for")),
    }
}

/// The whole body, if it is not too long.
async fn read<B>(headers: &HeaderMap, mut body: B) -> Result<Bytes, CallError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let too_long = || CallError::unusable(format!("it is longer than {MAX_REPLY_BYTES} bytes"));
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if stated.is_some_and(|length: u64| length > MAX_REPLY_BYTES as u64) {
        return Err(too_long());
    }
    let mut text = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame.map_err(broken)?.into_data() {
            if text.len() + bytes.len() > MAX_REPLY_BYTES {
                return Err(too_long());
            }
            text.extend_from_slice(&bytes);
        }
    }
    Ok(text.freeze())
}

fn broken(error: impl std::fmt::Display) -> CallError {
    CallError::Unreachable { reason: format!("the connection broke: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(status: u16, fields: &[(&'static str, &str)]) -> Result<(), CallError> {
        let fields = fields.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()));
        check(StatusCode::from_u16(status).unwrap(), &fields.collect(), 0)
    }

    #[test]
    fn both_types_of_json_are_taken_and_no_other_type_is() {
        for kind in ["text/json", "application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(checked(200, &[("content-type", kind)]), Ok(()), "{kind}");
        }
        assert_eq!(checked(200, &[("content-type", "text/html; charset=x")]), Err(CallError::CaptivePortal));
        for fields in [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/jsonp")]] {
            assert!(matches!(checked(200, fields), Err(CallError::Unusable { .. })), "{fields:?}");
        }
        let packed = checked(200, &[("content-type", "text/json"), ("content-encoding", "gzip")]);
        assert!(matches!(packed, Err(CallError::Unusable { .. })));
    }

    #[test]
    fn redirects_are_unusable_and_other_statuses_an_error_with_their_retry_after() {
        for status in [301, 302, 304, 307, 308] {
            let error = checked(status, &[("location", "https://elsewhere.example/")]).unwrap_err();
            assert_eq!(error.reason(), SimpleMode::UnusableReply);
            assert!(error.to_string().contains("redirect"), "{error}");
        }
        let error = checked(503, &[("retry-after", "7")]).unwrap_err();
        assert_eq!((error.status(), error.retry_after()), (Some(503), Some(Duration::from_secs(7))));
        assert_eq!(checked(204, &[]).unwrap_err().reason(), SimpleMode::Unreachable);
        assert_eq!(checked(511, &[]), Err(CallError::CaptivePortal));
    }

    #[tokio::test]
    async fn a_reply_is_read_up_to_a_mebibyte_whatever_length_it_states() {
        let of_length = |length: usize| Full::new(Bytes::from(vec![b' '; length]));
        let none = HeaderMap::new();
        assert_eq!(read(&none, of_length(MAX_REPLY_BYTES)).await.map(|text| text.len()), Ok(MAX_REPLY_BYTES));
        assert!(matches!(read(&none, of_length(MAX_REPLY_BYTES + 1)).await, Err(CallError::Unusable { .. })));
        let stated = HeaderMap::from_iter([(header::CONTENT_LENGTH, "1048577".parse().unwrap())]);
        assert!(matches!(read(&stated, of_length(1)).await, Err(CallError::Unusable { .. })));
    }

    #[test]
    fn urls_are_shown_without_their_query() {
        let url = "https://a.example:8443/x/y?P4=secret#part".parse().unwrap();
        assert_eq!(shown(&url), "https://a.example:8443/x/y");
    }
}
