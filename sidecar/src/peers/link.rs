//! One connection to a member, on which requests are sent: HTTP/2 as its client.
//!
//! While a request is open a ping is sent whenever nothing came for [`PING_EVERY`]; when it is not answered within
//! [`VANISHED_AFTER`] the connection is given up, and with it all its requests: a peer whose packets vanish would otherwise
//! be waited for until TCP gives up, which takes minutes. Idle connections are watched by the other end.
//!
//! Worst-case memory of one connection: [`MOST_REQUESTS`] times `STREAM_WINDOW`, 16 MiB, when nobody reads any answer.

use std::{
    error::Error as _,
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    CONNECTION_WINDOW, HEAD_BYTES, STREAM_WINDOW, answer::Answer, error::PeersError, exchanges::Exchanges,
};
use crate::metrics::{Counters, LinkDirection, OpenPeer};

/// How long nothing may come while a request is open before a ping is sent.
const PING_EVERY: Duration = Duration::from_millis(250);
/// How long a ping may be without its answer.
const VANISHED_AFTER: Duration = Duration::from_secs(1);
/// Requests that may be open.
const MOST_REQUESTS: usize = super::MOST_REQUESTS as usize;
/// Bytes of one request that wait to be sent.
const SEND_BUFFER: usize = 64 * 1024;
/// A connection without a request for so long, and at most twice that, is closed.
const UNUSED: Duration = Duration::from_mins(5);

/// One connection. When it is dropped it is closed after its last request.
#[derive(Debug)]
pub(super) struct Link {
    member: String,
    sending: Arc<Sending>,
    /// One for each request that may be open. The library would keep more waiting instead of saying so.
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Sending {
    /// `None` = the connection takes no more requests.
    sender: Mutex<Option<SendRequest<Full<Bytes>>>>,
    /// Since it was looked at last.
    was_used: AtomicBool,
}

/// Why there is no answer.
pub(super) enum Failed {
    /// The connection takes no more requests and has not taken this one.
    Refused,
    /// The connection ended before an answer began.
    Ended(PeersError),
    /// Another connection would not help.
    Final(PeersError),
}

impl Link {
    /// Begins to speak.
    pub(super) async fn new<Io>(member: &str, io: Io, counters: &Arc<Counters>) -> Result<Self, PeersError>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let exchanges = Exchanges::default();
        let opening = http2::Builder::new(exchanges.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(VANISHED_AFTER)
            .keep_alive_while_idle(false)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(MOST_REQUESTS)
            .max_header_list_size(HEAD_BYTES)
            .max_send_buf_size(SEND_BUFFER)
            // Giving requests up is ordinary here, also when their answers are on the way already.
            .max_concurrent_reset_streams(MOST_REQUESTS)
            .max_local_error_reset_streams(None)
            .handshake(TokioIo::new(io))
            .await;
        let (sender, connection) = opening
            .map_err(|error| PeersError::Broken { member: member.to_owned(), reason: words_of(&error) })?;
        let sending =
            Arc::new(Sending { sender: Mutex::new(Some(sender)), was_used: AtomicBool::new(false) });
        let places = Arc::new(Semaphore::new(MOST_REQUESTS));
        let unused =
            AbortOnDropHandle::new(tokio::spawn(close_unused(Arc::downgrade(&sending), places.clone())));
        let open = OpenPeer::count(counters, LinkDirection::Out);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a member ended early");
            }
            // It takes no more requests; those that are open go on.
            drop(unused);
            exchanges.ended().await;
            drop(open);
        });
        Ok(Self { member: member.to_owned(), sending, places })
    }

    /// It takes requests.
    pub(super) fn is_open(&self) -> bool {
        self.sending.sender.lock().as_ref().is_some_and(|sender| !sender.is_closed())
    }

    /// Waits for the head of the answer, for as long as the member shows that it lives.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Response<Answer>, Failed> {
        let sender = self.sending.sender.lock().clone();
        let mut sender = sender.ok_or(Failed::Refused)?;
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| Failed::Final(PeersError::Busy { member: self.member.clone() }))?;
        self.sending.was_used.store(true, Ordering::Relaxed);
        match sender.send_request(request.map(Full::new)).await {
            Ok(answer) => Ok(answer.map(|body| Answer::new(body, place))),
            Err(error) => {
                let failed = self.failed(&error);
                if !matches!(failed, Failed::Final(_)) {
                    // Also where the library has not noticed yet: the next request needs another connection.
                    self.sending.sender.lock().take();
                }
                Err(failed)
            }
        }
    }

    fn failed(&self, error: &hyper::Error) -> Failed {
        let member = self.member.clone();
        if error.is_timeout() {
            return Failed::Ended(PeersError::Vanished { member });
        }
        // The connection ended before the request was sent.
        if error.is_canceled() {
            return Failed::Refused;
        }
        let broken = PeersError::Broken { member, reason: words_of(error) };
        let Some(cause) = error.source() else { return Failed::Final(broken) };
        match cause.downcast_ref::<h2::Error>() {
            Some(error) if is_refusal(error) => Failed::Refused,
            Some(error) if error.is_go_away() => Failed::Ended(broken),
            // Reading or writing failed.
            None if cause.is::<io::Error>() => Failed::Ended(broken),
            _ => Failed::Final(broken),
        }
    }
}

/// The other end has not begun the request: it was leaving (RFC 9113 6.8 and 8.7).
fn is_refusal(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && (error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM)
            || error.is_go_away() && reason == Some(h2::Reason::NO_ERROR))
}

/// The library's own words are of the kind "http2 error"; what happened stands below.
fn words_of(error: &hyper::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Takes no more requests when there were none for long: the connection ends.
async fn close_unused(sending: Weak<Sending>, places: Arc<Semaphore>) {
    loop {
        sleep(UNUSED).await;
        let Some(sending) = sending.upgrade() else { return };
        let was_used = sending.was_used.swap(false, Ordering::Relaxed);
        if !was_used && places.available_permits() == MOST_REQUESTS {
            sending.sender.lock().take();
            return;
        }
    }
}
