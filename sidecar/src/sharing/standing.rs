//! Members that failed a moment ago: they are left alone for some time, so that one that is slow, stopped or cut off costs a client
//! its deadline once and not with every piece.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

/// How long a member that missed its deadline is left alone.
const REST: Duration = Duration::from_secs(10);
/// Names that are remembered; there are at most as many members.
const MOST_NAMES: usize = 1024;

/// Who is left alone.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    until: Mutex<HashMap<String, Instant>>,
}

impl Standing {
    /// It missed a deadline or can't be reached.
    pub(crate) fn rest(&self, name: &str) {
        let (mut until, now) = (self.until.lock(), Instant::now());
        if until.len() >= MOST_NAMES {
            until.retain(|_, until| *until > now);
        }
        if until.len() < MOST_NAMES {
            until.insert(name.to_owned(), now + REST);
        }
    }

    /// It answers.
    pub(crate) fn is_well(&self, name: &str) {
        self.until.lock().remove(name);
    }

    pub(crate) fn is_left_alone(&self, name: &str) -> bool {
        let until = self.until.lock();
        // Most of the time there is nobody.
        !until.is_empty() && until.get(name).is_some_and(|until| *until > Instant::now())
    }

    /// Who is left alone, for so much longer.
    pub(crate) fn resting(&self) -> Vec<(String, Duration)> {
        let now = Instant::now();
        let until = self.until.lock();
        let resting = until.iter().filter(|(_, until)| **until > now);
        resting.map(|(name, until)| (name.clone(), until.duration_since(now))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_member_that_failed_is_left_alone_for_ten_seconds_or_until_it_answers() {
        let standing = Standing::default();
        standing.rest("a");
        standing.rest("b");
        standing.is_well("b");
        tokio::time::advance(REST.checked_sub(Duration::from_millis(1)).unwrap()).await;
        assert!(standing.is_left_alone("a") && !standing.is_left_alone("b"));
        assert_eq!(standing.resting(), [("a".to_owned(), Duration::from_millis(1))]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!standing.is_left_alone("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_bounded() {
        let standing = Standing::default();
        for number in 0..2 * MOST_NAMES {
            standing.rest(&number.to_string());
        }
        assert_eq!(standing.resting().len(), MOST_NAMES);
        tokio::time::advance(REST).await;
        standing.rest("new");
        assert_eq!(standing.until.lock().len(), 1);
    }
}
