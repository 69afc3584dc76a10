//! Keys of which something is remembered for a while.

use std::time::{Duration, Instant};

use connected_cache_core::ObjectKey;

/// How many are; older ones make room.
const MOST: usize = 4096;

/// Some keys, each for so long.
pub(super) struct Remembered {
    keys: quick_cache::sync::Cache<ObjectKey, Instant>,
    age: Duration,
}

impl Remembered {
    pub(super) fn for_some(age: Duration) -> Self {
        Self { keys: quick_cache::sync::Cache::new(MOST), age }
    }

    pub(super) fn holds(&self, key: &ObjectKey) -> bool {
        let Some(since) = self.keys.get(key) else { return false };
        let holds = since.elapsed() < self.age;
        if !holds {
            self.keys.remove(key);
        }
        holds
    }

    pub(super) fn add(&self, key: &ObjectKey) {
        self.keys.insert(key.clone(), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_remembered_for_a_while() {
        let key = ObjectKey::from_stored("example.com/f".into());
        let (long, short) =
            (Remembered::for_some(Duration::from_mins(1)), Remembered::for_some(Duration::ZERO));
        assert!(!long.holds(&key));
        long.add(&key);
        short.add(&key);
        assert!(long.holds(&key) && !short.holds(&key));
    }
}
