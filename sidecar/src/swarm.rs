//! Pieces from and to other caches over TCP (dossier delivery-optimization, sections 4.3 and 5): the sockets around the decisions
//! of `connected_cache_core::swarm` and the bytes of `connected_cache_wire::swarm`.
//!
//! What is served comes from a [`Shelf`]. What is fetched is handed out as it came: whoever asked compares it with its digest
//! before anybody sees it, and tells of a bad one ([`Swarm::bad_piece`]).
//!
//! Map: `listener` lets peers in, `pool` opens connections and shares them, `handshakes` is the beginning of both, `connection` is
//! the task of one that is open, `registry` knows all of them and makes room, `slots` says who may ask, `status` shows it.

#[cfg(feature = "bench")]
pub mod bench;
mod connection;
mod error;
mod handshakes;
mod limits;
mod listener;
mod members;
mod pool;
mod registry;
mod shelf;
mod slots;
mod status;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use connected_cache_config as config;
use connected_cache_core::swarm::{BadPiece, BanRules, Bans, Suspect, SwarmLayout};
use connected_cache_wire::swarm::{PeerId, SwarmId};
use parking_lot::Mutex;
use rand::seq::SliceRandom;
use tokio::net::TcpListener;

use crate::{metrics::Counters, tasks::Tasks};
use connection::Command;
pub(crate) use error::SwarmError;
use limits::SwarmLimits;
pub(crate) use members::{Members, SwarmMember, Zone};
use pool::Pool;
use registry::{Refusal, Registry};
pub(crate) use shelf::{Audience, Shared, Shelf};
use slots::Slots;
pub(crate) use status::SwarmStatus;

/// Peers that are asked for one piece at most, so that a long list of those who don't have it costs little.
const MOST_ASKED: usize = 8;

/// Somebody who may have pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SwarmPeer {
    /// Its swarm listener.
    pub(crate) address: SocketAddr,
    /// A pod of this cache: it is asked for what it has not announced, and is never choked.
    pub(crate) is_member: bool,
}

/// What the swarm is made of.
pub(crate) struct SwarmParts {
    pub(crate) limits: config::Swarm,
    /// Who we are, in every handshake.
    pub(crate) me: PeerId,
    /// From where peers are connected to; `None` = as the system likes.
    pub(crate) source: Option<IpAddr>,
    pub(crate) shelf: Arc<dyn Shelf>,
    pub(crate) members: Arc<Members>,
    pub(crate) counters: Arc<Counters>,
    /// Where its connections run.
    pub(crate) tasks: Tasks,
}

/// All connections to peers. A clone is the same.
#[derive(Clone)]
pub(crate) struct Swarm(Arc<Inner>);

/// What the tasks of all connections share.
struct Inner {
    limits: SwarmLimits,
    me: PeerId,
    source: Option<IpAddr>,
    shelf: Arc<dyn Shelf>,
    members: Arc<Members>,
    counters: Arc<Counters>,
    tasks: Tasks,
    registry: Arc<Registry>,
    pool: Pool,
    slots: Slots,
    bans: Mutex<Bans>,
}

impl Swarm {
    pub(crate) fn new(parts: SwarmParts) -> Self {
        let limits = SwarmLimits::new(&parts.limits);
        Self::with_limits(parts, limits)
    }

    fn with_limits(parts: SwarmParts, limits: SwarmLimits) -> Self {
        let SwarmParts { limits: keys, me, source, shelf, members, counters, tasks } = parts;
        let registry = Arc::new(Registry::new(limits, counters.clone()));
        let rules = BanRules {
            bad_pieces: keys.bad_pieces_before_ban,
            violations: keys.violations_before_ban,
            window: Duration::from_secs(keys.violation_window_seconds),
            ban: Duration::from_secs(keys.ban_seconds),
        };
        let slots = Slots::new(usize::try_from(keys.upload_slots).unwrap_or(usize::MAX), registry.clone());
        let (pool, bans) = (Pool::new(), Mutex::new(Bans::new(rules)));
        Self(Arc::new(Inner {
            limits,
            me,
            source,
            shelf,
            members,
            counters,
            tasks,
            registry,
            pool,
            slots,
            bans,
        }))
    }

