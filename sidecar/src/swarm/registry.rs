//! Every connection of the swarm, and whether there is room for another.
//!
//! Nobody who floods the listener shuts a member out: a connection of a member takes the place of one that is no member's. All
//! searches are over at most `swarm.maxConnections` entries.

mod entry;
mod refusal;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
};

use connected_cache_wire::swarm::{PeerId, SwarmId};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{SwarmLimits, connection::Command, members::MemberStanding};
use crate::metrics::{Counters, PeerDirection, PeerState};
pub(super) use entry::Entry;
pub(crate) use entry::Flag;
pub(crate) use refusal::Refusal;

/// Connections by number, which grows with age.
pub(super) struct Registry {
    limits: SwarmLimits,
    counters: Arc<Counters>,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    next: u64,
    taken: HashMap<u64, Taken>,
}

/// A connection and what is known of it so far.
struct Taken {
    entry: Arc<Entry>,
    /// `None` = its handshake is not complete.
    open: Option<Open>,
}

/// A connection whose handshake is complete.
#[derive(Clone)]
struct Open {
    peer: PeerId,
    swarm: SwarmId,
    commands: mpsc::UnboundedSender<Command>,
}

/// What is known of a connection.
pub(super) struct Known {
    pub(super) entry: Arc<Entry>,
    /// `None` = its handshake is not complete.
    pub(super) open: Option<(PeerId, SwarmId)>,
}

/// Room for one connection, given back when it is dropped.
pub(super) struct Place {
    pub(super) entry: Arc<Entry>,
    registry: Arc<Registry>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.remove(&mut self.registry.places.lock(), self.entry.number);
    }
}

impl Registry {
    pub(super) fn new(limits: SwarmLimits, counters: Arc<Counters>) -> Self {
        Self { limits, counters, places: Mutex::default() }
    }

    /// Room for a connection whose handshake is yet to come.
    pub(super) fn admit(
        self: &Arc<Self>,
        direction: PeerDirection,
        remote: SocketAddr,
        member: Option<MemberStanding>,
    ) -> Result<Place, Refusal> {
        let mut places = self.places.lock();
        if direction == PeerDirection::In {
            let address = remote.ip().to_canonical();
            if member.is_none() && places.inbound_from(address) >= self.limits.max_connections_per_address {
                return Err(Refusal::PerAddress);
            }
            if places.inbound_half_open() >= self.limits.max_half_open {
                self.evict(&mut places, Refusal::HalfOpen, |taken| {
                    taken.is_inbound_half_open().then_some(u8::from(taken.entry.member.is_some()))
                });
            }
        }
        if places.taken.len() >= self.limits.max_connections {
            let newcomer = Newcomer { direction, is_member: member.is_some() };
            let evicted = self.evict(&mut places, Refusal::Connections, |taken| newcomer.rank(taken));
            if !evicted {
                return Err(Refusal::Connections);
            }
        }
        let number = places.next;
        places.next += 1;
        let entry = Arc::new(Entry::new(number, direction, remote, member));
        places.taken.insert(number, Taken { entry: entry.clone(), open: None });
        self.gauge(direction, PeerState::HalfOpen, true);
        Ok(Place { entry, registry: self.clone() })
    }

