//! The client towards origins: one request for one range, redirects followed by ourselves and only inside the allow-list,
//! deadlines below those of the clients behind us (dossier delivery-optimization 1.2, item 5).
//!
//! It is built on hyper's pooled client and not on a URL-normalising one, because CDN URLs are signed: the origin must
//! see path and query byte for byte as the client sent them.

mod address;
mod body;
mod connector;
mod error;
mod roots;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use connected_cache_core::{AllowList, CacheHostOrigin};
use connected_cache_wire::delivery_optimization::OriginName;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout_at};

use connector::{ConnectError, Connector};
use error::chain;

pub(crate) use body::OriginBody;
pub use error::UpstreamError;

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
    /// The client's `User-Agent` and `MS-CV`, which are passed on.
    pub headers: HeaderMap,
}

/// The client towards origins.
#[derive(Clone)]
pub struct Upstream {
    client: Client<Connector, Empty<Bytes>>,
    allow_list: Arc<AllowList>,
    first_byte: Duration,
    idle: Duration,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Upstream").field("first_byte", &self.first_byte).finish_non_exhaustive()
    }
}

impl Upstream {
    /// A client by configuration. Missing root certificates only matter once an https origin is asked.
    #[must_use]
    pub fn new(config: &connected_cache_config::Config, allow_list: Arc<AllowList>) -> Self {
        let timeouts = &config.upstream.timeouts;
        let connect_timeout = Duration::from_secs(timeouts.connect_seconds);
        let first_byte = Duration::from_secs(timeouts.first_byte_seconds);
        let overrides = config
            .upstream
            .resolve
            .iter()
            .map(|(host, address)| (host.to_ascii_lowercase(), *address))
            .collect();
        let connector = Connector {
            overrides: Arc::new(overrides),
            allow_private_targets: config.content.allow_private_targets,
            connect_timeout,
            tls: roots::client_config(config.upstream.ca_file.as_deref()),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .http1_title_case_headers(true)
            .build(connector);
        let first_byte = first_byte.max((connect_timeout + first_byte).min(FIRST_BYTE_LIMIT));
        Self { client, allow_list, first_byte, idle: Duration::from_secs(timeouts.idle_seconds) }
    }

    /// How long a client may wait for the first byte, all requests to origins together.
    #[must_use]
    pub fn first_byte_budget(&self) -> Duration {
        self.first_byte.min(FIRST_BYTE_LIMIT)
    }

    /// Sends one GET with these headers beside the target's, and returns when the head of the final answer is there.
    pub(crate) async fn get(
        &self,
        target: &FetchTarget,
        headers: &HeaderMap,
    ) -> Result<Response<OriginBody>, UpstreamError> {
        let deadline = Instant::now() + self.first_byte;
        let scheme = if target.https { "https" } else { "http" };
        let mut uri = uri_of(scheme, target.origin.name().as_str(), &target.path_and_query)?;
        for _ in 0..=MAX_REDIRECTS {
            let request = request(&uri, target, headers);
            let response = timeout_at(deadline, self.client.request(request))
                .await
                .map_err(|_| UpstreamError::TimedOut)?
                .map_err(|error| from_client(&error))?;
            if !is_redirect(response.status()) {
                return Ok(response.map(|body| OriginBody::new(body, self.idle)));
            }
            uri = self.next_hop(&uri, &response)?;
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
        let base = url::Url::parse(&from.to_string()).map_err(|_| refused("from an unusable URL"))?;
        let next = base.join(location).map_err(|_| refused("to an unusable URL"))?;
        if !matches!(next.scheme(), "http" | "https") {
            return Err(refused("to another protocol"));
        }
        let name =
            next.host_str().and_then(|host| OriginName::parse(host).ok()).ok_or(refused("to an address"))?;
        self.allow_list.admit(&name).map_err(|_| refused("to a host outside the allow-list"))?;
        Uri::try_from(next.as_str()).map_err(|_| refused("to an unusable URL"))
    }
}

fn uri_of(scheme: &str, host: &str, path_and_query: &str) -> Result<Uri, UpstreamError> {
    let mut parts = uri::Parts::default();
    parts.scheme = scheme.parse().ok();
    parts.authority = host.parse().ok();
    parts.path_and_query = path_and_query.parse().ok();
    Uri::from_parts(parts).map_err(|_| UpstreamError::Protocol { reason: "its URL can't be asked for" })
}

fn request(uri: &Uri, target: &FetchTarget, headers: &HeaderMap) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri.clone();
    let fields = request.headers_mut();
    fields.extend(target.headers.clone());
    fields.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    fields.extend(headers.clone());
    request
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn from_client(error: &hyper_util::client::legacy::Error) -> UpstreamError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        match inner.downcast_ref::<ConnectError>() {
            Some(ConnectError::PrivateTarget) => return UpstreamError::PrivateTarget,
            Some(ConnectError::TimedOut) => return UpstreamError::TimedOut,
            _ => cause = inner.source(),
        }
    }
    UpstreamError::Unreachable { reason: chain(error) }
}
