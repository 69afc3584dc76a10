//! Frames out of a stream of bytes, however it was cut into segments.

use super::codes;
use super::message::{Message, PieceRange, kind};

/// The largest length of a frame that has been seen accepted (dossier 5.3).
pub const MAX_FRAME_LENGTH_BYTES: u32 = 2_048_000;
/// The most data in one piece frame.
pub const MAX_PIECE_DATA_BYTES: u32 = MAX_FRAME_LENGTH_BYTES - PIECE_HEADER_BYTES;

/// Type, index and begin of a piece frame.
const PIECE_HEADER_BYTES: u32 = 9;
/// The length field.
const LENGTH_BYTES: usize = 4;
/// Length field and the longest frame of a fixed length, a request.
const MAX_HEAD_BYTES: usize = LENGTH_BYTES + 13;

/// Why a stream of frames can't be read on. The connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than any frame may be.
    #[error("a frame of {received} bytes, at most {MAX_FRAME_LENGTH_BYTES} are allowed")]
    TooLong {
        /// What its length field says.
        received: u32,
    },
    /// Not the length that a frame of this type has.
    #[error("a frame of type {kind} with a length of {received} bytes, expected {expected}")]
    WrongLength {
        /// Its type.
        kind: u8,
        /// The length that this type has; for a bitfield the longest, for a piece the shortest.
        expected: u32,
        /// What its length field says.
        received: u32,
    },
}

impl FrameError {
    /// The service's code for it.
    #[must_use]
    pub const fn code(&self) -> u32 {
        match self {
            Self::TooLong { .. } => codes::MESSAGE_TOO_LONG,
            Self::WrongLength { .. } => codes::MESSAGE_INVALID,
        }
    }

    /// A stable word for metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "message_too_long",
            Self::WrongLength { .. } => "message_invalid",
        }
    }
}

/// Reads one direction of a connection. It holds at most one bitfield and 17 bytes besides.
#[derive(Debug)]
pub struct FrameReader {
    max_bitfield_bytes: u32,
    state: State,
    /// Length field, type and fixed fields of the frame that is being read.
    head: [u8; MAX_HEAD_BYTES],
    /// How many of them are there.
    filled: usize,
}

#[derive(Debug)]
enum State {
    Head,
    /// Bytes of a bitfield, and how many are missing.
    Bitfield {
        bits: Vec<u8>,
        left: u32,
    },
    /// Data of a piece, for the caller to take.
    Data {
        left: u32,
    },
    /// Bytes without a meaning.
    Skip {
        left: u32,
    },
}

impl FrameReader {
    /// For content whose bitfield has at most so many bytes; a longer one is refused by its length.
    #[must_use]
    pub const fn new(max_bitfield_bytes: u32) -> Self {
        Self { max_bitfield_bytes, state: State::Head, head: [0; MAX_HEAD_BYTES], filled: 0 }
    }

