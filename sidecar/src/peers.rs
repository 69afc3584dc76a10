//! Requests between the pods of one cache, over mutual TLS: `listen.peers`.
//!
//! * [`Identity`]: who we are and whom we believe, from files that may change while we run.
//! * [`PeersServer`]: lets in who has a certificate of a current member, and passes requests to a [`Handler`].
//! * [`PeersClient`]: one connection to each member, many requests at once on it, and a member that vanishes is noticed.
//!
//! TLS 1.3 alone, with full handshakes, and HTTP/2 inside. What is asked and answered is for the handler: nothing here knows
//! of pieces.

mod answer;
mod client;
mod connecting;
mod error;
mod exchanges;
mod identity;
mod link;
mod places;
mod server;

use std::net::SocketAddr;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

pub use answer::Answer;
pub use client::PeersClient;
pub use error::PeersError;
pub(crate) use error::{ClientResult, HandshakeFailure};
pub use identity::Identity;
pub use server::PeersServer;

/// Most bytes of a request's body.
pub const MOST_REQUEST_BYTES: usize = 64 * 1024;

/// Requests of one connection at once.
const MOST_REQUESTS: u32 = 256;
/// Most bytes of the head of a request or an answer, as HTTP/2 counts them: names, values and 32 for each pair.
const HEAD_BYTES: u32 = 16 * 1024;
/// Bytes of one body that may be under way unread: answers are short lines.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Bytes of all bodies of a connection: so many that a body which nobody reads holds up no other.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MOST_REQUESTS;

/// Any error that ends a body early.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// What a handler answers with; it may be written as it comes into being.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body of these bytes.
pub fn whole_body(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The current members whose names its certificate carries, at least one. One certificate may be for all pods.
    pub members: Vec<String>,
    /// Where it asks from.
    pub address: SocketAddr,
}

/// Answers requests of members. A request may come twice, when a connection ends under it.
pub trait Handler: Send + Sync + 'static {
    /// Dropped when the asker goes away, as is the body.
    fn handle<'a>(&'a self, peer: &'a Peer, request: Request<Bytes>) -> BoxFuture<'a, Response<Body>>;
}
