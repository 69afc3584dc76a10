//! Peers that come to us.
//!
//! A connection is a task from the moment it is accepted; their number is bounded before anything is read. Who floods us gets
//! his own connections closed first (see `registry`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use connected_cache_wire::swarm::Handshake;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use super::{
    Audience, Inner,
    connection::{Connection, Parts},
    handshakes::{self, NoHandshake},
    registry::{Place, Refusal},
};
use crate::metrics::PeerDirection;

/// Connections that were told to end and have not yet, beyond those that are open.
const ENDING: usize = 64;
/// After an error, which is most often that there are too many open files.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Accepts until its task is ended.
pub(super) async fn accept(inner: Arc<Inner>, listener: TcpListener) {
    let most = inner.limits.max_connections.saturating_add(ENDING).min(Semaphore::MAX_PERMITS);
    let tasks = Arc::new(Semaphore::new(most));
    loop {
        let Ok(task) = tasks.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, remote)) => admit(&inner, stream, remote, task),
            Err(error) => {
                tracing::warn!(%error, "unable to accept a peer, check the limit of open files");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// Closes at once who can't be let in.
fn admit(inner: &Arc<Inner>, stream: TcpStream, remote: SocketAddr, task: OwnedSemaphorePermit) {
    let member = inner.members.at(remote.ip());
    match inner.registry.admit(PeerDirection::In, remote, member) {
        Err(refusal) => inner.refused(refusal),
        Ok(place) => {
            let serving = serve(inner.clone(), stream, place);
            inner.tasks.spawn(async move {
                serving.await;
                drop(task);
            });
        }
    }
}

async fn serve(inner: Arc<Inner>, stream: TcpStream, place: Place) {
    let closing = place.entry.closing.clone();
    let opening = closing.run_until_cancelled(open(&inner, stream, place)).await;
    match opening {
        // The future of a connection is large; it is not part of one whose handshake is still to come.
        Some(Ok(parts)) => Box::pin(Connection::new(parts).run()).await,
        Some(Err(refusal)) => inner.refused(refusal),
        // Counted where it was decided.
        None => {}
    }
}

/// Answers a handshake that is welcome; who is not gets no answer.
async fn open(inner: &Arc<Inner>, mut stream: TcpStream, place: Place) -> Result<Parts, Refusal> {
    let remote = place.entry.remote;
    let (theirs, form) =
        handshakes::receive(&mut stream, inner.limits.handshake).await.map_err(|error| match error {
            NoHandshake::Time => Refusal::HandshakeTime,
            NoHandshake::Cut => Refusal::HandshakeCut,
            NoHandshake::Invalid(error) => {
                inner.violated(None, remote, None, error.label());
                Refusal::HandshakeInvalid
            }
        })?;
    if theirs.peer == inner.me {
        return Err(Refusal::OwnPeerId);
    }
    if inner.is_banned(Some(theirs.peer), remote, Some(theirs.swarm)) {
        return Err(Refusal::Banned);
    }
    let audience = if place.entry.member.is_some() { Audience::Member } else { Audience::Foreign };
    let content = inner.shelf.content(&theirs.swarm, audience).ok_or(Refusal::UnknownSwarm)?;
    let (sender, commands) = mpsc::unbounded_channel();
    inner.registry.open(&place, theirs.peer, theirs.swarm, sender)?;
    let ours = Handshake { peer: inner.me, ..theirs };
    // Messages are small and awaited.
    let sent = async {
        stream.set_nodelay(true)?;
        handshakes::send(&mut stream, ours, form).await
    };
    sent.await.map_err(|_| Refusal::HandshakeCut)?;
    let layout = content.layout();
    Ok(Parts { inner: inner.clone(), place, stream, handshake: theirs, layout, commands, opened: None })
}
