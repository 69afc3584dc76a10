//! Who of the foreign peers may ask us. Members have slots of their own and never come here: they are always unchoked.
//!
//! A free slot goes to who waits longest. While somebody waits, a slot is given on after [`TURN`], so that each gets one in turn
//! whatever the others do. Invariant: never more holders than slots; nobody waits while a slot is free.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a slot is held at least while others wait: long enough for several pieces.
pub const TURN: Duration = Duration::from_secs(10);

/// See the module. `K` names a connection.
#[derive(Clone, Debug)]
pub struct UploadSlots<K> {
    slots: usize,
    /// Longest holder first.
    holders: VecDeque<(K, Instant)>,
    /// Longest waiting first.
    waiting: VecDeque<K>,
}

/// What a connection is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotChange<K> {
    /// Which one.
    pub connection: K,
    /// For [`Connection::allow`](super::Connection::allow).
    pub unchoked: bool,
}

impl<K: Copy + Eq> UploadSlots<K> {
    /// So many slots, all free.
    #[must_use]
    pub const fn new(slots: usize) -> Self {
        Self { slots, holders: VecDeque::new(), waiting: VecDeque::new() }
    }

    /// A foreign peer is interested. It waits until [`Self::rebalance`] gives it a slot.
    pub fn interested(&mut self, connection: K) {
        let holds = self.holders.iter().any(|(holder, _)| *holder == connection);
        if !holds && !self.waiting.contains(&connection) {
            self.waiting.push_back(connection);
        }
    }

    /// It is no longer interested, or gone. True: it held a slot and is to be choked, if it is still there.
    pub fn leave(&mut self, connection: K) -> bool {
        self.waiting.retain(|waiting| *waiting != connection);
        let held = self.holders.len();
        self.holders.retain(|(holder, _)| *holder != connection);
        self.holders.len() < held
    }

    /// Gives free slots and those whose turn is over to who waits. Chokes come first.
    pub fn rebalance(&mut self, now: Instant) -> Vec<SlotChange<K>> {
        let wanted = self.waiting.len().saturating_sub(self.slots.saturating_sub(self.holders.len()));
        let over = self.holders.iter().take(wanted).take_while(|(_, since)| *since + TURN <= now).count();
        let choked: Vec<K> = self.holders.drain(..over).map(|(holder, _)| holder).collect();
        let free = self.slots.saturating_sub(self.holders.len());
        let unchoked: Vec<K> = self.waiting.drain(..free.min(self.waiting.len())).collect();
        self.holders.extend(unchoked.iter().map(|holder| (*holder, now)));
        // Who was choked still wants something.
        self.waiting.extend(&choked);
        let change = |unchoked| move |connection| SlotChange { connection, unchoked };
        choked.into_iter().map(change(false)).chain(unchoked.into_iter().map(change(true))).collect()
    }

    /// When [`Self::rebalance`] will have something to do if nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        self.holders.front().map(|(_, since)| *since + TURN)
    }

    /// How many hold a slot, and how many wait.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.holders.len(), self.waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const fn change(connection: u8, unchoked: bool) -> SlotChange<u8> {
        SlotChange { connection, unchoked }
    }

    #[test]
    fn a_free_slot_goes_to_who_waits_longest() {
        let (mut slots, now) = (UploadSlots::new(2), Instant::now());
        for peer in [1, 2, 3, 3, 1] {
            slots.interested(peer);
        }
        assert_eq!(slots.rebalance(now), [change(1, true), change(2, true)]);
        assert_eq!(slots.rebalance(now), []);
        assert!(slots.leave(1) && !slots.leave(1));
        assert_eq!(slots.rebalance(now), [change(3, true)]);
        assert_eq!(slots.poll_timeout(), None, "nobody waits");
    }

    #[test]
    fn everybody_has_a_turn() {
        let (mut slots, start) = (UploadSlots::new(2), Instant::now());
        (0..5).for_each(|peer| slots.interested(peer));
        let mut now = start;
        let mut turns = Vec::new();
        for _ in 0..5 {
            turns.extend(slots.rebalance(now).into_iter().filter(|change| change.unchoked));
            now = slots.poll_timeout().unwrap();
        }
        assert_eq!(now, start + 5 * TURN);
        let peers: Vec<u8> = turns.iter().map(|change| change.connection).collect();
        assert_eq!(peers, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn without_slots_everybody_is_choked() {
        let mut slots = UploadSlots::new(0);
        slots.interested(1);
        assert_eq!(slots.rebalance(Instant::now()), []);
    }

    proptest! {
        #[test]
        fn there_are_never_more_holders_than_slots(
            count in 0usize..5,
            steps in prop::collection::vec((0u8..3, 0u8..12), 0..80),
        ) {
            let (mut slots, mut now) = (UploadSlots::new(count), Instant::now());
            let (mut told, mut interested) = (BTreeSet::new(), BTreeSet::new());
            for (step, peer) in steps {
                match step {
                    0 => {
                        slots.interested(peer);
                        interested.insert(peer);
                    }
                    1 => {
                        prop_assert_eq!(slots.leave(peer), told.remove(&peer));
                        interested.remove(&peer);
                    }
                    _ => now += Duration::from_secs(u64::from(peer)),
                }
                for change in slots.rebalance(now) {
                    let is_new =
                        if change.unchoked { told.insert(change.connection) } else { told.remove(&change.connection) };
                    prop_assert!(is_new, "{change:?} is no change");
                }
                prop_assert!(told.is_subset(&interested));
                prop_assert_eq!(told.len(), interested.len().min(count));
            }
        }
    }
}
