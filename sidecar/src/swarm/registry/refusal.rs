use serde::Serialize;

/// Why a connection was refused or closed, apart from what was said on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Refusal {
    /// The oldest without a complete handshake, closed for a new one.
    HalfOpen,
    /// `swarm.maxConnections`.
    Connections,
    /// `swarm.maxConnectionsPerContent`.
    PerContent,
    /// `swarm.maxConnectionsPerAddress`.
    PerAddress,
    /// The handshake was not complete in time.
    HandshakeTime,
    /// Closed before the handshake was complete.
    HandshakeCut,
    /// Another protocol.
    HandshakeInvalid,
    /// A content that is not shared, or not with them.
    UnknownSwarm,
    /// We are it.
    OwnPeerId,
    /// They have a connection about this content.
    AlreadyConnected,
    Banned,
}

impl Refusal {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::HalfOpen => "half_open",
            Self::Connections => "connections",
            Self::PerContent => "connections_per_content",
            Self::PerAddress => "connections_per_address",
            Self::HandshakeTime => "handshake_time",
            Self::HandshakeCut => "handshake_cut",
            Self::HandshakeInvalid => "handshake_invalid",
            Self::UnknownSwarm => "unknown_swarm",
            Self::OwnPeerId => "own_peer_id",
            Self::AlreadyConnected => "already_connected",
            Self::Banned => "banned",
        }
    }
}
