//! For a client that reads from some place on.

use super::{Candidate, PiecePicker};

/// What is read next comes first; what lies before the reader comes last, in order too.
#[derive(Clone, Copy, Debug, Default)]
pub struct InOrder {
    position: u32,
}

impl InOrder {
    /// Reading begins at this piece.
    #[must_use]
    pub const fn at(position: u32) -> Self {
        Self { position }
    }

    /// Reading goes on at this piece.
    pub const fn seek(&mut self, position: u32) {
        self.position = position;
    }
}

impl PiecePicker for InOrder {
    fn pick(&mut self, candidates: &mut dyn Iterator<Item = Candidate>) -> Option<u32> {
        let mut before = None;
        for Candidate { piece, .. } in candidates {
            if piece >= self.position {
                return Some(piece);
            }
            before = before.or(Some(piece));
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_next_comes_first() {
        let mut picker = InOrder::at(5);
        let mut pick = |pieces: &[u32]| {
            picker.pick(&mut pieces.iter().map(|piece| Candidate { piece: *piece, holders: 1 }))
        };
        assert_eq!(pick(&[1, 4, 5, 6]), Some(5));
        assert_eq!(pick(&[1, 4, 9]), Some(9));
        assert_eq!(pick(&[1, 4]), Some(1));
        assert_eq!(pick(&[]), None);
    }
}
