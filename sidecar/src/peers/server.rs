//! The listener of `listen.peers`: lets in members and nobody else, and passes their requests to the handler.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{io::InspectReader, sync::CancellationToken, task::TaskTracker};

use super::{
    Body, CONNECTION_WINDOW, HEAD_BYTES, Handler, MOST_REQUEST_BYTES, MOST_REQUESTS, Peer, STREAM_WINDOW,
    error::HandshakeFailure,
    exchanges::Exchanges,
    identity::{Identity, Usage, names_of},
    places::Places,
    whole_body,
};
use crate::{
    metrics::{Counters, LinkDirection, OpenPeer},
    sharing::members::{Members, View},
};

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that are not let in yet.
const HANDSHAKES_AT_ONCE: usize = 64;
/// Connections at once, those that are not let in yet included.
const CONNECTIONS_AT_ONCE: usize = 256;
/// Bytes with which a client of HTTP/2 begins (RFC 9113 3.4).
const PREFACE: usize = 24;
/// How long the body of a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of one answer that wait to be sent.
const SEND_BUFFER: usize = 64 * 1024;
/// How long nothing may come before a ping is sent: who asks notices sooner than we that the other is gone.
const PING_EVERY: Duration = Duration::from_secs(10);
/// How long a ping may be without its answer.
const VANISHED_AFTER: Duration = Duration::from_secs(20);
/// How long running requests have when their connection is to end.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// Answers members.
pub struct PeersServer {
    identity: Arc<Identity>,
    members: Members,
    counters: Arc<Counters>,
    handler: Arc<dyn Handler>,
    places: Places,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
}

impl std::fmt::Debug for PeersServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PeersServer").finish_non_exhaustive()
    }
}

