//! Shells with contents of their own.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use connected_cache_core::swarm::{Bitfield, SwarmLayout};
use connected_cache_wire::swarm::{PeerId, SwarmId};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use super::super::*;
pub(super) use crate::control_plane::tests::lab::eventually;
use crate::{
    metrics::{PeerDirection, PeerState},
    tasks::Tasks,
};

pub(super) const PIECE: u64 = 1 << 20;

/// The longest that anything may take; far more than it does.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn content_id(number: u8) -> SwarmId {
    SwarmId::from_bytes([number; 32])
}

pub(super) fn peer_id(number: u8) -> PeerId {
    PeerId::from_guid([number; 16])
}

/// Bytes that differ from place to place: every 4 KiB begin with their number.
pub(super) fn bytes(seed: u8, length: usize) -> Bytes {
    let block: Vec<u8> =
        (0..4096_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed).collect();
    let mut bytes = Vec::with_capacity(length + block.len());
    for number in 0..length.div_ceil(block.len()) {
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(&block[8..]);
    }
    bytes.truncate(length);
    bytes.into()
}

/// A content in pieces, of which some may be missing or slow.
pub(super) struct Book {
    pub(super) layout: SwarmLayout,
    pub(super) text: Bytes,
    announced: Mutex<Bitfield>,
    missing: Mutex<Vec<u32>>,
    /// One permit is used up by each piece that is taken.
    gate: Semaphore,
    pub(super) taken: AtomicU64,
}

impl Book {
    pub(super) fn new(seed: u8, length: u64) -> Arc<Self> {
        let layout = SwarmLayout::new(length, PIECE).unwrap();
        Arc::new(Self {
            layout,
            text: bytes(seed, usize::try_from(length).unwrap()),
            announced: Mutex::new(Bitfield::full(layout.piece_count())),
            missing: Mutex::default(),
            gate: Semaphore::new(100_000),
            taken: AtomicU64::new(0),
        })
    }

    pub(super) fn announce_nothing(&self) {
        *self.announced.lock() = Bitfield::new(self.layout.piece_count());
    }

    pub(super) fn announce_all_but(&self, piece: u32) {
        self.announced.lock().clear(piece);
    }

    pub(super) fn lose(&self, piece: u32) {
        self.missing.lock().push(piece);
    }

    /// Nothing is given until somebody opens it.
    pub(super) fn close_gate(&self) {
        self.gate.forget_permits(usize::MAX);
    }

    pub(super) fn open_gate(&self) {
        self.gate.add_permits(100_000);
    }

    pub(super) fn piece(&self, piece: u32) -> Bytes {
        let start = usize::try_from(u64::from(piece) * PIECE).unwrap();
        self.text.slice(start..start + self.layout.length_of(piece).unwrap() as usize)
    }
}

/// The seam wants to own what it waits for.
struct OnShelf(Arc<Book>);

impl Shared for OnShelf {
    fn layout(&self) -> SwarmLayout {
        self.0.layout
    }

    fn have(&self) -> Bitfield {
        self.0.announced.lock().clone()
    }

    fn piece(&self, piece: u32) -> BoxFuture<'static, Option<Bytes>> {
        let book = self.0.clone();
        Box::pin(async move {
            book.gate.acquire().await.unwrap().forget();
            book.taken.fetch_add(1, Ordering::Relaxed);
            let is_missing = book.missing.lock().contains(&piece);
            (!is_missing).then(|| book.piece(piece))
        })
    }
}

#[derive(Default)]
pub(super) struct Library(Mutex<HashMap<SwarmId, (Arc<Book>, bool)>>);

impl Library {
    pub(super) fn put(&self, swarm: SwarmId, book: &Arc<Book>) {
        self.0.lock().insert(swarm, (book.clone(), true));
    }

    pub(super) fn take(&self, swarm: SwarmId) {
        self.0.lock().remove(&swarm);
    }

    pub(super) fn put_for_members(&self, swarm: SwarmId, book: &Arc<Book>) {
        self.0.lock().insert(swarm, (book.clone(), false));
    }
}

