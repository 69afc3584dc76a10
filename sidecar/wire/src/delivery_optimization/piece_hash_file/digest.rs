//! The three hashes of a piece hash file, each 32 bytes of SHA-256, and their spellings.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// A text that is not the stated spelling of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADigest {
    /// Not 44 characters of standard base64 (`+`, `/`, one `=` at the end, no spare bits).
    #[error("not the base64 of 32 bytes: 44 characters, the last one `=`")]
    Base64,
    /// Not 64 hexadecimal digits.
    #[error("not 32 bytes in 64 hexadecimal digits")]
    Hex,
}

/// Characters of 32 bytes in base64.
pub(super) const BASE64_LENGTH: usize = 44;
/// Bytes before the hashes in what is hashed for [`HashOfHashes`].
const HEADER_BYTES: usize = 16;

macro_rules! digest {
    ($(#[$attribute:meta])* $name:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From the 32 bytes themselves.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes themselves.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Reads 44 characters of standard base64 with padding.
            pub fn from_base64(text: &str) -> Result<Self, NotADigest> {
                read_base64(text).map(Self).ok_or(NotADigest::Base64)
            }

            /// 44 characters of standard base64 with padding, as JSON members have it.
            #[must_use]
            pub fn to_base64(&self) -> String {
                STANDARD.encode(self.0)
            }

            /// Reads 64 hexadecimal digits of either case.
            pub fn from_hex(text: &str) -> Result<Self, NotADigest> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| NotADigest::Hex)?;
                Ok(Self(bytes))
            }

            /// 64 hexadecimal digits in lower case.
            #[must_use]
            pub fn to_hex(&self) -> String {
                hex::encode(self.0)
            }
        }

        /// As base64.
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.to_base64())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self.to_base64())
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    };
}

digest! {
    /// The SHA-256 of one piece's bytes. The last piece is the short remainder, hashed without padding (dossier 3.2).
    PieceHash
}

digest! {
    /// The hash that authenticates a piece hash file: `HashOfHashes` of the file and of the control plane's ContentPolicy
    /// (dossier 3.3).
    HashOfHashes
}

digest! {
    /// The SHA-256 of a piece hash file's text: `PiecesHashFileDigest` of the Win32 interface, `PiecesHashDigest` of Windows
    /// Update's metadata (dossier 3.3). Another one than [`HashOfHashes`].
    PiecesHashFileDigest
}

impl PieceHash {
    /// Hashes one piece.
    #[must_use]
    pub fn of(piece: &[u8]) -> Self {
        Self(Sha256::digest(piece).into())
    }
}

impl HashOfHashes {
    /// `SHA-256(1: u32 LE, content length: u64 LE, piece length: u32 LE, every piece's hash in order)`.
    ///
    /// The first four bytes are `01 00 00 00` in version 1.0; whether they hold a minor version as well is not known.
    #[must_use]
    pub fn compute(content_length_bytes: u64, piece_length_bytes: u32, piece_hashes: &[PieceHash]) -> Self {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&1_u32.to_le_bytes());
        header[4..12].copy_from_slice(&content_length_bytes.to_le_bytes());
        header[12..].copy_from_slice(&piece_length_bytes.to_le_bytes());
        let mut hasher = Sha256::new();
        hasher.update(header);
        for hash in piece_hashes {
            hasher.update(hash.0);
        }
        Self(hasher.finalize().into())
    }
}

impl PiecesHashFileDigest {
    /// Hashes the text of a file as it was served, byte for byte.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }
}

/// Looks at the length first: a text from a network may be of any.
fn read_base64(text: &str) -> Option<[u8; 32]> {
    if text.len() != BASE64_LENGTH {
        return None;
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// Writes base64 behind what is there.
pub(super) fn push_base64(text: &mut String, bytes: &[u8; 32]) {
    STANDARD.encode_string(bytes, text);
}
