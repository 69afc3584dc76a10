//! The client towards origins, or the parent instead of them: one request for one range, redirects followed by ourselves and only
//! inside the allow-list, deadlines below those of the clients behind us (dossier delivery-optimization 1.2, item 5).
//!
//! It is built on hyper's connections and not on a URL-normalising client, because CDN URLs are signed: the origin must
//! see path and query byte for byte as the client sent them. The pool is ours, so that the limit of connections is exact.

mod address;
mod body;
mod connector;
mod dialer;
mod error;
mod location;
mod names;
mod parent;
mod pool;
mod proxy;
mod roots;
mod stream;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use connected_cache_core::{AllowList, CacheHostOrigin, OriginRefused, PIECE_LENGTH_BYTES, Role};
use connected_cache_wire::delivery_optimization::OriginAuthority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header, uri};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::{bandwidth::Bandwidth, metrics::Counters};
use connector::Connector;
use names::Names;
use parent::Parent;
use pool::{Lease, Pool, Question};
use proxy::Proxy;
use roots::Roots;

pub(crate) use body::OriginBody;
pub(crate) use dialer::Dialer;
pub use error::UpstreamError;
pub(crate) use parent::X_FORWARDED_PROTO;

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;
/// Clients want a first byte or a 5xx within 10 s; a little less leaves time to say so.
const FIRST_BYTE_LIMIT: Duration = Duration::from_millis(9_500);

/// What is asked from an origin, the same for every piece of one client request.
#[derive(Clone, Debug)]
pub struct FetchTarget {
    /// Whom.
    pub origin: CacheHostOrigin,
    /// Over TLS, as the client asked us.
    pub https: bool,
    /// Path and query, byte for byte.
    pub path_and_query: String,
    /// The query is a signature of this one client; what it leads to is shared with others.
    pub is_signed: bool,
    /// From the origin itself, whatever parent and other pods there are.
    pub past_parent: bool,
    /// In which role another pod asks this one for it; `None` = a client does.
    pub asked_as: Option<Role>,
    /// The client's `User-Agent` and `MS-CV`, which are passed on, and through whom and for whom this is asked.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl FetchTarget {
    /// The whole URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.origin.authority(), self.path_and_query)
    }
}

/// The client towards origins.
#[derive(Clone)]
pub struct Upstream {
    pool: Arc<Pool>,
    allow_list: Arc<AllowList>,
    /// `None` = origins are always asked themselves.
    parent: Option<Arc<Parent>>,
    counters: Arc<Counters>,
    first_byte: Duration,
    idle: Duration,
    /// `None` = there are no caps.
    bandwidth: Option<Arc<Bandwidth>>,
    /// What looks after idle connections and root certificates; ends with the last clone.
    _background: Arc<[AbortOnDropHandle<()>; 2]>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Upstream").field("first_byte", &self.first_byte).finish_non_exhaustive()
    }
}

impl Upstream {
    /// A client by configuration; needs a running runtime. Missing root certificates only matter once https is needed.
    #[must_use]
    pub(crate) fn new(
        config: &connected_cache_config::Config,
        allow_list: Arc<AllowList>,
        bandwidth: Option<Arc<Bandwidth>>,
        counters: Arc<Counters>,
    ) -> Self {
        let upstream = &config.upstream;
        let connect_timeout = Duration::from_secs(upstream.timeouts.connect_seconds);
        let first_byte = Duration::from_secs(upstream.timeouts.first_byte_seconds);
        let roots = Roots::read(upstream.ca_file.as_deref());
        let connector = Connector {
            names: Names::new(config),
            proxy: upstream.proxy.as_ref().and_then(|url| Proxy::new(url, &upstream.no_proxy)),
            roots: roots.clone(),
            connect_timeout,
        };
        let is_paced = bandwidth.as_ref().is_some_and(|bandwidth| bandwidth.caps_upstream());
        let pool = Pool::new(connector, upstream.max_connections_per_origin, is_paced);
        let background = [tokio::spawn(roots.follow()), tokio::spawn(pool.clone().sweep())];
        Self {
            pool,
            allow_list,
            parent: upstream.parent.as_ref().and_then(Parent::new).map(Arc::new),
            counters,
            first_byte: first_byte.max((connect_timeout + first_byte).min(FIRST_BYTE_LIMIT)),
            idle: Duration::from_secs(upstream.timeouts.idle_seconds),
            bandwidth,
            _background: Arc::new(background.map(AbortOnDropHandle::new)),
        }
    }

