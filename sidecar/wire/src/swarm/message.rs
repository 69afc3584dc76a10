//! What is said after the handshake (dossier 5.3).

/// A part of one piece: what a request asks for and what a piece frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceRange {
    /// Number of the piece, from 0.
    pub piece: u32,
    /// Where the part begins in the piece, in bytes.
    pub begin: u32,
    /// Its bytes.
    pub length: u32,
}

impl PieceRange {
    /// Where the part ends in the piece; beyond `u32` for a range that no piece has.
    #[must_use]
    pub fn end(&self) -> u64 {
        u64::from(self.begin) + u64::from(self.length)
    }
}

/// One frame. Whether it may be said now, and about which pieces, is for the connection's state machine to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Nothing, so that the connection stays open.
    KeepAlive,
    /// You may not ask (any longer).
    Choke,
    /// You may ask.
    Unchoke,
    /// You have something that I want.
    Interested,
    /// You have nothing that I want (any longer).
    NotInterested,
    /// I have this piece now.
    Have(u32),
    /// What I have: bit 7 of byte 0 is piece 0.
    Bitfield(Vec<u8>),
    /// Send me this.
    Request(PieceRange),
    /// The data of this range follows: the frame's header only.
    Piece(PieceRange),
    /// Don't send me this any more.
    Cancel(PieceRange),
    /// So many bytes without a meaning, which are skipped.
    Filler(u32),
    /// So many bytes behind a type that nobody knows; they are skipped.
    Unknown {
        /// The type.
        kind: u8,
        /// Bytes behind it.
        bytes: u32,
    },
}

pub(super) mod kind {
    pub(in crate::swarm) const CHOKE: u8 = 0;
    pub(in crate::swarm) const UNCHOKE: u8 = 1;
    pub(in crate::swarm) const INTERESTED: u8 = 2;
    pub(in crate::swarm) const NOT_INTERESTED: u8 = 3;
    pub(in crate::swarm) const HAVE: u8 = 4;
    pub(in crate::swarm) const BITFIELD: u8 = 5;
    pub(in crate::swarm) const REQUEST: u8 = 6;
    pub(in crate::swarm) const PIECE: u8 = 7;
    pub(in crate::swarm) const CANCEL: u8 = 8;
    pub(in crate::swarm) const FILLER: u8 = 20;
}

impl Message {
    /// Appends the frame; of [`Message::Piece`] its header, whose data the caller sends behind it. The meaningless bytes of
    /// [`Message::Filler`] and [`Message::Unknown`] are zeros.
    ///
    /// The caller keeps to the limits: a frame beyond [`MAX_FRAME_LENGTH_BYTES`](super::MAX_FRAME_LENGTH_BYTES) is refused
    /// by its receiver.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::KeepAlive => out.extend(0_u32.to_be_bytes()),
            Self::Choke => header(out, 1, kind::CHOKE),
            Self::Unchoke => header(out, 1, kind::UNCHOKE),
            Self::Interested => header(out, 1, kind::INTERESTED),
            Self::NotInterested => header(out, 1, kind::NOT_INTERESTED),
            Self::Have(piece) => {
                header(out, 5, kind::HAVE);
                out.extend(piece.to_be_bytes());
            }
            Self::Bitfield(bits) => {
                header(out, length_of(bits).saturating_add(1), kind::BITFIELD);
                out.extend_from_slice(bits);
            }
            Self::Request(range) => ranged(out, kind::REQUEST, *range),
            Self::Cancel(range) => ranged(out, kind::CANCEL, *range),
            Self::Piece(range) => {
                header(out, range.length.saturating_add(9), kind::PIECE);
                out.extend(range.piece.to_be_bytes());
                out.extend(range.begin.to_be_bytes());
            }
            Self::Filler(bytes) => meaningless(out, kind::FILLER, *bytes),
            Self::Unknown { kind, bytes } => meaningless(out, *kind, *bytes),
        }
    }
}

fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn header(out: &mut Vec<u8>, length: u32, kind: u8) {
    out.extend(length.to_be_bytes());
    out.push(kind);
}

fn ranged(out: &mut Vec<u8>, kind: u8, range: PieceRange) {
    header(out, 13, kind);
    for field in [range.piece, range.begin, range.length] {
        out.extend(field.to_be_bytes());
    }
}

fn meaningless(out: &mut Vec<u8>, kind: u8, bytes: u32) {
    header(out, bytes.saturating_add(1), kind);
    out.resize(out.len() + bytes as usize, 0);
}
