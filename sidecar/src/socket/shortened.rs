//! Slices of one write, cut so that they hold no more body bytes than may go now. A body is recognised by its address, here and
//! below, so what is left of a slice begins where the slice began.

use std::io::IoSlice;

use super::Ledger;

/// Slices that one paced write looks at; the rest waits for the next one.
const MOST_SLICES: usize = 16;

/// What a write holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// Something other than body bytes stands at the front: a reply head.
    pub(super) begins_with_head: bool,
    pub(super) body_bytes: u64,
}

impl Contents {
    pub(super) fn of(slices: &[IoSlice<'_>], ledger: &Ledger) -> Self {
        let (mut contents, state) = (Self { begins_with_head: false, body_bytes: 0 }, ledger.state.lock());
        for slice in slices.iter().take(MOST_SLICES).filter(|slice| !slice.is_empty()) {
            if state.holds(slice.as_ptr().addr()) {
                contents.body_bytes += slice.len() as u64;
            } else if contents.body_bytes == 0 {
                contents.begins_with_head = true;
            }
        }
        contents
    }
}

/// The front of some slices.
pub(super) struct Shortened<'a> {
    slices: [IoSlice<'a>; MOST_SLICES],
    count: usize,
}

impl<'a> Shortened<'a> {
    /// Up to the first slice that does not fit whole.
    pub(super) fn to(mut allowed_body_bytes: u64, slices: &'a [IoSlice<'_>], ledger: &Ledger) -> Self {
        let mut shortened = Self { slices: [IoSlice::new(&[]); MOST_SLICES], count: 0 };
        let state = ledger.state.lock();
        for slice in slices.iter().take(MOST_SLICES) {
            let mut length = slice.len();
            if state.holds(slice.as_ptr().addr()) {
                length = length.min(usize::try_from(allowed_body_bytes).unwrap_or(usize::MAX));
                allowed_body_bytes -= length as u64;
            }
            shortened.slices[shortened.count] = IoSlice::new(&slice[..length]);
            shortened.count += 1;
            if length < slice.len() {
                break;
            }
        }
        shortened
    }

    pub(super) fn as_slices(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use bytes::Bytes;

    use super::{super::Peer, *};
    use crate::metrics::Source;

    fn ledger_of(bodies: &[&Bytes]) -> Ledger {
        let ledger = Ledger::new(Arc::default(), Peer::LOCAL, Duration::from_secs(1));
        for body in bodies {
            ledger.expect(body, Source::Disk);
        }
        ledger
    }

    fn places(slices: &[IoSlice<'_>]) -> Vec<(usize, usize)> {
        slices.iter().map(|slice| (slice.as_ptr().addr(), slice.len())).collect()
    }

    #[tokio::test]
    async fn only_bodies_are_cut_and_nothing_moves() {
        let (first, second) = (Bytes::from(vec![1; 100]), Bytes::from(vec![2; 50]));
        let (head, ledger) = (vec![0; 30], ledger_of(&[&first, &second]));
        let slices = [IoSlice::new(&head), IoSlice::new(&first), IoSlice::new(&second)];
        assert_eq!(Contents::of(&slices, &ledger), Contents { begins_with_head: true, body_bytes: 150 });
        let all = places(&slices);
        for (allowed, lengths) in [
            (0, vec![30, 0]),
            (1, vec![30, 1]),
            (100, vec![30, 100, 0]),
            (149, vec![30, 100, 49]),
            (999, vec![30, 100, 50]),
        ] {
            let cut = Shortened::to(allowed, &slices, &ledger);
            let expected: Vec<_> =
                all.iter().zip(&lengths).map(|((start, _), length)| (*start, *length)).collect();
            assert_eq!(places(cut.as_slices()), expected, "{allowed}");
        }
    }

    #[tokio::test]
    async fn the_rest_of_a_body_is_still_a_body_and_a_head_behind_one_is_no_beginning() {
        let (body, head) = (Bytes::from(vec![1; 100]), vec![0; 30]);
        let ledger = ledger_of(&[&body]);
        ledger.wrote(&[IoSlice::new(&body)], 40);
        let slices = [IoSlice::new(&body[40..]), IoSlice::new(&head)];
        assert_eq!(Contents::of(&slices, &ledger), Contents { begins_with_head: false, body_bytes: 60 });
        assert_eq!(Shortened::to(60, &slices, &ledger).as_slices().len(), 2);
    }

    #[tokio::test]
    async fn any_number_of_slices_is_taken_a_few_at_a_time() {
        let bodies: Vec<Bytes> = (0..40_u8).map(|byte| Bytes::from(vec![byte; 10])).collect();
        let ledger = ledger_of(&bodies.iter().collect::<Vec<_>>());
        let slices: Vec<IoSlice<'_>> = bodies.iter().map(|body| IoSlice::new(body)).collect();
        let contents = Contents::of(&slices, &ledger);
        let cut = Shortened::to(contents.body_bytes, &slices, &ledger);
        assert!(!cut.as_slices().is_empty() && cut.as_slices().len() < 40);
        let bytes: usize = cut.as_slices().iter().map(|slice| slice.len()).sum();
        assert_eq!(bytes as u64, contents.body_bytes);
    }
}