    /// How long a client may wait for the first byte, all requests to origins together.
    #[must_use]
    pub fn first_byte_budget(&self) -> Duration {
        self.first_byte.min(FIRST_BYTE_LIMIT)
    }

    /// How many pieces one request may bring ahead of what is wanted. Under a cap it is no more than comes in about two
    /// seconds: whoever wants the last of them waits for all before it, and must hear something within 20 s.
    #[must_use]
    pub(crate) fn most_pieces_ahead(&self) -> u64 {
        let cap = self.bandwidth.as_ref().and_then(|bandwidth| bandwidth.limits().upstream);
        cap.map_or(u64::MAX, |rate| (rate.bits() / 8 * 2 / PIECE_LENGTH_BYTES).max(1))
    }

    /// Sends one GET with these headers beside the target's, and returns when the head of the final answer is there.
    pub(crate) async fn get(
        &self,
        target: &FetchTarget,
        headers: &HeaderMap,
    ) -> Result<Response<OriginBody>, UpstreamError> {
        self.ask(&Method::GET, target, headers).await
    }

    /// Sends one HEAD: there is no body.
    pub(crate) async fn head(&self, target: &FetchTarget) -> Result<Response<OriginBody>, UpstreamError> {
        self.ask(&Method::HEAD, target, &HeaderMap::new()).await
    }

    /// Whether the parent would be asked for this, rather than the origin.
    #[must_use]
    pub(crate) fn asks_parent(&self, target: &FetchTarget) -> bool {
        self.parent.as_ref().is_some_and(|parent| parent.is_for(target))
    }

    async fn ask(
        &self,
        method: &Method,
        target: &FetchTarget,
        headers: &HeaderMap,
    ) -> Result<Response<OriginBody>, UpstreamError> {
        let deadline = Instant::now() + self.first_byte;
        let headers = fields(target, headers);
        let of_parent = self.ask_parent(method, target, &headers).await?;
        let parent = self.parent.clone().filter(|_| of_parent.is_some());
        let (response, lease) = if let Some(answer) = of_parent {
            answer
        } else {
            let scheme = if target.https { "https" } else { "http" };
            let uri = uri_of(scheme, &target.origin.authority(), &target.path_and_query)?;
            let question = Question { method, uri: &uri, headers: &headers, is_named: false };
            self.follow(question, deadline).await?
        };
        let pace = self.bandwidth.as_ref().and_then(Bandwidth::of_upstream);
        Ok(response.map(|body| OriginBody::new(body, lease, parent, self.idle, pace)))
    }

    /// What the parent says of the content. `None` = there is none to ask, or it says nothing of the content: then the origin is
    /// to be asked, for which half of the time is left.
    async fn ask_parent(
        &self,
        method: &Method,
        target: &FetchTarget,
        headers: &HeaderMap,
    ) -> Result<Option<(Response<Incoming>, Lease)>, UpstreamError> {
        let Some(parent) = self.parent.as_ref().filter(|parent| parent.is_for(target)) else {
            return Ok(None);
        };
        if !parent.rests() {
            let mut headers = headers.clone();
            if parent.https && !target.https {
                headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
            }
            let uri = parent.uri(target)?;
            let question = Question { method, uri: &uri, headers: &headers, is_named: true };
            let asked_at = Instant::now();
            let answer = self.follow(question, asked_at + self.first_byte / 2).await;
            if answer.is_ok() {
                parent.answered();
            }
            let error = match answer {
                Ok(answer) if parent::is_of_the_origin(answer.0.status(), answer.0.headers()) => {
                    return Ok(Some(answer));
                }
                Ok((response, _)) => UpstreamError::Status { status: response.status() },
                Err(error) => {
                    match error {
                        // Where it sent us is not itself.
                        UpstreamError::Redirect { .. } | UpstreamError::PrivateTarget => {}
                        UpstreamError::TimedOut => parent.was_silent_since(asked_at),
                        _ => parent.rest(),
                    }
                    error
                }
            };
            tracing::info!(label = error.label(), %error, "the parent gave nothing, the origin itself is asked");
        }
        self.counters.parent_fallbacks.fetch_add(1, Ordering::Relaxed);
        Ok(None)
    }

