//! Which group goes first: S3-FIFO, one queue pair for each content class.
//!
//! A new group enters the small queue; used again before it reaches the end it moves to the main queue, else it goes and
//! only its name is remembered. A group whose name is remembered enters the main queue at once. So one pass over a large
//! catalogue (a scan) evicts itself and not what is asked for every day. After Yang et al., "FIFO queues are all you need for
//! cache eviction", SOSP 2023.

use std::collections::{BTreeMap, HashSet, VecDeque};

/// What goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// S3-FIFO.
    #[default]
    ScanResistant,
    /// What was not used for longest, by second chances.
    LeastRecentlyUsed,
}

/// A group of an object.
pub(crate) type Name = (u64, u32);

/// Share of the small queue, in percent of the groups.
const SMALL_PERCENT: usize = 10;

/// Entries of a class below which those of groups that are gone may stay: some KiB.
const LEAST_SWEPT: usize = 512;

/// The queues of one class.
#[derive(Debug, Default)]
struct Queues {
    small: VecDeque<(Name, u64)>,
    main: VecDeque<(Name, u64)>,
    ghost: VecDeque<Name>,
    remembered: HashSet<Name>,
    /// Groups of pinned objects, oldest first. They are no victims of the usual order.
    pinned: VecDeque<(Name, u64)>,
    /// Entries at which those of groups that are gone are looked for.
    sweep_at: usize,
}

/// What the evictor asks of a group.
pub(crate) trait Groups {
    /// Uses since the last time this was asked, at most 3; `None` when the group is gone. Asking takes one use away.
    fn take_use(&self, name: Name) -> Option<u8>;
    /// Uses, without taking any away.
    fn uses(&self, name: Name) -> Option<u8>;
}

/// The queues of all classes of a volume.
#[derive(Debug, Default)]
pub(crate) struct Eviction {
    classes: BTreeMap<u8, Queues>,
    /// Classes that go last.
    protected: Vec<u8>,
    order: Order,
    /// Counts insertions: the age of an entry.
    clock: u64,
}

impl Eviction {
    pub(crate) fn new(protected: Vec<u8>, order: Order) -> Self {
        Self { protected, order, ..Self::default() }
    }

    /// A group got its first piece.
    pub(crate) fn insert(&mut self, class: u8, name: Name, pinned: bool) {
        self.clock += 1;
        let queues = self.classes.entry(class).or_default();
        if pinned {
            queues.pinned.push_back((name, self.clock));
        } else if queues.remembered.remove(&name) || self.order == Order::LeastRecentlyUsed {
            queues.main.push_back((name, self.clock));
        } else {
            queues.small.push_back((name, self.clock));
        }
    }

    /// Takes the next victim: of the class whose oldest entry is oldest, unprotected classes first.
    pub(crate) fn victim(&mut self, groups: &impl Groups) -> Option<Name> {
        while let Some(class) = self.class_of_victim() {
            let victim =
                self.classes.get_mut(&class).and_then(|queues| queues.victim(groups, &mut self.clock));
            if victim.is_some() {
                return victim;
            }
            // Every entry of the class was of a group that is gone.
            if self.classes.get(&class).is_some_and(Queues::is_empty) {
                self.classes.remove(&class);
            }
        }
        None
    }

    /// Takes the next victim of one class.
    pub(crate) fn victim_of(&mut self, class: u8, groups: &impl Groups) -> Option<Name> {
        self.classes.get_mut(&class)?.victim(groups, &mut self.clock)
    }

    /// Takes the newest pinned group, of one class or of all: for when more is pinned than may be.
    pub(crate) fn pinned_victim(&mut self, class: Option<u8>, groups: &impl Groups) -> Option<Name> {
        loop {
            let newest = self
                .classes
                .iter_mut()
                .filter(|(number, _)| class.is_none_or(|class| class == **number))
                .max_by_key(|(_, queues)| queues.pinned.back().map(|(_, age)| *age));
            let (name, _) = newest?.1.pinned.pop_back()?;
            if groups.uses(name).is_some() {
                return Some(name);
            }
        }
    }

    /// Groups whose pins are over become what new groups are.
    pub(crate) fn unpin(&mut self, is_pinned: impl Fn(Name) -> bool) {
        for queues in self.classes.values_mut() {
            let (kept, ended) = queues.pinned.drain(..).partition(|(name, _)| is_pinned(*name));
            queues.pinned = kept;
            let ended: VecDeque<(Name, u64)> = ended;
            for (name, _) in ended {
                self.clock += 1;
                let queue = match self.order {
                    Order::ScanResistant => &mut queues.small,
                    Order::LeastRecentlyUsed => &mut queues.main,
                };
                queue.push_back((name, self.clock));
            }
        }
    }

    /// Lets go of entries of groups that are gone, where there are many.
    pub(crate) fn forget_gone(&mut self, groups: &impl Groups) {
        for queues in self.classes.values_mut() {
            let is_there = |(name, _): &(Name, u64)| groups.uses(*name).is_some();
            let entries = |queues: &Queues| queues.small.len() + queues.main.len() + queues.pinned.len();
            if entries(queues) >= queues.sweep_at.max(LEAST_SWEPT) {
                queues.small.retain(is_there);
                queues.main.retain(is_there);
                queues.pinned.retain(is_there);
                queues.sweep_at = 2 * entries(queues);
            }
        }
    }

