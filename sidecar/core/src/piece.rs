//! Pieces: content is fetched, stored and hashed in 1 MiB units aligned to 1 MiB (dossier delivery-optimization 0.3, 1.5).
//! A [`PieceIndex`] only comes from the [`PieceLayout`] that checked its bound.

use crate::ByteRange;

/// Length of every piece but the last.
pub const PIECE_LENGTH_BYTES: u64 = 1 << 20;

/// How content of a known length falls into pieces. Empty content has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PieceLayout {
    content_length_bytes: u64,
}

/// Number of a piece that exists in its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceIndex(u64);

impl PieceIndex {
    /// The number, from 0.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl PieceLayout {
    /// The layout of content of so many bytes.
    #[must_use]
    pub const fn new(content_length_bytes: u64) -> Self {
        Self { content_length_bytes }
    }

    /// Length of the content.
    #[must_use]
    pub const fn content_length_bytes(self) -> u64 {
        self.content_length_bytes
    }

    /// Number of pieces.
    #[must_use]
    pub const fn piece_count(self) -> u64 {
        self.content_length_bytes.div_ceil(PIECE_LENGTH_BYTES)
    }

    /// The piece with this number, if there is one.
    #[must_use]
    pub fn piece(self, number: u64) -> Option<PieceIndex> {
        (number < self.piece_count()).then_some(PieceIndex(number))
    }

    /// The piece that holds the byte at this offset, if the content is that long.
    #[must_use]
    pub fn piece_at(self, offset_bytes: u64) -> Option<PieceIndex> {
        (offset_bytes < self.content_length_bytes).then_some(PieceIndex(offset_bytes / PIECE_LENGTH_BYTES))
    }

    /// The bytes of a piece. The index must come from this layout or one of longer or equal content; beyond the end the
    /// range is clamped to the last byte.
    #[must_use]
    pub fn range_of(self, piece: PieceIndex) -> ByteRange {
        let first = piece.0 * PIECE_LENGTH_BYTES;
        let last = (first + PIECE_LENGTH_BYTES).min(self.content_length_bytes).max(first + 1) - 1;
        ByteRange { first, last }
    }

    /// Every piece that holds a byte of the range, in order.
    pub fn pieces_of(self, range: ByteRange) -> impl Iterator<Item = PieceIndex> + use<> {
        let last = range.last.min(self.content_length_bytes.saturating_sub(1)) / PIECE_LENGTH_BYTES;
        let none = range.first >= self.content_length_bytes;
        (range.first / PIECE_LENGTH_BYTES..=last).filter(move |_| !none).map(PieceIndex)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_around_the_edges() {
        for (length, count) in
            [(0, 0), (1, 1), (1_048_575, 1), (1_048_576, 1), (1_048_577, 2), (u64::MAX, 1 << 44)]
        {
            let layout = PieceLayout::new(length);
            assert_eq!(layout.piece_count(), count, "{length}");
            assert_eq!(layout.piece(count), None, "{length}");
            assert_eq!(layout.piece_at(length), None, "{length}");
        }
        let last = PieceLayout::new(1_048_577).piece(1).unwrap();
        assert_eq!(
            PieceLayout::new(1_048_577).range_of(last),
            ByteRange { first: 1_048_576, last: 1_048_576 }
        );
    }

    proptest! {
        #[test]
        fn pieces_cover_the_content_without_gap_or_overlap(length in 0u64..20 * PIECE_LENGTH_BYTES) {
            let layout = PieceLayout::new(length);
            let mut next = 0;
            for number in 0..layout.piece_count() {
                let range = layout.range_of(layout.piece(number).unwrap());
                prop_assert_eq!(range.first, next);
                prop_assert!(range.length() <= PIECE_LENGTH_BYTES);
                next = range.last + 1;
            }
            prop_assert_eq!(next, length);
        }

        #[test]
        fn pieces_of_a_range_hold_its_bytes_and_no_piece_more(length in 1u64..20 * PIECE_LENGTH_BYTES, a: u64, b: u64) {
            let (a, b) = (a % length, b % length);
            let range = ByteRange { first: a.min(b), last: a.max(b) };
            let layout = PieceLayout::new(length);
            let pieces: Vec<PieceIndex> = layout.pieces_of(range).collect();
            prop_assert_eq!(pieces.first().copied(), layout.piece_at(range.first));
            prop_assert_eq!(pieces.last().copied(), layout.piece_at(range.last));
            prop_assert_eq!(pieces.len() as u64, range.last / PIECE_LENGTH_BYTES - range.first / PIECE_LENGTH_BYTES + 1);
        }
    }
}
