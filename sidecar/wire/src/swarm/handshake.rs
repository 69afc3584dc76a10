//! The handshake, the same in both directions (dossier 5.2).

use super::{PeerId, SwarmId, codes};

/// The name of the protocol.
const NAME: &[u8; 14] = b"Swarm protocol";
/// Behind the name. Its meaning is not known; it is sent and not looked at.
const CONSTANT: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 0];
/// A name of this length is refused by Windows; why is not known.
const EXCLUDED_NAME_LENGTH: u8 = 22;
const MAX_NAME_LENGTH: u8 = 50;
/// Length of the name, constant, swarm id and peer id.
const REST_BYTES: usize = NAME.len() + CONSTANT.len() + 32 + 20;

/// Who speaks about which content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The content.
    pub swarm: SwarmId,
    /// Who says so.
    pub peer: PeerId,
}

/// How the length of the name is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandshakeForm {
    /// In one byte, 75 bytes in all: the form that we begin with.
    #[default]
    Short,
    /// In four bytes, big-endian, 78 bytes in all: understood, and used in the answer to it.
    Long,
}

/// Why something is no handshake. The connection is to be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// A length that no name has.
    #[error("a handshake whose name has {received} bytes, expected {} for `Swarm protocol`", NAME.len())]
    NameLength {
        /// What it begins with, as a number of the form that it has.
        received: u32,
    },
    /// Another protocol.
    #[error("a handshake of another protocol than `Swarm protocol`: {received}")]
    WrongName {
        /// What came, without its controls, as far as it had come.
        received: String,
    },
}

impl HandshakeError {
    /// The service's code for it.
    #[must_use]
    pub const fn code(&self) -> u32 {
        match self {
            Self::NameLength { .. } => codes::HANDSHAKE_LENGTH,
            Self::WrongName { .. } => codes::MESSAGE_INVALID,
        }
    }

    /// A stable word for metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NameLength { .. } => "handshake_length",
            Self::WrongName { .. } => "handshake_name",
        }
    }
}

impl HandshakeForm {
    /// Length of the whole handshake.
    #[must_use]
    pub const fn length_bytes(self) -> usize {
        self.prefix_bytes() + REST_BYTES
    }

    const fn prefix_bytes(self) -> usize {
        match self {
            Self::Short => 1,
            Self::Long => 4,
        }
    }
}

impl Handshake {
    /// The bytes of it in this form.
    #[must_use]
    pub fn encode(&self, form: HandshakeForm) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(form.length_bytes());
        bytes.resize(form.prefix_bytes() - 1, 0);
        bytes.push(NAME_LENGTH);
        bytes.extend_from_slice(NAME);
        bytes.extend_from_slice(&CONSTANT);
        bytes.extend_from_slice(self.swarm.as_bytes());
        bytes.extend_from_slice(self.peer.as_bytes());
        bytes
    }
}

#[expect(clippy::cast_possible_truncation, reason = "14")]
const NAME_LENGTH: u8 = NAME.len() as u8;

/// Reads a handshake as it arrives. What can't become one is refused at its first wrong byte.
#[derive(Debug)]
pub struct HandshakeReader {
    bytes: [u8; HandshakeForm::Long.length_bytes()],
    filled: usize,
}

impl Default for HandshakeReader {
    fn default() -> Self {
        Self { bytes: [0; HandshakeForm::Long.length_bytes()], filled: 0 }
    }
}

impl HandshakeReader {
    /// The handshake and its form, once it is whole; `None` = `input` is used up and more is needed. Moves `input` behind what
    /// was read: the first frames may already follow.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<(Handshake, HandshakeForm)>, HandshakeError> {
        let Some(first) = self.bytes[..self.filled].first().or(input.first()) else { return Ok(None) };
        let form = if *first == 0 { HandshakeForm::Long } else { HandshakeForm::Short };
        let wanted = (form.length_bytes() - self.filled).min(input.len());
        let (now, later) = input.split_at(wanted);
        self.bytes[self.filled..self.filled + wanted].copy_from_slice(now);
        self.filled += wanted;
        *input = later;
        let rest = check_name(&self.bytes[..self.filled], form)?;
        Ok(rest.and_then(read_ids).map(|handshake| (handshake, form)))
    }

    /// How many bytes may be read without reading beyond the handshake, of either form; 0 = it is whole.
    #[must_use]
    pub const fn missing_bytes(&self) -> usize {
        let form =
            if self.filled > 0 && self.bytes[0] == 0 { HandshakeForm::Long } else { HandshakeForm::Short };
        form.length_bytes() - self.filled
    }
}

/// Looks at as much of length and name as is there. Returns what follows them when both are whole.
fn check_name(bytes: &[u8], form: HandshakeForm) -> Result<Option<&[u8]>, HandshakeError> {
    let Some((prefix, rest)) = bytes.split_at_checked(form.prefix_bytes()) else {
        // Of four bytes the first three are zero: no name is longer than 50.
        let received = bytes.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        return if received == 0 { Ok(None) } else { Err(HandshakeError::NameLength { received }) };
    };
    let received = prefix.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    let is_possible =
        (1..=u32::from(MAX_NAME_LENGTH)).contains(&received) && received != u32::from(EXCLUDED_NAME_LENGTH);
    if !is_possible {
        return Err(HandshakeError::NameLength { received });
    }
    let name = &rest[..rest.len().min(NAME.len())];
    if received != u32::from(NAME_LENGTH) || !NAME.starts_with(name) {
        let received = String::from_utf8_lossy(name).replace(char::is_control, "?");
        return Err(HandshakeError::WrongName { received });
    }
    Ok(rest.get(NAME.len()..))
}

/// Behind the name.
fn read_ids(rest: &[u8]) -> Option<Handshake> {
    let (swarm, rest) = rest.get(CONSTANT.len()..)?.split_first_chunk::<32>()?;
    let peer = rest.first_chunk::<20>()?;
    Some(Handshake { swarm: SwarmId::from_bytes(*swarm), peer: PeerId::from_bytes(*peer) })
}
