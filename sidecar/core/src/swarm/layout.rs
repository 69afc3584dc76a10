//! How content falls into the pieces of a swarm. Piece numbers are 32 bits wide on the wire, so longer content is refused here.

use connected_cache_wire::swarm::{MAX_PIECE_DATA_BYTES, PieceRange};
use thiserror::Error;

/// Pieces of content of a known length; all but the last are equally long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SwarmLayout {
    content_length_bytes: u64,
    piece_length_bytes: u32,
    piece_count: u32,
}

/// Why content can't be shared by pieces of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// Nothing would ever be asked for.
    #[error("content of 0 bytes has no pieces; serve it without a swarm")]
    Empty,
    /// Pieces need a length that one frame can carry.
    #[error("pieces of {0} bytes; a piece has 1 to {MAX_PIECE_DATA_BYTES} bytes")]
    PieceLength(u64),
    /// Numbers of pieces have 32 bits.
    #[error("{0} pieces; a swarm has at most {max}; serve it without a swarm", max = u32::MAX)]
    TooManyPieces(u64),
}

impl SwarmLayout {
    /// The layout of content of so many bytes in pieces of so many bytes.
    pub fn new(content_length_bytes: u64, piece_length_bytes: u64) -> Result<Self, LayoutError> {
        if content_length_bytes == 0 {
            return Err(LayoutError::Empty);
        }
        let piece_length = u32::try_from(piece_length_bytes)
            .ok()
            .filter(|length| (1..=MAX_PIECE_DATA_BYTES).contains(length))
            .ok_or(LayoutError::PieceLength(piece_length_bytes))?;
        let count = content_length_bytes.div_ceil(u64::from(piece_length));
        let piece_count = u32::try_from(count).map_err(|_| LayoutError::TooManyPieces(count))?;
        Ok(Self { content_length_bytes, piece_length_bytes: piece_length, piece_count })
    }

    /// Length of the content, at least 1.
    #[must_use]
    pub const fn content_length_bytes(self) -> u64 {
        self.content_length_bytes
    }

    /// Length of every piece but the last.
    #[must_use]
    pub const fn piece_length_bytes(self) -> u32 {
        self.piece_length_bytes
    }

    /// Number of pieces, at least 1.
    #[must_use]
    pub const fn piece_count(self) -> u32 {
        self.piece_count
    }

    /// Length of a piece; `None` = there is no such piece.
    #[must_use]
    pub fn length_of(self, piece: u32) -> Option<u32> {
        if piece >= self.piece_count {
            return None;
        }
        let rest = self.content_length_bytes - u64::from(piece) * u64::from(self.piece_length_bytes);
        Some(u32::try_from(rest).unwrap_or(u32::MAX).min(self.piece_length_bytes))
    }

    /// The range that is a whole piece; `None` = there is no such piece.
    #[must_use]
    pub fn whole(self, piece: u32) -> Option<PieceRange> {
        self.length_of(piece).map(|length| PieceRange { piece, begin: 0, length })
    }

    /// The piece exists and the range is inside of it and not empty (dossier 5.5).
    #[must_use]
    pub fn contains(self, range: PieceRange) -> bool {
        range.length > 0 && self.length_of(range.piece).is_some_and(|length| range.end() <= u64::from(length))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The content of the dossier's example frames (5.4).
    fn example() -> SwarmLayout {
        SwarmLayout::new(2 * 1_048_576 + 524_293, 1_048_576).unwrap()
    }

    #[test]
    fn the_last_piece_is_as_long_as_what_is_left() {
        let lengths: Vec<_> = (0..4).map(|piece| example().length_of(piece)).collect();
        assert_eq!(lengths, [Some(1_048_576), Some(1_048_576), Some(524_293), None]);
        assert_eq!(SwarmLayout::new(2_097_152, 1_048_576).unwrap().length_of(1), Some(1_048_576));
    }

    #[test]
    fn content_that_numbers_of_32_bits_cannot_describe_is_refused() {
        assert_eq!(SwarmLayout::new(0, 1), Err(LayoutError::Empty));
        assert_eq!(SwarmLayout::new(1, 0), Err(LayoutError::PieceLength(0)));
        assert_eq!(SwarmLayout::new(1, 2_047_992), Err(LayoutError::PieceLength(2_047_992)));
        assert_eq!(SwarmLayout::new(u64::from(u32::MAX), 1).map(SwarmLayout::piece_count), Ok(u32::MAX));
        assert_eq!(SwarmLayout::new(1 << 32, 1), Err(LayoutError::TooManyPieces(1 << 32)));
        assert_eq!(SwarmLayout::new(u64::MAX, 1_048_576), Err(LayoutError::TooManyPieces(1 << 44)));
    }

    #[test]
    fn a_range_is_inside_one_piece() {
        let contains = |piece, begin, length| example().contains(PieceRange { piece, begin, length });
        assert!(contains(0, 0, 1_048_576) && contains(2, 0, 524_293) && contains(1, 1_048_575, 1));
        assert!(!contains(3, 0, 1) && !contains(0, 0, 0) && !contains(0, 1, 1_048_576));
        assert!(!contains(2, 0, 524_294) && !contains(0, u32::MAX, u32::MAX));
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_content(length in 1u64..5_000, piece_length in 1u64..600) {
            let layout = SwarmLayout::new(length, piece_length).unwrap();
            let sum: u64 = (0..layout.piece_count()).map(|piece| u64::from(layout.length_of(piece).unwrap())).sum();
            prop_assert_eq!(sum, length);
            prop_assert_eq!(layout.length_of(layout.piece_count()), None);
        }
    }
}
