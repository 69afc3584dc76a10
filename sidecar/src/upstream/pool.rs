//! Connections that are kept for the next request, and never more of them to one host than
//! `upstream.maxConnectionsPerOrigin`.
//!
//! Who asks holds a *turn* of the host, from before there is a connection until that connection is idle or closed. A new
//! connection is only opened by a turn that found no idle one, and room is made for it among idle ones of the host's other
//! ports, so turns in use and idle connections together never exceed the limit.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    UpstreamError,
    connector::{Connector, Endpoint},
    error::chain,
    proxy::ProxyError,
};

/// How long a connection is kept without use.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// How often idle connections are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How long a connection may take to be ready again after an answer whose body nobody read.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);

/// What is read ahead of a body on each connection when bodies are paced; a reply head must fit into it as well.
const PACED_BUFFER_BYTES: usize = 64 * 1024;

/// What is sent.
pub(super) struct Question<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    /// The administrator named the host of the URI.
    pub(super) is_named: bool,
}

/// Connections by host.
pub(super) struct Pool {
    connector: Connector,
    limit: usize,
    /// Bodies are taken at a pace of ours.
    is_paced: bool,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

struct Host {
    turns: Arc<Semaphore>,
    limit: usize,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    link: Link,
    since: Instant,
}

/// One connection.
struct Link {
    endpoint: Endpoint,
    sender: SendRequest<Empty<Bytes>>,
    task: AbortOnDropHandle<()>,
}

impl Link {
    /// Returns when the socket is closed.
    async fn close(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// A connection in use, and the turn for it. Dropped, the connection becomes idle or is closed, then the turn is over.
pub(super) struct Lease {
    host: Arc<Host>,
    held: Option<(Link, OwnedSemaphorePermit)>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Lease").finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn new(connector: Connector, limit: u32, is_paced: bool) -> Arc<Self> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Arc::new(Self { connector, limit, is_paced, hosts: Mutex::default() })
    }

    /// Sends a GET or HEAD and returns the head of the answer with the connection that its body comes on. Waits for a turn as
    /// long as it takes: the caller has the deadline.
    pub(super) async fn ask(
        &self,
        question: &Question<'_>,
    ) -> Result<(Response<Incoming>, Lease), UpstreamError> {
        let unusable = UpstreamError::Protocol { reason: "its URL can't be asked for" };
        let endpoint = Endpoint::of(question.uri, question.is_named).ok_or(unusable.clone())?;
        let through = self.connector.plain_proxy(&endpoint);
        let authorization = through.and_then(|proxy| proxy.authorization.as_ref());
        let host = self.host(&endpoint.host);
        let mut turn = host.turns.clone().acquire_owned().await.map_err(|_| unusable)?;
        loop {
            let (idle, surplus) = host.take(&endpoint);
            for link in surplus {
                link.close().await;
            }
            let is_reused = idle.is_some();
            let link = match idle {
                Some(link) => link,
                None => self.open(&endpoint).await?,
            };
            let mut lease = Lease { host: host.clone(), held: Some((link, turn)) };
            match lease.ask(request(question, through.is_some(), authorization)).await {
                Ok(response) if through.is_some() && response.status().as_u16() == 407 => {
                    return Err(ProxyError::Credentials.into());
                }
                Ok(response) => return Ok((response, lease)),
                // Closed by the other side while it was idle; these methods may be asked again (RFC 9110 9.2.2).
                Err(error) if is_reused && is_broken_connection(&error) => {
                    turn = lease.give_up().await.ok_or_else(|| unreachable(&error))?;
                }
                Err(error) => return Err(unreachable(&error)),
            }
        }
    }

    /// Closes what is idle for too long, for as long as there is a pool.
    pub(super) async fn sweep(self: Arc<Self>) {
        let mut look = tokio::time::interval(SWEEP_EVERY);
        loop {
            look.tick().await;
            self.hosts.lock().retain(|_, host| {
                let mut idle = host.idle.lock();
                idle.retain(Idle::is_usable);
                // Nobody else has it, and nobody can get it while the map is locked.
                !idle.is_empty() || Arc::strong_count(host) > 1
            });
        }
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock();
        let host = hosts.entry(name.to_owned()).or_insert_with(|| {
            let turns = Arc::new(Semaphore::new(self.limit));
            Arc::new(Host { turns, limit: self.limit, idle: Mutex::default() })
        });
        host.clone()
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Link, UpstreamError> {
        let stream = self.connector.connect(endpoint).await?;
        let mut builder = http1::Builder::new();
        builder.title_case_headers(true);
        if self.is_paced {
            builder.max_buf_size(PACED_BUFFER_BYTES);
        }
        let opening = builder.handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = opening.map_err(|error| unreachable(&error))?;
        let task = AbortOnDropHandle::new(tokio::spawn(async {
            // Whoever waits for an answer is told by the sender.
            let _ = connection.await;
        }));
        sender.ready().await.map_err(|error| unreachable(&error))?;
        Ok(Link { endpoint: endpoint.clone(), sender, task })
    }
}

impl Host {
    /// For the holder of a turn: an idle connection to this endpoint, and those to be closed before another is opened.
    fn take(&self, endpoint: &Endpoint) -> (Option<Link>, Vec<Link>) {
        let mut idle = self.idle.lock();
        let mut surplus = Vec::new();
        while let Some(index) = idle.iter().rposition(|idle| idle.link.endpoint == *endpoint) {
            let found = idle.remove(index);
            if found.is_usable() {
                return (Some(found.link), surplus);
            }
            surplus.push(found.link);
        }
        let in_use = self.limit - self.turns.available_permits();
        while !idle.is_empty() && idle.len() + in_use > self.limit {
            surplus.push(idle.remove(0).link);
        }
        (None, surplus)
    }

    fn keep(&self, link: Link) {
        self.idle.lock().push(Idle { link, since: Instant::now() });
    }
}

impl Idle {
    fn is_usable(&self) -> bool {
        self.link.sender.is_ready() && self.since.elapsed() < IDLE_LIMIT
    }
}

impl Lease {
    async fn ask(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match &mut self.held {
            Some((link, _)) => link.sender.send_request(request).await,
            None => unreachable!("a lease holds its connection until it is dropped"),
        }
    }

    /// Closes the connection and keeps the turn.
    async fn give_up(mut self) -> Option<OwnedSemaphorePermit> {
        let (link, turn) = self.held.take()?;
        link.close().await;
        Some(turn)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some((mut link, turn)) = self.held.take() else { return };
        if link.sender.is_ready() {
            self.host.keep(link);
            return;
        }
        // Without a runtime the connection just closes.
        let Ok(runtime) = Handle::try_current() else { return };
        let host = self.host.clone();
        runtime.spawn(async move {
            match timeout(SETTLE_LIMIT, link.sender.ready()).await {
                Ok(Ok(())) => host.keep(link),
                _ => link.close().await,
            }
            drop(turn);
        });
    }
}

/// In absolute form for a proxy (RFC 9112 3.2.2), else in origin form; path and query are the same bytes in both.
fn request(
    question: &Question<'_>,
    is_absolute: bool,
    authorization: Option<&HeaderValue>,
) -> Request<Empty<Bytes>> {
    let uri = question.uri;
    let mut request = Request::new(Empty::new());
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = match uri.path_and_query() {
        Some(path_and_query) if !is_absolute => Uri::from(path_and_query.clone()),
        _ => uri.clone(),
    };
    let host = match (uri.host(), uri.port()) {
        (Some(host), Some(port)) => HeaderValue::try_from(format!("{host}:{port}")).ok(),
        (host, _) => host.and_then(|host| HeaderValue::try_from(host).ok()),
    };
    let fields = request.headers_mut();
    fields.extend(host.map(|host| (header::HOST, host)));
    fields.extend(question.headers.clone());
    fields.extend(authorization.map(|value| (header::PROXY_AUTHORIZATION, value.clone())));
    request
}

/// The connection ended, by a proper end or a reset, before there was an answer.
fn is_broken_connection(error: &hyper::Error) -> bool {
    let is_io = std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
    error.is_canceled() || error.is_incomplete_message() || is_io
}

fn unreachable(error: &hyper::Error) -> UpstreamError {
    UpstreamError::Unreachable { reason: chain(error) }
}
