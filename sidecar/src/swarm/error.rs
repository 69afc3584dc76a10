//! Why a piece did not come from a peer.

use std::io;

use super::registry::Refusal;

/// Whatever it is, the piece is asked for elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SwarmError {
    /// Our own bounds.
    #[error("no connection to the peer: {}", .0.label())]
    Refused(Refusal),
    /// TCP.
    #[error("unable to connect to the peer: {0}")]
    Connect(io::ErrorKind),
    /// They closed instead of answering the handshake: the content is not theirs, or they are full.
    #[error("the peer closed instead of answering the handshake")]
    NotAnswered,
    /// They answered with something else than our handshake.
    #[error("the peer answered with another handshake: {0}")]
    Handshake(&'static str),
    /// They broke a rule.
    #[error("the peer broke a rule of the protocol: {0}")]
    Violation(&'static str),
    /// The connection ended.
    #[error("the connection to the peer was lost")]
    Lost,
    /// They took our requests back.
    #[error("the peer chokes us")]
    Choked,
    /// No progress for `swarm.peerStallMilliseconds`.
    #[error("the peer made no progress")]
    Stalled,
    /// Too many requests wait for this peer.
    #[error("too many requests wait for this peer")]
    TooManyRequests,
    /// A peer that is no member has not said that it has the piece.
    #[error("the peer does not have the piece")]
    NotThere,
    /// A piece that the content does not have.
    #[error("the content has no such piece")]
    NoSuchPiece,
}

impl SwarmError {
    /// Whether the peer is at fault, rather than our own bounds or a piece that has gone.
    pub(crate) const fn is_of_the_peer(self) -> bool {
        match self {
            Self::Refused(refusal) => matches!(refusal, Refusal::Banned),
            Self::Choked | Self::TooManyRequests | Self::NoSuchPiece => false,
            _ => true,
        }
    }

    /// A stable word for metrics and logs.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.label(),
            Self::Connect(_) => "connect",
            Self::NotAnswered => "not_answered",
            Self::Handshake(label) | Self::Violation(label) => label,
            Self::Lost => "lost",
            Self::Choked => "choked",
            Self::Stalled => "stalled",
            Self::TooManyRequests => "too_many_requests",
            Self::NotThere => "not_there",
            Self::NoSuchPiece => "no_such_piece",
        }
    }
}