impl PeersServer {
    /// Listens nowhere yet.
    #[must_use]
    pub fn new(
        identity: Arc<Identity>,
        members: Members,
        counters: Arc<Counters>,
        handler: Arc<dyn Handler>,
    ) -> Arc<Self> {
        Arc::new(Self {
            identity,
            members,
            counters,
            handler,
            places: Places::default(),
            connections: Arc::new(Semaphore::new(CONNECTIONS_AT_ONCE)),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_AT_ONCE)),
        })
    }

    /// Serves until `leaving`: then nobody is let in any more, members are told to ask elsewhere, running requests have some
    /// seconds, and it returns when the last connection is gone. Dropped, it ends all connections.
    pub async fn run(self: Arc<Self>, listener: TcpListener, leaving: CancellationToken) {
        let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
        let _cut_when_dropped = cut.clone().drop_guard();
        loop {
            let Some(accepted) = leaving.run_until_cancelled(listener.accept()).await else { break };
            match accepted {
                Ok((stream, address)) => self.take(&tasks, stream, address, &leaving, &cut),
                Err(error) => {
                    tracing::warn!(%error, "unable to accept a pod's connection, check the limit of open files");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
        // Who comes now is refused at once and need not wait.
        drop(listener);
        tasks.close();
        tasks.wait().await;
    }

    fn take(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        stream: TcpStream,
        address: SocketAddr,
        leaving: &CancellationToken,
        cut: &CancellationToken,
    ) {
        let (Ok(place), Ok(handshake)) =
            (self.connections.clone().try_acquire_owned(), self.handshakes.clone().try_acquire_owned())
        else {
            self.counters.peers.add_handshake_failure(HandshakeFailure::Overload);
            return;
        };
        let (server, leaving, cut) = (self.clone(), leaving.clone(), cut.clone());
        tasks.spawn(async move {
            let serving = async {
                match timeout(HANDSHAKE_TIMEOUT, server.let_in(stream, address)).await {
                    Ok(Ok((stream, peer))) => {
                        drop(handshake);
                        // Large: handshakes that come to nothing need not carry it.
                        Box::pin(server.serve(stream, peer, &leaving)).await;
                    }
                    Ok(Err(failure)) => server.counters.peers.add_handshake_failure(failure),
                    Err(_) => server.counters.peers.add_handshake_failure(HandshakeFailure::TimedOut),
                }
            };
            cut.run_until_cancelled(Box::pin(serving)).await;
            drop(place);
        });
    }

    async fn let_in(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Result<(TlsStream<TcpStream>, Peer), HandshakeFailure> {
        let _ = stream.set_nodelay(true);
        let acceptor = TlsAcceptor::from(self.identity.present().server.clone());
        let stream = acceptor.accept(stream).await.map_err(|error: io::Error| {
            tracing::debug!(%error, "a handshake with a pod failed");
            HandshakeFailure::of(&error)
        })?;
        let (_, session) = stream.get_ref();
        let names = names_of(session.peer_certificates(), Usage::Client).ok_or(HandshakeFailure::Usage)?;
        let members = current(&names, &self.members.view());
        if members.is_empty() {
            tracing::debug!(?names, "who connected has a certificate of no current member");
            return Err(HandshakeFailure::NotAMember);
        }
        Ok((stream, Peer { members, address }))
    }

    async fn serve(self: &Arc<Self>, stream: TlsStream<TcpStream>, peer: Peer, leaving: &CancellationToken) {
        let _open = OpenPeer::count(&self.counters, LinkDirection::In);
        let mut generations = self.identity.generations();
        let end = CancellationToken::new();
        let _ends_with_us = end.clone().drop_guard();
        self.places.add(&peer.members, &end);
        let received = Arc::new(AtomicUsize::new(0));
        let stream = InspectReader::new(stream, {
            let received = received.clone();
            move |bytes: &[u8]| {
                received.fetch_add(bytes.len(), Ordering::Relaxed);
            }
        });
        let exchanges = Exchanges::ending_with(end.clone());
        let (server, peer) = (self.clone(), Arc::new(peer));
        let service = service_fn(move |request| {
            let (server, peer) = (server.clone(), peer.clone());
            async move { Ok::<_, Infallible>(server.answer(request, &peer).await) }
        });
        let connection = http2_builder(&exchanges).serve_connection(TokioIo::new(stream), service);
        let connection = async {
            let mut connection = pin!(connection);
            tokio::select! {
                outcome = &mut connection => return outcome,
                () = leaving.cancelled() => {}
                // What was believed may not be any more: who still is trusted comes again.
                _ = generations.changed() => {}
            }
            connection.as_mut().graceful_shutdown();
            timeout(LAST_REQUESTS, connection).await.unwrap_or(Ok(()))
        };
        let never_begins = async {
            // Pings watch it afterwards.
            sleep(HANDSHAKE_TIMEOUT).await;
            if received.load(Ordering::Relaxed) >= PREFACE {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            outcome = connection => if let Err(error) = outcome {
                tracing::debug!(%error, "a connection of a pod was ended");
            },
            () = never_begins => self.counters.peers.add_handshake_failure(HandshakeFailure::TimedOut),
            () = end.cancelled() => {}
        }
        end.cancel();
        exchanges.ended().await;
    }

    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        // The certificate was that of a member when it connected; members come and go.
        if current(&peer.members, &self.members.view()).is_empty() {
            return refusal(StatusCode::FORBIDDEN, "no member of this cache any more\n");
        }
        let (mut head, body) = request.into_parts();
        // What is asked for is enough, who is asked is clear.
        head.uri = head.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
        let body = Limited::new(body, MOST_REQUEST_BYTES);
        let bytes: Bytes = match timeout(REQUEST_TIMEOUT, body.collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return refusal(StatusCode::PAYLOAD_TOO_LARGE, "a request has at most 64 KiB\n");
            }
            Ok(Err(_)) => return refusal(StatusCode::BAD_REQUEST, "the body broke off\n"),
            Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n"),
        };
        // A handler that fails costs this request alone.
        let handling = self.handler.handle(peer, Request::from_parts(head, bytes));
        std::panic::AssertUnwindSafe(handling).catch_unwind().await.unwrap_or_else(|_| {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be handled\n")
        })
    }
}

fn http2_builder(exchanges: &Exchanges) -> http2::Builder<Exchanges> {
    let mut builder = http2::Builder::new(exchanges.clone());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(VANISHED_AFTER)
        .max_concurrent_streams(MOST_REQUESTS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD_BYTES)
        .max_send_buf_size(SEND_BUFFER)
        // A member may give up all that it asks at once.
        .max_pending_accept_reset_streams(MOST_REQUESTS as usize);
    builder
}

/// Which of these names are members now, as the view spells them.
fn current(names: &[String], view: &View) -> Vec<String> {
    let names: BTreeSet<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let members = view.members.iter().map(|member| &member.name);
    members.filter(|name| names.contains(&name.to_ascii_lowercase())).cloned().collect()
}

fn refusal(status: StatusCode, words: &'static str) -> Response<Body> {
    let mut response = Response::new(whole_body(words));
    *response.status_mut() = status;
    response
}
