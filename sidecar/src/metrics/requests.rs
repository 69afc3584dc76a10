//! Answered requests by their labels: one counter for each combination, so that counting one takes no lock.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
};

use connected_cache_core::ContentClass;

use super::{CacheResult, RequestLabels};

/// Every class, and none.
const CLASSES: usize = ContentClass::ALL.len() + 1;
/// First digits of statuses: 0 stands for what is none.
const CODE_CLASSES: usize = 6;
const COMBINATIONS: usize = CLASSES * CacheResult::ALL.len() * CODE_CLASSES;

#[derive(Debug)]
pub(super) struct RequestCounts([AtomicU64; COMBINATIONS]);

impl Default for RequestCounts {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl RequestCounts {
    pub(super) fn add(&self, labels: RequestLabels) {
        self.0[index(labels)].fetch_add(1, Ordering::Relaxed);
    }

    /// The combinations that were seen, in the order of their labels.
    pub(super) fn seen(&self) -> impl Iterator<Item = (RequestLabels, u64)> + '_ {
        self.0.iter().enumerate().filter_map(|(index, count)| {
            let count = count.load(Ordering::Relaxed);
            (count > 0).then(|| (labels(index), count))
        })
    }
}

fn index(labels: RequestLabels) -> usize {
    let class = labels.class.map_or(0, |class| usize::from(class.number()) + 1);
    let code_class = usize::from(labels.code_class);
    let code_class = if code_class < CODE_CLASSES { code_class } else { 0 };
    (class * CacheResult::ALL.len() + labels.result as usize) * CODE_CLASSES + code_class
}

fn labels(index: usize) -> RequestLabels {
    let (rest, code_class) = (index / CODE_CLASSES, index % CODE_CLASSES);
    let (class, result) = (rest / CacheResult::ALL.len(), rest % CacheResult::ALL.len());
    RequestLabels {
        class: class.checked_sub(1).and_then(|class| ContentClass::ALL.get(class)).copied(),
        result: CacheResult::ALL[result],
        code_class: u16::try_from(code_class).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_a_counter_of_its_own() {
        let counts = RequestCounts::default();
        let classes = ContentClass::ALL.into_iter().map(Some).chain([None]);
        let mut expected = Vec::new();
        for (class, times) in classes.zip(1..) {
            for result in CacheResult::ALL {
                for code_class in 0..=5 {
                    let labels = RequestLabels { class, result, code_class };
                    (0..times).for_each(|_| counts.add(labels));
                    expected.push((labels, times));
                }
            }
        }
        let mut seen: Vec<_> = counts.seen().collect();
        seen.sort_unstable();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_status_that_is_none_is_counted_too() {
        let counts = RequestCounts::default();
        counts.add(RequestLabels { class: None, result: CacheResult::None, code_class: 9 });
        let labels = RequestLabels { class: None, result: CacheResult::None, code_class: 0 };
        assert_eq!(counts.seen().collect::<Vec<_>>(), [(labels, 1)]);
    }
}