impl Shelf for Library {
    fn content(&self, swarm: &SwarmId, audience: Audience) -> Option<Arc<dyn Shared>> {
        let books = self.0.lock();
        let (book, is_public) = books.get(swarm)?;
        (*is_public || audience == Audience::Member)
            .then(|| Arc::new(OnShelf(book.clone())) as Arc<dyn Shared>)
    }
}

/// The usual configuration, but for those who wait for slow machines: nobody is given up by time where a test doesn't say so.
pub(super) fn patient() -> config::Swarm {
    config::Swarm { peer_stall_milliseconds: 60_000, ..config::Swarm::default() }
}

/// A shell that listens.
pub(super) struct Shell {
    pub(super) swarm: Swarm,
    pub(super) address: SocketAddr,
    pub(super) library: Arc<Library>,
    pub(super) members: Arc<Members>,
    pub(super) counters: Arc<Counters>,
    tasks: Tasks,
}

impl Shell {
    pub(super) async fn start(number: u8) -> Self {
        Self::with(number, |_| {}).await
    }

    /// With another configuration than the usual one.
    pub(super) async fn with(number: u8, change: impl FnOnce(&mut config::Swarm)) -> Self {
        let mut keys = patient();
        change(&mut keys);
        Self::made(number, keys, Swarm::new).await
    }

    /// With limits that no key has.
    pub(super) async fn with_limits(number: u8, limits: SwarmLimits) -> Self {
        Self::made(number, patient(), |parts| Swarm::with_limits(parts, limits)).await
    }

    async fn made(number: u8, keys: config::Swarm, make: impl FnOnce(SwarmParts) -> Swarm) -> Self {
        let library = Arc::new(Library::default());
        let members = Arc::new(Members::default());
        let counters = Arc::new(Counters::default());
        let tasks = Tasks::default();
        let parts = SwarmParts {
            limits: keys,
            me: peer_id(number),
            source: None,
            shelf: library.clone(),
            members: members.clone(),
            counters: counters.clone(),
            tasks: tasks.clone(),
        };
        let swarm = make(parts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        swarm.serve(listener);
        Self { swarm, address, library, members, counters, tasks }
    }

    /// Whoever comes from where shells come from is a member from now on.
    pub(super) fn trust_loopback(&self) {
        self.trust(SocketAddr::from(([127, 0, 0, 1], 7680)));
    }

    /// Who listens there is a member, and nobody else.
    pub(super) fn trust(&self, address: SocketAddr) {
        self.members.replace([SwarmMember { name: "pod-1".into(), address, zone: Zone::Same }]);
    }

    pub(super) async fn fetch(&self, from: SocketAddr, book: &Book, piece: u32) -> Result<Bytes, SwarmError> {
        self.fetch_of(from, content_id(1), book.layout, piece).await
    }

    pub(super) async fn fetch_of(
        &self,
        from: SocketAddr,
        swarm: SwarmId,
        layout: SwarmLayout,
        piece: u32,
    ) -> Result<Bytes, SwarmError> {
        let peer = SwarmPeer { address: from, is_member: true };
        timeout(PATIENCE, self.swarm.fetch(&peer, swarm, layout, piece)).await.expect("an answer")
    }

    pub(super) fn connections(&self, direction: PeerDirection, state: PeerState) -> u64 {
        self.counters.swarm.connections(direction, state).load(Ordering::Relaxed)
    }

    pub(super) fn open(&self, direction: PeerDirection) -> u64 {
        self.connections(direction, PeerState::Open)
    }

    /// Ends everything; nothing of it may be left.
    pub(super) async fn end(self) {
        timeout(PATIENCE, self.tasks.end(Duration::ZERO)).await.expect("every task ends");
        for direction in [PeerDirection::In, PeerDirection::Out] {
            for state in [PeerState::HalfOpen, PeerState::Open] {
                assert_eq!(self.connections(direction, state), 0, "{direction:?} {state:?}");
            }
        }
        assert!(self.swarm.status().connections.is_empty());
    }
}