    /// The next message; `None` = `input` is used up and more is needed. Moves `input` behind what was read.
    ///
    /// After [`Message::Piece`] its data is next in the stream: as much of it as the caller does not take
    /// ([`Self::take_data`], [`Self::data_was_read`]) is skipped by the next call.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message>, FrameError> {
        loop {
            match &mut self.state {
                State::Head => match self.read_head(input)? {
                    HeadRead::Incomplete => return Ok(None),
                    HeadRead::Message(message) => return Ok(Some(message)),
                    HeadRead::Bitfield => {}
                },
                State::Bitfield { bits, left } => {
                    let taken = take(input, left);
                    bits.extend_from_slice(taken);
                    if *left > 0 {
                        return Ok(None);
                    }
                    let bits = std::mem::take(bits);
                    self.state = State::Head;
                    return Ok(Some(Message::Bitfield(bits)));
                }
                State::Data { left } | State::Skip { left } => {
                    take(input, left);
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.state = State::Head;
                }
            }
        }
    }

    /// Bytes of the current piece's data that have not been taken.
    #[must_use]
    pub const fn data_left(&self) -> usize {
        match self.state {
            State::Data { left } => left as usize,
            _ => 0,
        }
    }

    /// As much of the current piece's data as is in `input`.
    pub fn take_data<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        match &mut self.state {
            State::Data { left } => take(input, left),
            _ => &[],
        }
    }

    /// So many bytes of the current piece's data were read past this reader; never more than [`Self::data_left`].
    pub fn data_was_read(&mut self, bytes: usize) {
        if let State::Data { left } = &mut self.state {
            *left = left.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
    }

    fn read_head(&mut self, input: &mut &[u8]) -> Result<HeadRead, FrameError> {
        if !self.fill(input, LENGTH_BYTES) {
            return Ok(HeadRead::Incomplete);
        }
        let length = self.field(0);
        if length > MAX_FRAME_LENGTH_BYTES {
            return Err(FrameError::TooLong { received: length });
        }
        if length == 0 {
            return Ok(self.whole(Message::KeepAlive));
        }
        if !self.fill(input, LENGTH_BYTES + 1) {
            return Ok(HeadRead::Incomplete);
        }
        let kind = self.head[LENGTH_BYTES];
        let fixed = self.fixed_bytes(kind, length)?;
        if !self.fill(input, LENGTH_BYTES + fixed) {
            return Ok(HeadRead::Incomplete);
        }
        Ok(self.decode(kind, length))
    }

    /// Bytes from the type to the end of the fields whose number is fixed. Refuses a length that this type can't have.
    fn fixed_bytes(&self, kind: u8, received: u32) -> Result<usize, FrameError> {
        let wrong = |expected| FrameError::WrongLength { kind, expected, received };
        let (fixed, most) = match kind {
            kind::CHOKE | kind::UNCHOKE | kind::INTERESTED | kind::NOT_INTERESTED => (1, 1),
            kind::HAVE => (5, 5),
            kind::REQUEST | kind::CANCEL => (13, 13),
            kind::PIECE if received <= PIECE_HEADER_BYTES => return Err(wrong(PIECE_HEADER_BYTES + 1)),
            kind::PIECE => (PIECE_HEADER_BYTES, MAX_FRAME_LENGTH_BYTES),
            kind::BITFIELD => (1, self.max_bitfield_bytes.saturating_add(1)),
            _ => (1, MAX_FRAME_LENGTH_BYTES),
        };
        if !(fixed..=most).contains(&received) {
            return Err(wrong(most));
        }
        Ok(fixed as usize)
    }

    /// All fixed fields are there.
    fn decode(&mut self, kind: u8, length: u32) -> HeadRead {
        let range = PieceRange { piece: self.field(5), begin: self.field(9), length: self.field(13) };
        let message = match kind {
            kind::CHOKE => Message::Choke,
            kind::UNCHOKE => Message::Unchoke,
            kind::INTERESTED => Message::Interested,
            kind::NOT_INTERESTED => Message::NotInterested,
            kind::HAVE => Message::Have(range.piece),
            kind::REQUEST => Message::Request(range),
            kind::CANCEL => Message::Cancel(range),
            kind::BITFIELD => {
                self.filled = 0;
                self.state = State::Bitfield { bits: Vec::new(), left: length - 1 };
                return HeadRead::Bitfield;
            }
            kind::PIECE => {
                let left = length - PIECE_HEADER_BYTES;
                self.state = State::Data { left };
                Message::Piece(PieceRange { length: left, ..range })
            }
            _ => {
                let bytes = length - 1;
                self.state = State::Skip { left: bytes };
                if kind == kind::FILLER { Message::Filler(bytes) } else { Message::Unknown { kind, bytes } }
            }
        };
        self.whole(message)
    }

    fn whole(&mut self, message: Message) -> HeadRead {
        self.filled = 0;
        HeadRead::Message(message)
    }

    fn field(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.head[at..at + 4]);
        u32::from_be_bytes(bytes)
    }

    /// Whether so many bytes of the head are there now.
    fn fill(&mut self, input: &mut &[u8], until: usize) -> bool {
        let (now, later) = input.split_at(until.saturating_sub(self.filled).min(input.len()));
        self.head[self.filled..self.filled + now.len()].copy_from_slice(now);
        self.filled += now.len();
        *input = later;
        self.filled >= until
    }
}

enum HeadRead {
    Incomplete,
    Message(Message),
    Bitfield,
}

/// Takes up to `left` bytes from the front of `input`.
fn take<'a>(input: &mut &'a [u8], left: &mut u32) -> &'a [u8] {
    let (now, later) = input.split_at((*left as usize).min(input.len()));
    *input = later;
    // No more than `left`, so it fits.
    *left -= u32::try_from(now.len()).unwrap_or(*left);
    now
}
