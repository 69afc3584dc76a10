//! For a download as a whole (dossier delivery-optimization 5.6): what few have is spread first, so that it is not lost with them.

use super::{Candidate, PiecePicker};

/// The piece that the fewest peers have; random among equals, so that peers which begin together ask for different ones.
#[derive(Clone, Copy, Debug)]
pub struct RarestFirst {
    state: u64,
}

impl RarestFirst {
    /// Peers need different seeds, nothing more: chance decides about nothing that somebody could gain by knowing.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// SplitMix64.
    const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl PiecePicker for RarestFirst {
    fn pick(&mut self, candidates: &mut dyn Iterator<Item = Candidate>) -> Option<u32> {
        let mut best: Option<Candidate> = None;
        let mut equals = 0_u64;
        for candidate in candidates {
            match best {
                Some(best) if candidate.holders > best.holders => continue,
                Some(best) if candidate.holders == best.holders => equals += 1,
                _ => equals = 1,
            }
            // The n-th of equals replaces what was chosen with a chance of one in n: each has the same in the end.
            if self.next().is_multiple_of(equals) {
                best = Some(candidate);
            }
        }
        best.map(|candidate| candidate.piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(holders: &[u32]) -> impl Iterator<Item = Candidate> {
        (0..).zip(holders).map(|(piece, holders)| Candidate { piece, holders: *holders })
    }

    #[test]
    fn what_the_fewest_have_comes_first() {
        for seed in 0..100 {
            let picked = RarestFirst::new(seed).pick(&mut candidates(&[3, 2, 9, 1, 2]));
            assert_eq!(picked, Some(3), "seed {seed}");
        }
        assert_eq!(RarestFirst::new(0).pick(&mut candidates(&[])), None);
    }

    #[test]
    fn equals_are_picked_equally_often() {
        let mut picker = RarestFirst::new(1);
        let mut counts = [0_u32; 5];
        for _ in 0..9_000 {
            let piece = picker.pick(&mut candidates(&[1, 7, 1, 1, 7])).unwrap();
            counts[piece as usize] += 1;
        }
        // A third each; six standard deviations of a fair choice are 268.
        let is_fair = [0, 2, 3].iter().all(|piece| counts[*piece].abs_diff(3_000) < 268);
        assert!(is_fair && counts[1] + counts[4] == 0, "{counts:?}");
    }
}