    /// Lets peers in by this listener until the tasks end.
    pub(crate) fn serve(&self, listener: TcpListener) {
        self.0.tasks.spawn(listener::accept(self.0.clone(), listener));
    }

    /// Fetches one piece, unchecked, of the length that the layout gives it. A member need not have announced it. Dropping the
    /// future takes the request back. Fails when nothing moved for `swarm.peerStallMilliseconds`.
    pub(crate) async fn fetch(
        &self,
        peer: &SwarmPeer,
        swarm: SwarmId,
        layout: SwarmLayout,
        piece: u32,
    ) -> Result<Bytes, SwarmError> {
        let range = layout.whole(piece).ok_or(SwarmError::NoSuchPiece)?;
        pool::fetch(&self.0, peer, swarm, layout, range).await
    }

    /// Fetches one piece, unchecked, from any of these peers, one after the other in random order; who gave it. For peers that are
    /// no members.
    #[cfg_attr(not(test), expect(dead_code, reason = "peers of arrays are not asked yet"))]
    pub(crate) async fn fetch_any(
        &self,
        peers: &[SwarmPeer],
        swarm: SwarmId,
        layout: SwarmLayout,
        piece: u32,
    ) -> Result<(Bytes, SwarmPeer), SwarmError> {
        let mut peers = peers.to_vec();
        peers.shuffle(&mut rand::rng());
        let mut failed = SwarmError::NotThere;
        for peer in peers.into_iter().take(MOST_ASKED) {
            match self.fetch(&peer, swarm, layout, piece).await {
                Ok(bytes) => return Ok((bytes, peer)),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// A piece that this peer gave failed its check. True: it was one too many, and the peer is banned.
    pub(crate) fn bad_piece(&self, peer: &SwarmPeer, swarm: SwarmId) -> bool {
        self.0.counters.swarm.bad_pieces.fetch_add(1, Ordering::Relaxed);
        let who = Suspect { peer: self.0.pool.peer_at(peer.address), address: peer.address };
        let outcome = self.0.bans.lock().bad_piece(who, swarm, Instant::now());
        let BadPiece::Banned(ban) = outcome else { return false };
        self.0.banned(who, ban.reason.label());
        true
    }

    /// A download is over: who was banned from it alone is welcome in the next.
    #[cfg_attr(not(test), expect(dead_code, reason = "peers of arrays are not asked yet"))]
    pub(crate) fn end_download(&self, swarm: SwarmId) {
        self.0.bans.lock().end_download(swarm);
    }

    /// A piece can be had of us from now on.
    pub(crate) fn announce(&self, swarm: &SwarmId, piece: u32) {
        self.0.registry.tell(swarm, || Command::Have(piece));
    }

    /// For administrators.
    pub(crate) fn status(&self) -> SwarmStatus {
        SwarmStatus::new(self.0.me, &self.0.registry.snapshot(), &self.0.bans.lock().snapshot(Instant::now()))
    }
}

impl Inner {
    fn is_banned(&self, peer: Option<PeerId>, address: SocketAddr, swarm: Option<SwarmId>) -> bool {
        self.bans.lock().is_banned(Suspect { peer, address }, swarm, Instant::now())
    }

    fn refused(&self, refusal: Refusal) {
        self.counters.swarm.refused.add(refusal.label());
    }

    /// A peer broke a rule.
    fn violated(
        &self,
        peer: Option<PeerId>,
        address: SocketAddr,
        swarm: Option<SwarmId>,
        label: &'static str,
    ) {
        self.counters.swarm.violations.add(label);
        let who = Suspect { peer, address };
        let ban = self.bans.lock().violation(who, swarm, Instant::now());
        if let Some(ban) = ban {
            self.banned(who, ban.reason.label());
        }
    }

    fn banned(&self, who: Suspect, reason: &'static str) {
        self.counters.swarm.bans.add(reason);
        tracing::warn!(peer = ?who.peer, reason, "a peer is banned");
        self.registry.close_all_of(who.peer, who.address);
    }
}
