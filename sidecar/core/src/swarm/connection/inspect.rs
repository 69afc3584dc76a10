//! What a connection knows, for who picks pieces and for the admin endpoint.

use super::Connection;
use crate::swarm::{Bitfield, SwarmLayout};

impl Connection {
    /// How the content is divided.
    #[must_use]
    pub const fn layout(&self) -> SwarmLayout {
        self.layout
    }

    /// They said that they have the piece.
    #[must_use]
    pub fn they_have(&self, piece: u32) -> bool {
        self.peer.pieces.has(piece)
    }

    /// All pieces that they said to have.
    #[must_use]
    pub const fn their_pieces(&self) -> &Bitfield {
        &self.peer.pieces
    }

    /// They answer none of our requests.
    #[must_use]
    pub const fn is_choked(&self) -> bool {
        self.peer.is_choking
    }

    /// We answer none of theirs.
    #[must_use]
    pub const fn is_choking(&self) -> bool {
        !self.uploads.is_allowed()
    }

    /// They were told that we want something.
    #[must_use]
    pub const fn is_interested(&self) -> bool {
        self.told_interested
    }

    /// They told that they want something.
    #[must_use]
    pub const fn they_are_interested(&self) -> bool {
        self.peer.is_interested
    }

    /// Our requests that wait here, and those that were sent and are unanswered.
    #[must_use]
    pub fn our_requests(&self) -> (usize, usize) {
        (self.requests.waiting(), self.requests.in_flight())
    }

    /// Their requests that are unanswered.
    #[must_use]
    pub fn their_requests(&self) -> usize {
        self.uploads.unanswered()
    }
}
