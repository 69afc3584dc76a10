//! Connections that we open: one to each peer for each content, shared by everybody who wants pieces of it.
//!
//! A connection is a task from the moment somebody wants it; what is asked for meanwhile waits in its channel.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use connected_cache_core::swarm::SwarmLayout;
use connected_cache_wire::swarm::{Handshake, HandshakeForm, PeerId, PieceRange, SwarmId};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Inner, SwarmError, SwarmPeer,
    connection::{Command, Connection, Parts, Wish},
    handshakes::{self, NoHandshake},
    registry::{Place, Refusal},
};
use crate::metrics::PeerDirection;

/// Who is spoken to about what.
type Key = (SocketAddr, SwarmId);

/// Addresses whose peers are remembered.
const KNOWN: usize = 1024;

/// See the module.
pub(super) struct Pool {
    connections: Mutex<HashMap<Key, Pooled>>,
    /// Tells connections and their callers apart.
    next: AtomicU64,
    /// Which peer was met at an address last.
    known: Cache<SocketAddr, PeerId>,
}

#[derive(Clone)]
struct Pooled {
    number: u64,
    commands: mpsc::UnboundedSender<Command>,
    /// Cancelled once it is known what may be asked for.
    opened: CancellationToken,
}

/// Tells the connection that its caller has left, unless it was answered.
struct Caller<'a> {
    number: u64,
    range: PieceRange,
    commands: &'a mpsc::UnboundedSender<Command>,
    is_answered: bool,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            let _ = self.commands.send(Command::Forget { number: self.number, range: self.range });
        }
    }
}

impl Pool {
    pub(super) fn new() -> Self {
        Self { connections: Mutex::default(), next: AtomicU64::new(0), known: Cache::new(KNOWN) }
    }

    /// Which peer was met at this address last.
    pub(super) fn peer_at(&self, address: SocketAddr) -> Option<PeerId> {
        self.known.get(&address)
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The connection, and whether it was there before.
    fn connection(
        &self,
        inner: &Arc<Inner>,
        peer: &SwarmPeer,
        swarm: SwarmId,
        layout: SwarmLayout,
    ) -> (Pooled, bool) {
        let mut connections = self.connections.lock();
        let key = (peer.address, swarm);
        if let Some(pooled) = connections.get(&key).filter(|pooled| !pooled.commands.is_closed()) {
            return (pooled.clone(), true);
        }
        let (sender, commands) = mpsc::unbounded_channel();
        let number = self.number();
        let pooled = Pooled { number, commands: sender.clone(), opened: CancellationToken::new() };
        connections.insert(key, pooled.clone());
        let opening = Opening {
            inner: inner.clone(),
            key,
            number,
            is_member: peer.is_member,
            layout,
            sender,
            opened: pooled.opened.clone(),
        };
        inner.tasks.spawn(opening.run(commands));
        (pooled, false)
    }

    fn remove(&self, key: Key, number: u64) {
        let mut connections = self.connections.lock();
        if connections.get(&key).is_some_and(|pooled| pooled.number == number) {
            connections.remove(&key);
        }
    }
}

/// Fetches one piece from this peer. A connection that was there before may have been closed by the peer at this very moment; then
/// a new one is opened, once.
pub(super) async fn fetch(
    inner: &Arc<Inner>,
    peer: &SwarmPeer,
    swarm: SwarmId,
    layout: SwarmLayout,
    range: PieceRange,
) -> Result<Bytes, SwarmError> {
    let (pooled, is_old) = inner.pool.connection(inner, peer, swarm, layout);
    match ask(inner, &pooled, range).await {
        Err(SwarmError::Lost) if is_old => {
            inner.pool.remove((peer.address, swarm), pooled.number);
            let (pooled, _) = inner.pool.connection(inner, peer, swarm, layout);
            ask(inner, &pooled, range).await
        }
        answer => answer,
    }
}

async fn ask(inner: &Inner, pooled: &Pooled, range: PieceRange) -> Result<Bytes, SwarmError> {
    let number = inner.pool.number();
    let (reply, mut answer) = oneshot::channel();
    let sent = pooled.commands.send(Command::Fetch(Wish { number, range, reply }));
    sent.map_err(|_| SwarmError::Lost)?;
    let mut caller = Caller { number, range, commands: &pooled.commands, is_answered: false };
    // From then on the connection itself sees that nothing moves.
    let opened = async { timeout(inner.limits.machine.stall, pooled.opened.cancelled()).await.is_ok() };
    let answered = tokio::select! {
        biased;
        answered = &mut answer => answered,
        is_open = opened => {
            if !is_open {
                return Err(SwarmError::Stalled);
            }
            answer.await
        }
    };
    caller.is_answered = true;
    answered.unwrap_or(Err(SwarmError::Lost))
}

/// A connection that is being opened.
struct Opening {
    inner: Arc<Inner>,
    key: Key,
    number: u64,
    is_member: bool,
    layout: SwarmLayout,
    sender: mpsc::UnboundedSender<Command>,
    opened: CancellationToken,
}

impl Opening {
    async fn run(self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let (inner, key, number) = (self.inner.clone(), self.key, self.number);
        let (layout, opened) = (self.layout, self.opened.clone());
        match self.open().await {
            Ok(open) => {
                let Open { place, stream, handshake } = open;
                let (inner, opened) = (inner.clone(), Some(opened));
                let parts = Parts { inner, place, stream, handshake, layout, commands, opened };
                Box::pin(Connection::new(parts).run()).await;
            }
            Err(error) => {
                tracing::debug!(address = %key.0, reason = error.label(), "no connection to a peer");
                commands.close();
                while let Some(command) = commands.recv().await {
                    if let Command::Fetch(wish) = command {
                        let _ = wish.reply.send(Err(error));
                    }
                }
            }
        }
        inner.pool.remove(key, number);
    }

