//! The swarm protocol of TCP 7680: one handshake each way, then frames (dossier delivery-optimization 5).
//!
//! All integers are big-endian. Nothing here waits or allocates for a length before it was checked, and the data of a piece
//! never passes through this module: a [`FrameReader`] yields the header of a piece frame before its data, so that the caller
//! refuses it or reads the data straight to where it belongs.

mod frame;
mod handshake;
mod ids;
mod message;

pub use frame::{FrameError, FrameReader, MAX_FRAME_LENGTH_BYTES, MAX_PIECE_DATA_BYTES};
pub use handshake::{Handshake, HandshakeError, HandshakeForm, HandshakeReader};
pub use ids::{PeerId, SwarmId};
pub use message::{Message, PieceRange};

/// The codes of the service whose meanings these errors have (dossier 4.4).
pub mod codes {
    /// The handshake's length is invalid.
    pub const HANDSHAKE_LENGTH: u32 = 0x80D0_6813;
    /// A message is too long.
    pub const MESSAGE_TOO_LONG: u32 = 0x80D0_6815;
    /// A message is invalid.
    pub const MESSAGE_INVALID: u32 = 0x80D0_6816;
}

#[cfg(test)]
mod tests;
