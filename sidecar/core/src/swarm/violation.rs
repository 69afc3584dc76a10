//! What a peer does against the protocol. The first closes the connection, several ban (dossier 4.3).

use connected_cache_wire::swarm::{PieceRange, codes};
use thiserror::Error;

/// Against the protocol. The connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// Bitfields come directly after the handshake, once.
    #[error("a bitfield that is not the first message")]
    BitfieldLate,
    /// One bit for each piece.
    #[error("a bitfield of {received} bytes instead of {expected}")]
    BitfieldLength {
        /// By the number of pieces.
        expected: usize,
        /// Theirs.
        received: usize,
    },
    /// Bits behind the last piece are zero.
    #[error("a bitfield with bits behind the last piece")]
    BitfieldSpareBits,
    /// `have` of a piece that does not exist.
    #[error("have of piece {piece} of {piece_count}")]
    HaveOutOfRange {
        /// Theirs.
        piece: u32,
        /// Ours.
        piece_count: u32,
    },
    /// A request outside of its piece, or for nothing.
    #[error("request for {} bytes at {} of piece {}, which is outside of the content", .0.length, .0.begin, .0.piece)]
    RequestOutOfRange(PieceRange),
    /// More requests than we keep for one peer.
    #[error("more than {limit} requests wait")]
    TooManyRequests {
        /// Ours.
        limit: usize,
    },
    /// Data that nobody asked for.
    #[error("{} bytes at {} of piece {}, which were not requested", .0.length, .0.begin, .0.piece)]
    UnrequestedData(PieceRange),
    /// Several messages in a row of types that we don't know.
    #[error("{count} messages in a row of unknown types, the last of type {last}")]
    UnknownMessages {
        /// In a row.
        count: u32,
        /// Type of the last.
        last: u8,
    },
}

impl Violation {
    /// Its number in Delivery Optimization (dossier 4.4): all of them are "message invalid".
    #[must_use]
    pub const fn code(self) -> u32 {
        codes::MESSAGE_INVALID
    }

    /// For metrics and the admin endpoint.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::BitfieldLate => "bitfield_late",
            Self::BitfieldLength { .. } => "bitfield_length",
            Self::BitfieldSpareBits => "bitfield_spare_bits",
            Self::HaveOutOfRange { .. } => "have_out_of_range",
            Self::RequestOutOfRange(_) => "request_out_of_range",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::UnrequestedData(_) => "unrequested_data",
            Self::UnknownMessages { .. } => "unknown_messages",
        }
    }
}