    async fn open(self) -> Result<Open, SwarmError> {
        let (inner, (address, swarm)) = (&self.inner, self.key);
        if inner.is_banned(inner.pool.peer_at(address), address, Some(swarm)) {
            return Err(SwarmError::Refused(Refusal::Banned));
        }
        let member = self.is_member.then(|| inner.members.listening_at(address).unwrap_or_default());
        let place = inner.registry.admit(PeerDirection::Out, address, member).map_err(SwarmError::Refused)?;
        let closing = place.entry.closing.clone();
        let speaking = closing.run_until_cancelled(speak(inner, address, swarm)).await;
        let (stream, theirs) = speaking.unwrap_or(Err(SwarmError::Refused(Refusal::Connections)))?;
        inner.pool.known.insert(address, theirs.peer);
        if theirs.peer == inner.me {
            return Err(SwarmError::Refused(Refusal::OwnPeerId));
        }
        if inner.is_banned(Some(theirs.peer), address, Some(swarm)) {
            return Err(SwarmError::Refused(Refusal::Banned));
        }
        inner.registry.open(&place, theirs.peer, swarm, self.sender).map_err(SwarmError::Refused)?;
        Ok(Open { place, stream, handshake: theirs })
    }
}

/// A connection whose handshakes are done.
struct Open {
    place: Place,
    stream: TcpStream,
    handshake: Handshake,
}

/// Connects from the address that we listen at, where that is one: by it other pods know us.
async fn connect(source: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) else {
        return TcpStream::connect(address).await;
    };
    let socket = if source.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(address).await
}

/// Connects, and exchanges handshakes.
async fn speak(
    inner: &Inner,
    address: SocketAddr,
    swarm: SwarmId,
) -> Result<(TcpStream, Handshake), SwarmError> {
    let connecting = timeout(inner.limits.connect, connect(inner.source, address)).await;
    let connected = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let mut stream = connected.map_err(|error| SwarmError::Connect(error.kind()))?;
    // Requests are small and awaited.
    stream.set_nodelay(true).map_err(|error| SwarmError::Connect(error.kind()))?;
    let ours = Handshake { swarm, peer: inner.me };
    let exchanged = async {
        handshakes::send(&mut stream, ours, HandshakeForm::Short).await?;
        handshakes::receive(&mut stream, inner.limits.handshake).await
    };
    match exchanged.await {
        Ok((theirs, _)) if theirs.swarm == swarm => Ok((stream, theirs)),
        Ok(_) => Err(SwarmError::Handshake("handshake_of_another_swarm")),
        Err(NoHandshake::Time) => Err(SwarmError::Handshake(Refusal::HandshakeTime.label())),
        Err(NoHandshake::Cut) => Err(SwarmError::NotAnswered),
        Err(NoHandshake::Invalid(error)) => {
            inner.violated(None, address, Some(swarm), error.label());
            Err(SwarmError::Handshake(error.label()))
        }
    }
}
