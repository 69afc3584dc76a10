//! The link to other pods over sockets: questions by the peer API, bytes by the swarm protocol.

use std::time::Duration;

use bytes::Bytes;
use connected_cache_core::{PIECE_LENGTH_BYTES, swarm::SwarmLayout};
use connected_cache_wire::swarm::SwarmId;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream, stream::BoxStream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;

use super::{
    handover::{HANDOVER_PATH, Handover, Taken},
    link::{Link, LinkError, WantedPiece},
    members::Member,
    message::{Line, Lines, PIECES_PATH, Question},
};
use crate::{
    peers::{Answer, PeersClient, PeersError},
    swarm::{Swarm, SwarmError, SwarmPeer},
};

/// The longest answer to a handover.
const MOST_ANSWER_BYTES: usize = 4096;
/// How long a pod may take over the pieces of one object.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(30);

/// The sockets.
pub(crate) struct Sockets {
    peers: PeersClient,
    swarm: Swarm,
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sockets").finish_non_exhaustive()
    }
}

impl Sockets {
    pub(crate) const fn new(peers: PeersClient, swarm: Swarm) -> Self {
        Self { peers, swarm }
    }

    fn post(
        &self,
        member: &Member,
        path: &'static str,
        body: Bytes,
    ) -> impl Future<Output = Result<Response<Answer>, LinkError>> + use<> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static(path);
        let (peers, member) = (self.peers.clone(), member.clone());
        async move {
            let answer = peers.send(&member, request).await.map_err(|error| unreachable_by(&error))?;
            if answer.status() == StatusCode::OK {
                Ok(answer)
            } else {
                Err(LinkError::Refused { reason: "another status than 200" })
            }
        }
    }
}

impl Link for Sockets {
    fn ask(
        &self,
        member: &Member,
        question: &Question,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Result<Line, LinkError>>, LinkError>> {
        let asking = self.post(member, PIECES_PATH, encode(question));
        async move { Ok(lines_of(asking.await?.into_body())) }.boxed()
    }

    fn piece(&self, member: &Member, wanted: WantedPiece) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        let (swarm, peer) = (self.swarm.clone(), peer_of(member));
        async move {
            let unusable = || LinkError::protocol("content that the swarm protocol can't say");
            let layout = SwarmLayout::new(wanted.content_length_bytes, PIECE_LENGTH_BYTES);
            let layout = layout.map_err(|_| unusable())?;
            let piece = u32::try_from(wanted.number).map_err(|_| unusable())?;
            let fetched = swarm.fetch(&peer, SwarmId::from_bytes(wanted.swarm), layout, piece).await;
            fetched.map_err(|error| match error {
                SwarmError::Stalled => LinkError::Silent,
                error if !error.is_of_the_peer() => LinkError::Refused { reason: error.label() },
                error => LinkError::Unreachable { reason: error.to_string() },
            })
        }
        .boxed()
    }

    fn hand_over(
        &self,
        member: &Member,
        handover: &Handover,
    ) -> BoxFuture<'static, Result<Taken, LinkError>> {
        let telling = self.post(member, HANDOVER_PATH, encode(handover));
        async move {
            let answering = async {
                let body = Limited::new(telling.await?.into_body(), MOST_ANSWER_BYTES).collect().await;
                let body = body.map_err(|_| LinkError::ended())?.to_bytes();
                serde_json::from_slice(&body).map_err(|_| LinkError::protocol("it is no count of pieces"))
            };
            tokio::time::timeout(HANDOVER_PATIENCE, answering).await.unwrap_or(Err(LinkError::Silent))
        }
        .boxed()
    }

    fn announce(&self, swarm: [u8; 32], piece: u64) {
        if let Ok(piece) = u32::try_from(piece) {
            self.swarm.announce(&SwarmId::from_bytes(swarm), piece);
        }
    }

    fn is_bad(&self, member: &Member, wanted: WantedPiece) {
        self.swarm.bad_piece(&peer_of(member), SwarmId::from_bytes(wanted.swarm));
    }
}

fn encode(message: &impl Serialize) -> Bytes {
    // Can't fail: text and numbers only.
    serde_json::to_vec(message).unwrap_or_default().into()
}

const fn peer_of(member: &Member) -> SwarmPeer {
    SwarmPeer { address: member.swarm, is_member: true }
}

fn unreachable_by(error: &PeersError) -> LinkError {
    match error {
        PeersError::Busy { .. } => LinkError::Refused { reason: "busy" },
        error => LinkError::Unreachable { reason: error.to_string() },
    }
}

fn lines_of(body: Answer) -> BoxStream<'static, Result<Line, LinkError>> {
    stream::unfold(Some((body, Lines::default())), |state| async move {
        let (mut body, mut lines) = state?;
        loop {
            match lines.next() {
                Ok(Some(line)) => return Some((Ok(line), Some((body, lines)))),
                Ok(None) => {}
                Err(_) => return Some((Err(LinkError::protocol("a line that is none")), None)),
            }
            let frame = match body.frame().await? {
                Ok(frame) => frame,
                Err(error) => {
                    return Some((Err(LinkError::Unreachable { reason: error.to_string() }), None));
                }
            };
            if let Ok(bytes) = frame.into_data()
                && lines.push(&bytes).is_err()
            {
                return Some((Err(LinkError::protocol("a line that is too long")), None));
            }
        }
    })
    .boxed()
}
