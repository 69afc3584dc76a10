//! Who speaks, and about which content.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::delivery_optimization::HashOfHashes;

/// Names a content in the swarm: 32 bytes, its [`HashOfHashes`] where it has one.
///
/// Other ids are secrets between the members of one cache: who knows one may ask for the content. So it is never shown whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SwarmId([u8; 32]);

impl SwarmId {
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

    /// The first eight hexadecimal digits: enough to tell contents apart, too few to ask for one.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

impl From<HashOfHashes> for SwarmId {
    fn from(hash: HashOfHashes) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Debug for SwarmId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SwarmId({}..)", self.short())
    }
}

/// Names a peer: 20 bytes, of which Windows makes the first sixteen a GUID and the last four zero (dossier 2.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 20]);

impl PeerId {
    /// From the 20 bytes themselves.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// An id of the form that Windows has: these bytes and four zeros.
    #[must_use]
    pub fn from_guid(guid: [u8; 16]) -> Self {
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&guid);
        Self(bytes)
    }

    /// The 20 bytes themselves.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Reads 40 hexadecimal digits of either case.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// 40 hexadecimal digits in lower case.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PeerId({})", self.to_hex())
    }
}

/// As 40 hexadecimal digits.
impl Serialize for PeerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("a peer id has 40 hexadecimal digits"))
    }
}
