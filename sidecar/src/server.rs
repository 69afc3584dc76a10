//! The accept loop of content connections: HTTP/1 only, bounded in number, header size and time, and drained in order.
//! It is our own because only so can each connection be counted, paced and spelt as clients need it.

use std::{
    convert::Infallible,
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures::FutureExt;
use http::{Extensions, HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use connected_cache_sendfile::ZeroCopyStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::{
    access_log::Record,
    bandwidth::Bandwidth,
    content::{self, ContentState},
    metrics::Counters,
    socket::{Ledger, Peer, Socket, SocketLimits, Transport},
    tls::Certificates,
};

/// How long a connection beyond the limit waits for a place before it is told to come back.
const PACING: Duration = Duration::from_secs(1);
/// Connections that may wait for a place at once; beyond it they are told to come back without waiting.
const WAITING_AT_ONCE: usize = 64;
/// More connections than this don't wait in a listener's queue: what tokio asks of the kernel.
const QUEUE: usize = 1024;
/// How long a connection that nothing was asked on yet may still ask when the others end: its client came before it could
/// know.
const FIRST_REQUEST: Duration = Duration::from_secs(2);
/// Connections that are told to come back at once; beyond it the listener's queue holds them.
const TURNED_AWAY_AT_ONCE: usize = 128;

/// What every content connection shares.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) content: Arc<ContentState>,
    pub(crate) counters: Arc<Counters>,
    /// `None` = there are no caps.
    pub(crate) bandwidth: Option<Arc<Bandwidth>>,
    pub(crate) limits: SocketLimits,
    pub(crate) header_bytes: usize,
    pub(crate) places: Arc<Semaphore>,
    /// Spelling of header names.
    pub(crate) spellings: Extensions,
    /// Ask clients to come by another connection next time, while load balancers learn that this pod is leaving.
    pub(crate) leaving: CancellationToken,
    /// Accept no more.
    pub(crate) stop_accepting: CancellationToken,
    /// End each connection after its running reply.
    pub(crate) finish: CancellationToken,
    /// End each connection at once.
    pub(crate) abort: CancellationToken,
    /// Connections, and the loops that accept them.
    pub(crate) connections: TaskTracker,
}

impl Server {
    /// Accepts until told to stop, and then who is in the listener's queue already, whom closing it would reset; with
    /// certificates, TLS only.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener, certificates: Option<Arc<Certificates>>) {
        let waiting = Arc::new(Semaphore::new(WAITING_AT_ONCE));
        let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE));
        loop {
            // Taken before accepting, so that what is accepted can always be answered.
            let answering = turned_away.clone().acquire_owned();
            let Some(Ok(answering)) = self.stop_accepting.run_until_cancelled(answering).await else { break };
            let Some(accepted) = self.stop_accepting.run_until_cancelled(listener.accept()).await else {
                break;
            };
            let (stream, client) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or a client that left again: neither is worth ending for.
                    tracing::warn!(%error, "unable to accept a connection, check the limit of open files");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let accepted = Accepted::new(stream, client, certificates.as_ref());
            match (self.places.clone().try_acquire_owned(), waiting.clone().try_acquire_owned()) {
                (Ok(place), _) => self.spawn(self.clone().serve(accepted, place)),
                (Err(_), Ok(wait)) => self.spawn(self.clone().wait(accepted, wait, answering)),
                (Err(_), Err(_)) => self.spawn(self.clone().turn_away(accepted, Some(answering))),
            }
        }
        if let Ok(listener) = listener.into_std() {
            self.serve_queue(&listener, certificates.as_ref());
        }
    }

    /// Serves who is in the queue of a listener that is about to close. The system is asked: tokio may not know of everybody yet.
    fn serve_queue(
        self: &Arc<Self>,
        listener: &std::net::TcpListener,
        certificates: Option<&Arc<Certificates>>,
    ) {
        for _ in 0..QUEUE {
            // Nobody is left, or nobody can be taken.
            let Ok((stream, client)) = listener.accept() else { return };
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            let Ok(stream) = stream else { continue };
            let accepted = Accepted::new(stream, client, certificates);
            match self.places.clone().try_acquire_owned() {
                Ok(place) => self.spawn(self.clone().serve(accepted, place)),
                Err(_) => self.spawn(self.clone().turn_away(accepted, None)),
            }
        }
    }

    /// Waits a moment for a place, so that a short peak costs clients a second and not the cache.
    async fn wait(
        self: Arc<Self>,
        accepted: Accepted,
        waiting: OwnedSemaphorePermit,
        answering: OwnedSemaphorePermit,
    ) {
        let place = tokio::time::timeout(PACING, self.places.clone().acquire_owned()).await;
        drop(waiting);
        if let Ok(Ok(place)) = place {
            drop(answering);
            self.serve(accepted, place).await;
        } else {
            self.turn_away(accepted, Some(answering)).await;
        }
    }

    fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        // Moved from future to future it would stand in each of them.
        let (abort, connection) = (self.abort.clone(), Box::pin(connection));
        self.connections.spawn(async move { abort.run_until_cancelled(connection).await });
    }

    async fn serve(self: Arc<Self>, accepted: Accepted, _place: OwnedSemaphorePermit) {
        let _open = OpenConnection::count(&self.counters);
        let content = self.content.clone();
        // Apart from the connection, which would have room for it while it is idle.
        let answer = move |request| Box::pin(content::serve(content.clone(), request)).map(Ok);
        self.speak(accepted, answer).await;
    }

    async fn turn_away(self: Arc<Self>, accepted: Accepted, _answering: Option<OwnedSemaphorePermit>) {
        let counters = self.counters.clone();
        let answer = |_| {
            counters.requests_turned_away.fetch_add(1, Ordering::Relaxed);
            async { Ok(too_many_connections()) }
        };
        self.speak(accepted, answer).await;
    }

    async fn speak<Answering, Answer>(&self, accepted: Accepted, answer: Answering)
    where
        Answering: Fn(Request<Body>) -> Answer,
        Answer: Future<Output = Result<Response<Body>, Infallible>>,
    {
        let client = accepted.client;
        if let Some(certificates) = accepted.certificates {
            // Elsewhere in memory, so that plain connections, of which there are most, don't take room for TLS.
            return Box::pin(self.speak_tls(accepted.stream, client, &certificates, answer)).await;
        }
        let stream = ZeroCopyStream::new(accepted.stream);
        self.drive(self.socket(stream, Peer { client, transport: Transport::Plain }), answer).await;
    }

    async fn speak_tls<Answering, Answer>(
        &self,
        stream: TcpStream,
        client: IpAddr,
        certificates: &Certificates,
        answer: Answering,
    ) where
        Answering: Fn(Request<Body>) -> Answer,
        Answer: Future<Output = Result<Response<Body>, Infallible>>,
    {
        let handshake = TlsAcceptor::from(certificates.present()).accept(stream);
        match tokio::time::timeout(self.limits.header, handshake).await {
            Ok(Ok(stream)) => {
                let peer = Peer { client, transport: Transport::Tls };
                self.drive(self.socket(stream, peer), answer).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    /// A connection is to end after its running reply; one that nothing was asked on yet may first ask.
    async fn finished(&self, asked: &AtomicBool) {
        self.finish.cancelled().await;
        if !asked.load(Ordering::Relaxed) {
            tokio::time::sleep(FIRST_REQUEST).await;
        }
    }

    fn socket<Stream>(&self, stream: Stream, peer: Peer) -> Socket<Stream> {
        let pace = self.bandwidth.as_ref().map(|bandwidth| bandwidth.of_client(peer.client));
        Socket::new(stream, peer, self.counters.clone(), self.limits, pace)
    }

    async fn drive<Stream, Answering, Answer>(&self, socket: Socket<Stream>, answer: Answering)
    where
        Stream: AsyncRead + AsyncWrite + Unpin,
        Answering: Fn(Request<Body>) -> Answer,
        Answer: Future<Output = Result<Response<Body>, Infallible>>,
    {
        let ledger = socket.ledger();
        let asked = AtomicBool::new(false);
        let service = service_fn(|request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            ledger.request_begins();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ledger.clone());
            let (answer, ledger) = (answer(request), ledger.clone());
            async move {
                let mut response = answer.await?;
                ledger.reply_begins(response.extensions_mut().remove::<Arc<Record>>());
                response.extensions_mut().extend(self.spellings.clone());
                if self.leaving.is_cancelled() {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response.map(|body| ReplyBody { body, ledger }))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // Heads are timed by the socket, which tells silence between requests from a slow head.
            .header_read_timeout(None)
            .title_case_headers(true)
            .max_buf_size(self.header_bytes)
            .serve_connection(TokioIo::new(socket), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.finished(&asked) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// A connection that nothing was read from yet.
struct Accepted {
    stream: TcpStream,
    client: IpAddr,
    /// TLS is to be spoken with these.
    certificates: Option<Arc<Certificates>>,
}

impl Accepted {
    fn new(stream: TcpStream, client: SocketAddr, certificates: Option<&Arc<Certificates>>) -> Self {
        // Replies leave in few large writes; waiting to merge them would only delay the last one.
        let _ = stream.set_nodelay(true);
        Self { stream, client: client.ip(), certificates: certificates.cloned() }
    }
}

/// One in the gauge, however the connection ends.
struct OpenConnection(Arc<Counters>);

impl OpenConnection {
    fn count(counters: &Arc<Counters>) -> Self {
        counters.connections.fetch_add(1, Ordering::Relaxed);
        Self(counters.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that tells when hyper is done with it.
struct ReplyBody {
    body: Body,
    ledger: Arc<Ledger>,
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        self.ledger.reply_ends();
    }
}

/// Overload is never a 4xx, which would keep the client away for 15 minutes.
fn too_many_connections() -> Response<Body> {
    let mut response = Response::new(Body::from("too many connections, try again\n"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
