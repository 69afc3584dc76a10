//! The content that the origin serves: every byte follows from path and offset, so any range of any reply can be checked.
//!
//! Byte `offset` of `path` is byte `(shift(path) + offset) mod PERIOD` of a fixed pattern. The period is prime: pieces of 1 MiB
//! never begin at the same place of the pattern, and a piece that is served in place of another shows at its first bytes.

/// Length of the pattern, the largest prime below 2^22.
const PERIOD: usize = 4_194_301;

/// Longest run of bytes that [`Content::run`] gives at once.
pub(crate) const LONGEST_RUN: usize = 1 << 20;

/// The pattern in memory.
#[derive(Debug)]
pub(crate) struct Content {
    /// One period, and its first [`LONGEST_RUN`] bytes once more, so that no run is interrupted.
    pattern: Vec<u8>,
}

/// Where in the pattern the content of one path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shift(usize);

impl Shift {
    /// The shift of a path: its FNV-1a hash.
    pub(crate) fn of(path: &str) -> Self {
        let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Self(usize::try_from(hash % PERIOD as u64).unwrap_or(0))
    }
}

impl Content {
    pub(crate) fn new() -> Self {
        let words = (0..PERIOD.div_ceil(8) as u64).map(word);
        let mut pattern: Vec<u8> = words.flat_map(u64::to_le_bytes).take(PERIOD).collect();
        pattern.extend_from_within(..LONGEST_RUN);
        Self { pattern }
    }

    /// The bytes of a content from `offset` on: `length` of them, at most [`LONGEST_RUN`].
    pub(crate) fn run(&self, shift: Shift, offset: u64, length: u64) -> &[u8] {
        let length = usize::try_from(length).map_or(LONGEST_RUN, |length| length.min(LONGEST_RUN));
        let start = (shift.0 as u64 + offset) % PERIOD as u64;
        let start = usize::try_from(start).unwrap_or(0);
        &self.pattern[start..start + length]
    }

    /// The first offset at which `bytes` are not the content from `offset` on.
    pub(crate) fn first_difference(&self, shift: Shift, mut offset: u64, mut bytes: &[u8]) -> Option<u64> {
        while !bytes.is_empty() {
            let expected = self.run(shift, offset, bytes.len() as u64);
            let (found, rest) = bytes.split_at(expected.len());
            if found != expected {
                let place = found.iter().zip(expected).position(|(found, expected)| found != expected)?;
                return Some(offset + place as u64);
            }
            offset += expected.len() as u64;
            bytes = rest;
        }
        None
    }
}

/// SplitMix64 at a position.
const fn word(position: u64) -> u64 {
    let mut word = position.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula once more, one byte at a time.
    fn byte(shift: Shift, offset: u64) -> u8 {
        let place = (shift.0 as u64 + offset) % PERIOD as u64;
        word(place / 8).to_le_bytes()[usize::try_from(place % 8).unwrap()]
    }

    #[test]
    fn a_run_is_the_formula_at_each_offset_also_over_the_end_of_the_pattern() {
        let content = Content::new();
        for path in ["/o/5/a", "/o/5/b", ""] {
            let shift = Shift::of(path);
            let end = PERIOD as u64 - shift.0 as u64;
            for offset in [0, 1, end - 3, end, (1 << 40) + 7] {
                let run = content.run(shift, offset, 9);
                let expected: Vec<u8> = (offset..offset + 9).map(|offset| byte(shift, offset)).collect();
                assert_eq!(run, expected, "{path} at {offset}");
            }
        }
    }

    #[test]
    fn one_changed_byte_is_found_at_its_offset() {
        let content = Content::new();
        let shift = Shift::of("/x");
        let (offset, length) = (77, LONGEST_RUN as u64 + 500);
        let mut bytes: Vec<u8> = (offset..offset + length).map(|offset| byte(shift, offset)).collect();
        assert_eq!(content.first_difference(shift, offset, &bytes), None);
        let changed = LONGEST_RUN + 20;
        bytes[changed] ^= 1;
        assert_eq!(content.first_difference(shift, offset, &bytes), Some(offset + changed as u64));
    }

    #[test]
    fn a_piece_in_place_of_another_is_found() {
        let content = Content::new();
        let shift = Shift::of("/x");
        let first = content.run(shift, 0, 1 << 20).to_vec();
        for piece in 1..1024 {
            assert!(content.first_difference(shift, piece << 20, &first).is_some(), "piece {piece}");
        }
    }
}
