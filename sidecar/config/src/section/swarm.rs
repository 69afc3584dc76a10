//! `swarm`: bounds of the peer protocol.

use serde::{Deserialize, Serialize};

/// Bounds of the peer protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Swarm {
    /// Pieces of one peer in one download that failed the check; the last of them bans. 2 to 16.
    pub bad_pieces_before_ban: u32,
    /// How long a ban lasts.
    pub ban_seconds: u64,
    /// So many protocol violations within the window ban.
    pub violations_before_ban: u32,
    /// The window for them.
    pub violation_window_seconds: u64,
    /// All swarm connections, both directions.
    pub max_connections: u32,
    /// Of those, for one content.
    pub max_connections_per_content: u32,
    /// Inbound, per remote address; members are exempt.
    pub max_connections_per_address: u32,
    /// Inbound without a complete handshake; the oldest is closed for a new one.
    pub max_half_open: u32,
    /// Unchoked foreign peers at once.
    pub upload_slots: u32,
    /// Our requests to one peer.
    pub requests_in_flight: u32,
    /// Requests waiting from one peer; more closes.
    pub max_queued_requests: u32,
    /// To a connection.
    pub connect_seconds: u64,
    /// To a complete handshake.
    pub handshake_seconds: u64,
    /// Send after so much silence of ours.
    pub keep_alive_seconds: u64,
    /// Close after so much silence of theirs.
    pub idle_seconds: u64,
    /// A request without progress for so long is asked elsewhere as well.
    pub peer_stall_milliseconds: u64,
}

impl Default for Swarm {
    fn default() -> Self {
        Self {
            bad_pieces_before_ban: 2,
            ban_seconds: 900,
            violations_before_ban: 3,
            violation_window_seconds: 600,
            max_connections: 200,
            max_connections_per_content: 50,
            max_connections_per_address: 2,
            max_half_open: 64,
            upload_slots: 8,
            requests_in_flight: 8,
            max_queued_requests: 64,
            connect_seconds: 5,
            handshake_seconds: 10,
            keep_alive_seconds: 60,
            idle_seconds: 180,
            peer_stall_milliseconds: 1000,
        }
    }
}