    fn class_of_victim(&self) -> Option<u8> {
        let age = |(class, queues): (&u8, &Queues)| {
            Some((self.protected.contains(class), queues.oldest()?, *class))
        };
        self.classes.iter().filter_map(age).min().map(|(_, _, class)| class)
    }
}

impl Queues {
    fn is_empty(&self) -> bool {
        self.small.is_empty() && self.main.is_empty() && self.pinned.is_empty()
    }

    fn oldest(&self) -> Option<u64> {
        let ages = [self.small.front(), self.main.front()];
        ages.into_iter().flatten().map(|(_, age)| *age).min()
    }

    fn victim(&mut self, groups: &impl Groups, clock: &mut u64) -> Option<Name> {
        loop {
            let total = self.small.len() + self.main.len();
            let from_small = !self.small.is_empty()
                && (self.main.is_empty() || self.small.len() * 100 > total * SMALL_PERCENT);
            if from_small {
                let (name, _) = self.small.pop_front()?;
                match groups.uses(name) {
                    None => {}
                    Some(0) => {
                        self.remember(name);
                        return Some(name);
                    }
                    Some(_) => {
                        *clock += 1;
                        self.main.push_back((name, *clock));
                    }
                }
            } else {
                let (name, _) = self.main.pop_front()?;
                match groups.take_use(name) {
                    None => {}
                    Some(0) => return Some(name),
                    Some(_) => {
                        *clock += 1;
                        self.main.push_back((name, *clock));
                    }
                }
            }
        }
    }

    fn remember(&mut self, name: Name) {
        if self.remembered.insert(name) {
            self.ghost.push_back(name);
        }
        // As many names as there are groups in the main queue, and always some.
        while self.ghost.len() > self.main.len().max(64) {
            if let Some(name) = self.ghost.pop_front() {
                self.remembered.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    struct Uses(RefCell<BTreeMap<Name, u8>>);

    impl Uses {
        fn touch(&self, name: Name) {
            let mut uses = self.0.borrow_mut();
            let count = uses.entry(name).or_insert(0);
            *count = (*count + 1).min(3);
        }
    }

    impl Groups for Uses {
        fn take_use(&self, name: Name) -> Option<u8> {
            let mut uses = self.0.borrow_mut();
            let count = uses.get_mut(&name)?;
            let before = *count;
            *count = count.saturating_sub(1);
            Some(before)
        }
        fn uses(&self, name: Name) -> Option<u8> {
            self.0.borrow().get(&name).copied()
        }
    }

    fn insert(eviction: &mut Eviction, uses: &Uses, class: u8, name: Name) {
        uses.0.borrow_mut().insert(name, 0);
        eviction.insert(class, name, false);
    }

    #[test]
    fn a_scan_does_not_evict_what_is_used() {
        let (mut eviction, uses) = (Eviction::default(), Uses::default());
        for number in 0..10 {
            insert(&mut eviction, &uses, 0, (number, 0));
            uses.touch((number, 0));
        }
        let mut evicted = Vec::new();
        for number in 100..1000 {
            insert(&mut eviction, &uses, 0, (number, 0));
            for kept in 0..10 {
                uses.touch((kept, 0));
            }
            if number > 110 {
                let victim = eviction.victim(&uses).unwrap();
                uses.0.borrow_mut().remove(&victim);
                evicted.push(victim.0);
            }
        }
        assert!(evicted.iter().all(|number| *number >= 100), "a used group went: {evicted:?}");
    }

    #[test]
    fn by_last_use_a_new_group_outlives_an_older_one_that_was_not_used_since() {
        let (mut eviction, uses) = (Eviction::new(Vec::new(), Order::LeastRecentlyUsed), Uses::default());
        for number in 1..=3 {
            insert(&mut eviction, &uses, 0, (number, 0));
        }
        uses.touch((1, 0));
        let order: Vec<u64> = std::iter::from_fn(|| eviction.victim(&uses)).map(|name| name.0).collect();
        assert_eq!(order, [2, 3, 1]);
    }

    #[test]
    fn protected_classes_go_last_and_every_group_goes_in_the_end() {
        let (mut eviction, uses) = (Eviction::new(vec![1], Order::ScanResistant), Uses::default());
        insert(&mut eviction, &uses, 1, (1, 0));
        insert(&mut eviction, &uses, 2, (2, 0));
        insert(&mut eviction, &uses, 1, (3, 0));
        let order: Vec<u64> = std::iter::from_fn(|| eviction.victim(&uses)).map(|name| name.0).collect();
        assert_eq!(order, [2, 1, 3]);
    }

    #[test]
    fn a_group_that_comes_back_soon_enters_the_main_queue() {
        let (mut eviction, uses) = (Eviction::default(), Uses::default());
        insert(&mut eviction, &uses, 0, (1, 0));
        insert(&mut eviction, &uses, 0, (2, 0));
        assert_eq!(eviction.victim(&uses), Some((1, 0)));
        insert(&mut eviction, &uses, 0, (1, 0));
        insert(&mut eviction, &uses, 0, (3, 0));
        assert_eq!(eviction.victim(&uses), Some((2, 0)));
        assert_eq!(
            eviction.victim(&uses),
            Some((3, 0)),
            "the small queue is over its share, so it goes first"
        );
        assert_eq!(eviction.victim(&uses), Some((1, 0)));
    }
}
