//! Which pieces somebody has. Bit 7 of byte 0 is piece 0; spare bits at the end are zero (dossier 5.3).

use super::Violation;

/// A set of piece numbers below a fixed count. Takes one bit for each piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Box<[u8]>,
    piece_count: u32,
    held: u32,
}

impl Bitfield {
    /// Has nothing.
    #[must_use]
    pub fn new(piece_count: u32) -> Self {
        Self { bytes: vec![0; byte_count(piece_count)].into(), piece_count, held: 0 }
    }

    /// Has everything.
    #[must_use]
    pub fn full(piece_count: u32) -> Self {
        let mut bytes = vec![0xff; byte_count(piece_count)];
        if let Some(last) = bytes.last_mut() {
            *last &= !spare_bits(piece_count);
        }
        Self { bytes: bytes.into(), piece_count, held: piece_count }
    }

    /// Reads the payload of a bitfield message. Its length is compared before anything is copied.
    pub fn from_wire(bytes: &[u8], piece_count: u32) -> Result<Self, Violation> {
        let expected = byte_count(piece_count);
        if bytes.len() != expected {
            return Err(Violation::BitfieldLength { expected, received: bytes.len() });
        }
        if bytes.last().is_some_and(|last| last & spare_bits(piece_count) != 0) {
            return Err(Violation::BitfieldSpareBits);
        }
        // Fits: no more bits than pieces are set.
        let held = bytes.iter().map(|byte| byte.count_ones()).sum();
        Ok(Self { bytes: bytes.into(), piece_count, held })
    }

    /// The payload of a bitfield message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.to_vec()
    }

    /// Number of pieces that there are.
    #[must_use]
    pub const fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// Number of pieces that are set.
    #[must_use]
    pub const fn held(&self) -> u32 {
        self.held
    }

    /// Nothing is set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Everything is set.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.held == self.piece_count
    }

    /// The piece is set. False for a piece that does not exist.
    #[must_use]
    pub fn has(&self, piece: u32) -> bool {
        piece < self.piece_count && self.bytes[byte_of(piece)] & mask_of(piece) != 0
    }

    /// Sets a piece. False if it was set before or does not exist.
    pub fn set(&mut self, piece: u32) -> bool {
        let is_new = piece < self.piece_count && !self.has(piece);
        if is_new {
            self.bytes[byte_of(piece)] |= mask_of(piece);
            self.held += 1;
        }
        is_new
    }

    /// Takes a piece away. False if it was not set.
    pub fn clear(&mut self, piece: u32) -> bool {
        let was_set = self.has(piece);
        if was_set {
            self.bytes[byte_of(piece)] &= !mask_of(piece);
            self.held -= 1;
        }
        was_set
    }

    /// The pieces that are set, in order. Skips eight at a time where nothing is set.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.bytes.iter().zip((0u32..).step_by(8)).filter(|(byte, _)| **byte != 0).flat_map(
            |(byte, first)| (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| first + bit),
        )
    }

    /// There is a piece that we have and the other has not. Both are of the same content.
    #[must_use]
    pub fn has_more_than(&self, other: &Self) -> bool {
        self.bytes.iter().zip(&other.bytes).any(|(ours, theirs)| ours & !theirs != 0)
    }
}

const fn byte_count(piece_count: u32) -> usize {
    piece_count.div_ceil(8) as usize
}

/// Bits of the last byte that stand for no piece.
const fn spare_bits(piece_count: u32) -> u8 {
    match piece_count % 8 {
        0 => 0,
        used => 0xff >> used,
    }
}

const fn byte_of(piece: u32) -> usize {
    (piece / 8) as usize
}

const fn mask_of(piece: u32) -> u8 {
    0x80 >> (piece % 8)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bits_are_in_the_order_of_the_examples() {
        // Dossier 5.4, F7 and F8.
        let mut three = Bitfield::new(3);
        assert!(three.set(0) && three.set(2));
        assert_eq!(three.to_bytes(), [0xa0]);
        assert_eq!(Bitfield::full(3).to_bytes(), [0xe0]);
        assert_eq!(Bitfield::full(71).to_bytes(), [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]);
    }

    #[test]
    fn a_wrong_length_and_spare_bits_are_refused() {
        let length = |bytes: &[u8], count| Bitfield::from_wire(bytes, count).unwrap_err();
        assert_eq!(length(&[], 3), Violation::BitfieldLength { expected: 1, received: 0 });
        assert_eq!(length(&[0, 0], 8), Violation::BitfieldLength { expected: 1, received: 2 });
        assert_eq!(length(&[0xf0], 3), Violation::BitfieldSpareBits);
        assert_eq!(length(&[0, 0x40], 9), Violation::BitfieldSpareBits);
        assert!(Bitfield::from_wire(&[0xff], 8).unwrap().is_full());
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_set(count in 1u32..200, changes in prop::collection::vec((any::<bool>(), 0u32..220), 0..300)) {
            let (mut bits, mut set) = (Bitfield::new(count), BTreeSet::new());
            for (adds, piece) in changes {
                if adds {
                    prop_assert_eq!(bits.set(piece), piece < count && set.insert(piece));
                } else {
                    prop_assert_eq!(bits.clear(piece), set.remove(&piece));
                }
            }
            prop_assert!(bits.iter().eq(set.iter().copied()));
            prop_assert_eq!(bits.held() as usize, set.len());
            prop_assert_eq!((bits.is_empty(), bits.is_full()), (set.is_empty(), set.len() == count as usize));
            prop_assert_eq!(&Bitfield::from_wire(&bits.to_bytes(), count).unwrap(), &bits);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40), count in 1u32..300) {
            if let Ok(bits) = Bitfield::from_wire(&bytes, count) {
                prop_assert!(bits.iter().all(|piece| piece < count));
                prop_assert_eq!(bits.iter().count(), bits.held() as usize);
                prop_assert_eq!(bits.to_bytes(), bytes);
            }
        }
    }
}
