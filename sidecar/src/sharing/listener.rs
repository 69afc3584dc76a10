//! What other pods may ask over the peer API.

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;

use super::{
    answer::Answerer,
    handover::{HANDOVER_PATH, Handover},
    members::Members,
    message::{Line, PIECES_PATH},
};
use crate::peers::{Body, BodyError, Handler, Peer, whole_body};

/// Answers what comes over the peer API.
#[derive(Debug)]
pub(crate) struct PeerApi {
    pub(crate) answerer: Answerer,
    pub(crate) members: Members,
}

impl Handler for PeerApi {
    fn handle<'a>(&'a self, peer: &'a Peer, request: Request<Bytes>) -> BoxFuture<'a, Response<Body>> {
        async move {
            match (request.method(), request.uri().path()) {
                (&Method::POST, PIECES_PATH) => match serde_json::from_slice(request.body()) {
                    Ok(question) => Response::new(lines(self.answerer.answer(question))),
                    Err(error) => plain(StatusCode::BAD_REQUEST, &error.to_string()),
                },
                (&Method::POST, HANDOVER_PATH) => match serde_json::from_slice(request.body()) {
                    Ok(handover) => self.take_over(peer, handover).await,
                    Err(error) => plain(StatusCode::BAD_REQUEST, &error.to_string()),
                },
                _ => plain(StatusCode::NOT_FOUND, "this release knows no such request"),
            }
        }
        .boxed()
    }
}

impl PeerApi {
    async fn take_over(&self, peer: &Peer, handover: Handover) -> Response<Body> {
        if !peer.members.contains(&handover.from) {
            return plain(StatusCode::FORBIDDEN, "`from` is not a name of your certificate");
        }
        let Some(from) = self.members.view().named(&handover.from).cloned() else {
            return plain(StatusCode::FORBIDDEN, "`from` is no member");
        };
        let taken = self.answerer.take_over(from, handover).await.unwrap_or_default();
        // Can't fail: numbers only.
        Response::new(whole_body(serde_json::to_vec(&taken).unwrap_or_default()))
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(whole_body(text.to_owned()));
    *response.status_mut() = status;
    response
}

/// Each line as it comes. Dropping the body tells who makes them that nobody listens.
fn lines(given: mpsc::Receiver<Line>) -> Body {
    let frames = futures::stream::unfold(given, |mut given| async move {
        let line = given.recv().await?;
        Some((Ok::<_, BodyError>(Frame::data(line.encode())), given))
    });
    StreamBody::new(frames).boxed_unsync()
}
