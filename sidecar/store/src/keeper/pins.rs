//! Which objects are pinned until when, and what happens when a pin is over.

use std::collections::BTreeMap;

use super::Keeper;
use crate::policy::PinnedUntil;
use crate::volume::seconds_now;

/// Pinned objects of a volume, by number. Objects that are not pinned cost nothing here.
#[derive(Debug, Default)]
pub(super) struct PinBoard {
    pins: BTreeMap<u64, PinnedUntil>,
    /// The first that ends.
    next: Option<u64>,
}

impl PinBoard {
    pub(super) fn put(&mut self, number: u64, pin: PinnedUntil) {
        self.pins.insert(number, pin);
        if let PinnedUntil::Second(end) = pin {
            self.next = Some(self.next.map_or(end, |next| next.min(end)));
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.pins.remove(&number);
    }

    /// Takes out the objects whose pins are over.
    fn take_ended(&mut self, now: u64) -> Vec<u64> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let ended: Vec<u64> =
            self.pins.iter().filter(|(_, pin)| pin.is_over(now)).map(|(number, _)| *number).collect();
        for number in &ended {
            self.pins.remove(number);
        }
        let ends = self.pins.values().filter_map(|pin| match pin {
            PinnedUntil::Second(end) => Some(*end),
            PinnedUntil::Forever => None,
        });
        self.next = ends.min();
        ended
    }
}

impl Keeper {
    /// Objects whose pins are over may be evicted like any other from now on.
    pub(super) fn end_pins(&mut self) {
        let ended = self.pins.take_ended(seconds_now());
        if ended.is_empty() {
            return;
        }
        for object in ended.iter().filter_map(|number| self.objects.get(number)) {
            object.unpin();
        }
        let pins = &self.pins.pins;
        self.eviction.unpin(|(number, _)| pins.contains_key(&number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_end_at_their_second_and_those_without_end_never() {
        let mut board = PinBoard::default();
        for (number, pin) in [
            (1, PinnedUntil::Second(10)),
            (2, PinnedUntil::Forever),
            (4, PinnedUntil::Second(20)),
            (5, PinnedUntil::Second(10)),
        ] {
            board.put(number, pin);
        }
        assert_eq!(board.take_ended(9), []);
        board.remove(5);
        assert_eq!(board.take_ended(10), [1]);
        assert_eq!(board.take_ended(19), []);
        assert_eq!(board.take_ended(u64::MAX), [4]);
        assert_eq!(board.pins.keys().copied().collect::<Vec<_>>(), [2]);
    }
}