    /// The handshake of a connection is complete: what others are to know of it.
    pub(super) fn open(
        &self,
        place: &Place,
        peer: PeerId,
        swarm: SwarmId,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Result<(), Refusal> {
        let (entry, mut places) = (&place.entry, self.places.lock());
        let same = places.same(entry, peer, swarm);
        if let Some((number, other)) = same {
            // What a peer leaves behind that was restarted is silent and from the same address.
            let is_left_behind = other.remote.ip() == entry.remote.ip()
                && other.last_received().elapsed() >= self.limits.machine.stall;
            if !is_left_behind {
                return Err(Refusal::AlreadyConnected);
            }
            self.counters.swarm.refused.add(Refusal::AlreadyConnected.label());
            self.close(&mut places, number);
        }
        if places.of_content(swarm) >= self.limits.max_connections_per_content {
            let newcomer = Newcomer { direction: entry.direction, is_member: entry.member.is_some() };
            let evicted = self.evict(&mut places, Refusal::PerContent, |taken| {
                let is_of_content = taken.open.as_ref().is_some_and(|open| open.swarm == swarm);
                newcomer.rank(taken).filter(|_| is_of_content)
            });
            if !evicted {
                return Err(Refusal::PerContent);
            }
        }
        // It may have been evicted meanwhile.
        let taken = places.taken.get_mut(&entry.number).ok_or(Refusal::Connections)?;
        taken.open = Some(Open { peer, swarm, commands });
        entry.touch();
        self.gauge(entry.direction, PeerState::HalfOpen, false);
        self.gauge(entry.direction, PeerState::Open, true);
        Ok(())
    }

    /// Tells every connection of a content something.
    pub(super) fn tell(&self, swarm: &SwarmId, command: impl Fn() -> Command) {
        for taken in self.places.lock().taken.values() {
            if let Some(open) = taken.open.as_ref().filter(|open| open.swarm == *swarm) {
                // One that is ending needs to know nothing.
                let _ = open.commands.send(command());
            }
        }
    }

    /// Gives a connection an upload slot or takes it.
    pub(super) fn set_slot(&self, number: u64, has_slot: bool) {
        let places = self.places.lock();
        let Some(Taken { entry, open: Some(open) }) = places.taken.get(&number) else { return };
        entry.set_slot(has_slot);
        let _ = open.commands.send(Command::SlotChanged);
    }

    /// Closes every connection to a peer that is no longer welcome.
    pub(super) fn close_all_of(&self, peer: Option<PeerId>, remote: SocketAddr) {
        let mut places = self.places.lock();
        let theirs: Vec<u64> = (places.taken.iter())
            .filter(|(_, taken)| {
                let theirs = taken.open.as_ref().map(|open| open.peer);
                taken.entry.remote == remote || (peer.is_some() && theirs == peer)
            })
            .map(|(number, _)| *number)
            .collect();
        for number in theirs {
            self.close(&mut places, number);
        }
    }

    /// Every connection, and of those whose handshake is complete peer and content.
    pub(super) fn snapshot(&self) -> Vec<Known> {
        let places = self.places.lock();
        let mut all: Vec<_> = (places.taken.values())
            .map(|taken| Known {
                entry: taken.entry.clone(),
                open: taken.open.as_ref().map(|open| (open.peer, open.swarm)),
            })
            .collect();
        all.sort_by_key(|known| known.entry.number);
        all
    }

    /// Makes room by closing the one of the lowest rank, and of those the one that was of no use for the longest time. False if no
    /// connection has a rank.
    fn evict(&self, places: &mut Places, reason: Refusal, rank: impl Fn(&Taken) -> Option<u8>) -> bool {
        let victim = (places.taken.iter())
            .filter_map(|(number, taken)| Some((rank(taken)?, taken.entry.last_used(), *number)))
            .min();
        let Some((_, _, number)) = victim else { return false };
        self.counters.swarm.refused.add(reason.label());
        self.close(places, number);
        true
    }

    /// Its room is free at once; its task ends soon.
    fn close(&self, places: &mut Places, number: u64) {
        if let Some(taken) = places.taken.get(&number) {
            taken.entry.closing.cancel();
            self.remove(places, number);
        }
    }

    fn remove(&self, places: &mut Places, number: u64) {
        if let Some(taken) = places.taken.remove(&number) {
            let state = if taken.open.is_some() { PeerState::Open } else { PeerState::HalfOpen };
            self.gauge(taken.entry.direction, state, false);
        }
    }

    fn gauge(&self, direction: PeerDirection, state: PeerState, is_more: bool) {
        let gauge = self.counters.swarm.connections(direction, state);
        if is_more {
            gauge.fetch_add(1, Ordering::Relaxed);
        } else {
            gauge.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Places {
    fn inbound_from(&self, address: IpAddr) -> usize {
        let is_from = |entry: &Entry| {
            entry.direction == PeerDirection::In && entry.remote.ip().to_canonical() == address
        };
        self.taken.values().filter(|taken| is_from(&taken.entry)).count()
    }

    fn inbound_half_open(&self) -> usize {
        self.taken.values().filter(|taken| taken.is_inbound_half_open()).count()
    }

    fn of_content(&self, swarm: SwarmId) -> usize {
        let opens = self.taken.values().filter_map(|taken| taken.open.as_ref());
        opens.filter(|open| open.swarm == swarm).count()
    }

    /// Another connection to this peer about this content that was opened by the same side. One of each side is allowed: both
    /// may open theirs at the same moment, and if each closed the newer one none would be left.
    fn same(&self, entry: &Entry, peer: PeerId, swarm: SwarmId) -> Option<(u64, Arc<Entry>)> {
        let is_same = |taken: &Taken| {
            taken.entry.direction == entry.direction
                && taken.open.as_ref().is_some_and(|open| open.peer == peer && open.swarm == swarm)
        };
        let found = self.taken.iter().find(|(number, taken)| **number != entry.number && is_same(taken));
        found.map(|(number, taken)| (*number, taken.entry.clone()))
    }
}

impl Taken {
    fn is_inbound_half_open(&self) -> bool {
        self.open.is_none() && self.entry.direction == PeerDirection::In
    }
}

/// Who wants room where there is none.
struct Newcomer {
    direction: PeerDirection,
    is_member: bool,
}

impl Newcomer {
    /// The lowest goes first; `None` = the newcomer is not worth it.
    fn rank(&self, taken: &Taken) -> Option<u8> {
        let entry = &taken.entry;
        match (entry.member.is_some(), entry.is_busy()) {
            _ if taken.is_inbound_half_open() && entry.member.is_none() => Some(0),
            (false, false) if self.is_member || self.direction == PeerDirection::Out => Some(1),
            (false, true) if self.is_member => Some(2),
            (true, false) if self.is_member && taken.open.is_some() => Some(3),
            _ => None,
        }
    }
}
