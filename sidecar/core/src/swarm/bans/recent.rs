//! A map that keeps so many entries; the one that was changed longest ago goes.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Recent<K, V> {
    limit: usize,
    entries: HashMap<K, (u64, V)>,
    /// By when they were changed; one for each entry.
    order: BTreeMap<u64, K>,
    next: u64,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, entries: HashMap::new(), order: BTreeMap::new(), next: 0 }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(super) fn set(&mut self, key: K, value: V) {
        self.touch(key);
        self.entries.insert(key, (self.next - 1, value));
    }

    /// The entry to be changed, a new one if there was none.
    pub(super) fn entry(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.touch(key);
        let stamp = self.next - 1;
        let entry = self.entries.entry(key).or_default();
        entry.0 = stamp;
        &mut entry.1
    }

    /// Makes the key the latest, and room for it.
    fn touch(&mut self, key: K) {
        match self.entries.get(&key) {
            Some((stamp, _)) => {
                self.order.remove(stamp);
            }
            None if self.entries.len() >= self.limit => {
                if let Some((_, oldest)) = self.order.pop_first() {
                    self.entries.remove(&oldest);
                }
            }
            None => {}
        }
        self.order.insert(self.next, key);
        self.next += 1;
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let order = &mut self.order;
        self.entries.retain(|key, (stamp, value)| {
            let keeps = keep(key, value);
            if !keeps {
                order.remove(stamp);
            }
            keeps
        });
    }

    /// All entries, the one that was changed longest ago first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.order.values().filter_map(|key| self.entries.get(key).map(|(_, value)| (key, value)))
    }
}
