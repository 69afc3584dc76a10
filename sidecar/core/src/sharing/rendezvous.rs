//! Rendezvous hashing (highest random weight): each member has a weight for each group, and the heaviest is its home. When a member
//! comes or goes, only the groups move that it takes or leaves. The weights are part of what pods of different releases agree on
//! and must not change.

use sha2::{Digest, Sha256};

use super::PIECES_OF_A_GROUP;
use crate::{ObjectKey, PieceIndex};

/// A member, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberHash(u64);

/// A group of pieces of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupHash(u64);

impl MemberHash {
    /// First eight bytes of the SHA-256 of the name, big-endian.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(front(name))
    }

    /// The weight of this member for a group.
    #[must_use]
    pub const fn weight(self, group: GroupHash) -> u64 {
        mix(self.0 ^ group.0)
    }
}

impl GroupHash {
    /// The group of a piece.
    #[must_use]
    pub fn of(key: &ObjectKey, piece: PieceIndex) -> Self {
        Self::numbered(key, piece.number() / PIECES_OF_A_GROUP)
    }

    /// The group with this number, from 0.
    #[must_use]
    pub fn numbered(key: &ObjectKey, number: u64) -> Self {
        Self(mix(front(key.as_str()) ^ mix(number)))
    }
}

fn front(text: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    digest[..8].iter().fold(0, |front, byte| front << 8 | u64::from(*byte))
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014): every bit of the result depends on every bit given.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_splitmix64() {
        // The first values of the published generator for seed 0, which adds its constant before each.
        let mut state = 0u64;
        let mut next = || {
            let value = mix(state);
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            value
        };
        assert_eq!(next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(next(), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(next(), 0x06c4_5d18_8009_454f);
    }

    #[test]
    fn a_member_is_the_front_of_the_hash_of_its_name() {
        // FIPS 180-2's example: SHA-256 of "abc" begins with ba7816bf8f01cfea.
        assert_eq!(MemberHash::of("abc"), MemberHash(0xba78_16bf_8f01_cfea));
    }
}
