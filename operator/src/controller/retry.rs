//! When a failed pass is repeated.

use std::{collections::HashMap, time::Duration};

use kube::ResourceExt;
use parking_lot::Mutex;
use rand::RngExt;

use connected_cache_api::ConnectedCache;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);

/// Failures in a row, by cache.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<String, u32>>);

impl Attempts {
    /// Notes a failure and says how long to wait: one second, then twice as long each time, up to five minutes.
    pub(super) fn delay_after_failure(&self, cache: &ConnectedCache) -> Duration {
        let mut attempts = self.0.lock();
        let failures = attempts.entry(key(cache)).or_insert(0);
        let delay = FIRST.saturating_mul(1 << (*failures).min(16)).min(LONGEST);
        *failures = failures.saturating_add(1);
        with_jitter(delay)
    }

    /// The cache is well, or gone.
    pub(super) fn forget(&self, cache: &ConnectedCache) {
        self.0.lock().remove(&key(cache));
    }
}

fn key(cache: &ConnectedCache) -> String {
    cache.uid().unwrap_or_else(|| format!("{}/{}", cache.namespace().unwrap_or_default(), cache.name_any()))
}

/// Up to a fifth longer, at random.
pub(super) fn with_jitter(delay: Duration) -> Duration {
    delay.mul_f64(rand::rng().random_range(1.0..1.2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use connected_cache_api::ConnectedCacheSpec;

    #[test]
    fn waiting_doubles_up_to_five_minutes_and_starts_anew_after_a_success() {
        let attempts = Attempts::default();
        let cache = ConnectedCache::new("campus", ConnectedCacheSpec::default());
        let mut seconds = 1.0;
        for _ in 0..40 {
            let delay = attempts.delay_after_failure(&cache).as_secs_f64();
            assert!((seconds..seconds * 1.2).contains(&delay), "{delay} is not about {seconds}");
            seconds = f64::min(seconds * 2.0, 300.0);
        }
        attempts.forget(&cache);
        assert!(attempts.delay_after_failure(&cache) < Duration::from_secs(2));
    }
}