    /// Asks, and goes where redirects lead.
    async fn follow(
        &self,
        question: Question<'_>,
        deadline: Instant,
    ) -> Result<(Response<Incoming>, Lease), UpstreamError> {
        let (mut uri, mut is_named) = (question.uri.clone(), question.is_named);
        for _ in 0..=MAX_REDIRECTS {
            let question = Question { uri: &uri, is_named, ..question };
            let asking = timeout_at(deadline, self.pool.ask(&question));
            let (response, lease) = asking.await.map_err(|_| UpstreamError::TimedOut)??;
            if !is_redirect(response.status()) {
                return Ok((response, lease));
            }
            // Nobody but the one who answered named where it leads.
            (uri, is_named) = (self.next_hop(&uri, &response)?, false);
        }
        Err(UpstreamError::Redirect { reason: "too often" })
    }

    fn next_hop(&self, from: &Uri, response: &Response<Incoming>) -> Result<Uri, UpstreamError> {
        let refused = |reason| UpstreamError::Redirect { reason };
        let location = response
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or(refused("without a usable Location"))?;
        let next = location::resolve(from, location).ok_or(refused("to an unusable URL"))?;
        if !matches!(next.scheme_str(), Some("http" | "https")) {
            return Err(refused("to another protocol"));
        }
        let default_port = if next.scheme() == Some(&uri::Scheme::HTTPS) { 443 } else { 80 };
        let authority =
            next.authority().and_then(|authority| OriginAuthority::parse(authority.as_str()).ok());
        let authority = authority.ok_or(refused("to an address"))?;
        match self.allow_list.admit_exactly(&authority, default_port) {
            Ok(_) => Ok(next),
            Err(OriginRefused::OtherPort) => Err(refused("to a port outside the allow-list")),
            Err(_) => Err(refused("to a host outside the allow-list")),
        }
    }
}

fn uri_of(scheme: &str, authority: &str, path_and_query: &str) -> Result<Uri, UpstreamError> {
    let mut parts = uri::Parts::default();
    parts.scheme = scheme.parse().ok();
    parts.authority = authority.parse().ok();
    parts.path_and_query = path_and_query.parse().ok();
    Uri::from_parts(parts).map_err(|_| UpstreamError::Protocol { reason: "its URL can't be asked for" })
}

/// Header fields of every request for this target.
fn fields(target: &FetchTarget, headers: &HeaderMap) -> HeaderMap {
    let mut fields: HeaderMap = target.headers.iter().cloned().collect();
    fields.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    fields.extend(headers.clone());
    fields
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_time_to_a_first_byte_stays_below_that_of_clients_whatever_is_configured() {
        let budget = |connect_seconds, first_byte_seconds| {
            let mut config = connected_cache_config::Config::default();
            config.upstream.timeouts.connect_seconds = connect_seconds;
            config.upstream.timeouts.first_byte_seconds = first_byte_seconds;
            let allow_list = Arc::new(AllowList::new(Vec::new(), Vec::new()));
            Upstream::new(&config, allow_list, None, Arc::default()).first_byte_budget()
        };
        assert_eq!(budget(3, 8), FIRST_BYTE_LIMIT);
        assert_eq!(budget(30, 60), FIRST_BYTE_LIMIT);
        assert_eq!(budget(1, 1), Duration::from_secs(2));
        assert!(FIRST_BYTE_LIMIT < Duration::from_secs(10));
    }
}
