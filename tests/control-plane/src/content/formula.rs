//! Objects without a file: byte `i` is a pure function of the seed and `i`, so any range can be computed alone.
//!
//! The bytes are the output of the SplitMix64 generator (Steele, Lea and Flood, 2014) started at `seed`, each
//! 64-bit output written in little-endian order: byte `i` is byte `i mod 8` of output number `i div 8`, and output
//! number `n` (counted from 0) is `mix(seed + (n + 1) * 0x9E3779B97F4A7C15)` with
//!
//! ```text
//! mix(z): z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
//!         z = (z ^ (z >> 27)) * 0x94D049BB133111EB
//!         z ^ (z >> 31)                                    all modulo 2^64
//! ```
//!
//! `mix` is a bijection, so no two words of an object are equal and a misplaced piece is always noticed.

const INCREMENT: u64 = 0x9E37_79B9_7F4A_7C15;
const WORD_BYTES: u64 = 8;
const WORD_SIZE: usize = 8;

/// Output number `index` of the generator started at `seed`.
const fn word(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(INCREMENT));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// One byte of the object.
#[must_use]
pub fn byte(seed: u64, offset: u64) -> u8 {
    word(seed, offset / WORD_BYTES).to_le_bytes()[position_in_word(offset)]
}

/// Below 8, so nothing is lost.
const fn position_in_word(offset: u64) -> usize {
    (offset % WORD_BYTES) as usize
}

/// Fills `buffer` with the bytes from `offset` on.
pub fn fill(seed: u64, offset: u64, buffer: &mut [u8]) {
    let to_boundary = (WORD_SIZE - position_in_word(offset)) % WORD_SIZE;
    let (head, rest) = buffer.split_at_mut(to_boundary.min(buffer.len()));
    for (target, position) in head.iter_mut().zip(offset..) {
        *target = byte(seed, position);
    }
    let mut index = offset.div_ceil(WORD_BYTES);
    let mut words = rest.chunks_exact_mut(WORD_SIZE);
    for target in &mut words {
        target.copy_from_slice(&word(seed, index).to_le_bytes());
        index = index.wrapping_add(1);
    }
    let tail = words.into_remainder();
    let last = word(seed, index).to_le_bytes();
    let count = tail.len();
    tail.copy_from_slice(&last[..count]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// First outputs for seed 1234567 as published with other implementations of SplitMix64.
    const PUBLISHED: [u64; 5] = [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
        4_593_380_528_125_082_431,
        16_408_922_859_458_223_821,
    ];

    #[test]
    fn the_words_are_those_of_splitmix64() {
        let expected: Vec<u8> = PUBLISHED.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut bytes = [0; 40];
        fill(1_234_567, 0, &mut bytes);
        assert_eq!(bytes.as_slice(), expected);
    }

    proptest! {
        #[test]
        fn any_range_is_the_bytes_one_by_one(seed: u64, offset in 0..u64::MAX / 2, length in 0_usize..64) {
            let mut range = vec![0; length];
            fill(seed, offset, &mut range);
            let single: Vec<u8> = (offset..).take(length).map(|position| byte(seed, position)).collect();
            prop_assert_eq!(range, single);
        }
    }
}
