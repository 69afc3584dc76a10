//! What others may know of a connection while its task owns the rest.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::{PeerDirection, PeerZone},
    swarm::members::{MemberStanding, Zone},
};

/// One connection.
#[derive(Debug)]
pub(in crate::swarm) struct Entry {
    pub(in crate::swarm) number: u64,
    pub(in crate::swarm) direction: PeerDirection,
    pub(in crate::swarm) remote: SocketAddr,
    /// `None` = no member.
    pub(in crate::swarm) member: Option<MemberStanding>,
    /// Its task is to end.
    pub(in crate::swarm) closing: CancellationToken,
    pub(in crate::swarm) received_bytes: AtomicU64,
    pub(in crate::swarm) sent_bytes: AtomicU64,
    since: Instant,
    /// Milliseconds after `since`.
    last_used: AtomicU64,
    last_received: AtomicU64,
    is_busy: AtomicBool,
    has_slot: AtomicBool,
    flags: AtomicU8,
}

/// Who chokes whom and who wants what (dossier 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Flag {
    /// We answer none of their requests.
    Choking,
    /// We want something.
    Interested,
    /// They answer none of ours.
    Choked,
    TheyAreInterested,
}

impl Flag {
    const ALL: [Self; 4] = [Self::Choking, Self::Interested, Self::Choked, Self::TheyAreInterested];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Entry {
    pub(super) fn new(
        number: u64,
        direction: PeerDirection,
        remote: SocketAddr,
        member: Option<MemberStanding>,
    ) -> Self {
        Self {
            number,
            direction,
            remote,
            member,
            closing: CancellationToken::new(),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            since: Instant::now(),
            last_used: AtomicU64::new(0),
            last_received: AtomicU64::new(0),
            is_busy: AtomicBool::new(false),
            has_slot: AtomicBool::new(false),
            flags: AtomicU8::new(0),
        }
    }

    /// The label of its bytes.
    pub(in crate::swarm) fn zone(&self) -> PeerZone {
        match self.member.as_ref().map(|member| member.zone) {
            None => PeerZone::Foreign,
            Some(Zone::Same) => PeerZone::Same,
            Some(Zone::Other) => PeerZone::Other,
            Some(Zone::Unknown) => PeerZone::Unknown,
        }
    }

    /// It is of use now.
    pub(in crate::swarm) fn touch(&self) {
        let now = self.now();
        self.last_used.store(now, Ordering::Relaxed);
        self.last_received.fetch_max(now, Ordering::Relaxed);
    }

    /// Something came.
    pub(in crate::swarm) fn received(&self) {
        self.last_received.store(self.now(), Ordering::Relaxed);
    }

    /// Requests are open, of either side.
    pub(in crate::swarm) fn set_busy(&self, is_busy: bool) {
        if is_busy {
            self.last_used.store(self.now(), Ordering::Relaxed);
        }
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
    }

    /// It was given an upload slot, or it was taken.
    pub(super) fn set_slot(&self, has_slot: bool) {
        self.has_slot.store(has_slot, Ordering::Relaxed);
    }

    pub(in crate::swarm) fn has_slot(&self) -> bool {
        self.has_slot.load(Ordering::Relaxed)
    }

    /// When it was of use.
    pub(in crate::swarm) fn last_used(&self) -> Instant {
        self.since + Duration::from_millis(self.last_used.load(Ordering::Relaxed))
    }

    pub(in crate::swarm) fn last_received(&self) -> Instant {
        self.since + Duration::from_millis(self.last_received.load(Ordering::Relaxed))
    }

    pub(in crate::swarm) fn set_flags(&self, flags: [(Flag, bool); Flag::ALL.len()]) {
        let set = flags.into_iter().filter(|(_, holds)| *holds);
        self.flags.store(set.fold(0, |bits, (flag, _)| bits | flag.bit()), Ordering::Relaxed);
    }

    /// Those that hold.
    pub(in crate::swarm) fn flags(&self) -> Vec<Flag> {
        let bits = self.flags.load(Ordering::Relaxed);
        Flag::ALL.into_iter().filter(|flag| bits & flag.bit() != 0).collect()
    }

    pub(in crate::swarm) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
