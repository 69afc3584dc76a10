//! Connections and bans, for administrators. It names addresses, so it is for those who may purge.

use std::{sync::atomic::Ordering, time::Instant};

use connected_cache_core::swarm::{Ban, Mark};
use connected_cache_wire::swarm::PeerId;
use serde::Serialize;

use super::registry::{Flag, Known};
use crate::metrics::PeerDirection;

/// What is shown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SwarmStatus {
    /// Ours.
    pub(crate) peer_id: PeerId,
    /// The oldest first.
    pub(crate) connections: Vec<ConnectionStatus>,
    /// The oldest first. A peer stands here by its id and by its address.
    pub(crate) bans: Vec<BanStatus>,
}

/// One connection.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionStatus {
    pub(crate) address: String,
    pub(crate) direction: PeerDirection,
    pub(crate) is_member: bool,
    /// `None` = no member, or several have this address.
    pub(crate) member: Option<String>,
    /// `None` = the handshake is not complete.
    pub(crate) peer_id: Option<PeerId>,
    /// The first digits of the swarm id; the rest is what entitles to ask.
    pub(crate) content: Option<String>,
    /// Those that hold.
    pub(crate) flags: Vec<Flag>,
    /// Bytes of pieces.
    pub(crate) received_bytes: u64,
    /// Bytes of pieces.
    pub(crate) sent_bytes: u64,
    pub(crate) age_seconds: u64,
}

/// One ban.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BanStatus {
    /// A peer id, or an address and port.
    pub(crate) who: String,
    pub(crate) reason: &'static str,
    pub(crate) remaining_seconds: u64,
}

impl SwarmStatus {
    pub(super) fn new(me: PeerId, connections: &[Known], bans: &[(Mark, Ban)]) -> Self {
        let now = Instant::now();
        Self {
            peer_id: me,
            connections: connections.iter().map(connection).collect(),
            bans: bans.iter().map(|(mark, ban)| shown(*mark, *ban, now)).collect(),
        }
    }
}

fn connection(Known { entry, open }: &Known) -> ConnectionStatus {
    ConnectionStatus {
        address: entry.remote.to_string(),
        direction: entry.direction,
        is_member: entry.member.is_some(),
        member: entry.member.as_ref().and_then(|member| member.name.as_deref()).map(str::to_owned),
        peer_id: open.map(|(peer, _)| peer),
        content: open.map(|(_, swarm)| swarm.short()),
        flags: entry.flags(),
        received_bytes: entry.received_bytes.load(Ordering::Relaxed),
        sent_bytes: entry.sent_bytes.load(Ordering::Relaxed),
        age_seconds: entry.age().as_secs(),
    }
}

fn shown(mark: Mark, ban: Ban, now: Instant) -> BanStatus {
    let who = match mark {
        Mark::Peer(peer) => peer.to_hex(),
        Mark::Address(address) => address.to_string(),
    };
    let remaining = ban.until.saturating_duration_since(now);
    BanStatus { who, reason: ban.reason.label(), remaining_seconds: remaining.as_secs() }
}
