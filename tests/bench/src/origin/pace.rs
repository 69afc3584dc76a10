//! How far away the origin is: a delay to the first byte, and a rate.

use std::time::{Duration, Instant};

/// How far away the origin is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// From a request to the first byte of its reply.
    pub(crate) delay: Duration,
    /// Body bytes per second.
    pub(crate) rate: Rate,
}

/// Body bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rate {
    /// As fast as it goes.
    #[default]
    Unlimited,
    /// Of each connection by itself.
    Connection(u64),
    /// Of all connections together.
    Link(u64),
}

impl Pace {
    /// An origin right here.
    pub(crate) const NONE: Self = Self { delay: Duration::ZERO, rate: Rate::Unlimited };

    /// A content delivery network across the internet: 100 ms to the first byte, 50 MB/s on each connection.
    pub(crate) const FAR: Self =
        Self { delay: Duration::from_millis(100), rate: Rate::Connection(50_000_000) };

    /// An internet link of 1 Gbit/s: 10 ms to the first byte, 125 MB/s for all connections together.
    pub(crate) const GIGABIT: Self = Self { delay: Duration::from_millis(10), rate: Rate::Link(125_000_000) };

    /// Bytes that a reply may have sent after `elapsed`; `None` = as many as it likes.
    pub(crate) fn allows(self, elapsed: Duration) -> Option<u64> {
        match self.rate {
            Rate::Connection(rate) => Some(bytes_in(rate, elapsed)),
            Rate::Unlimited | Rate::Link(_) => None,
        }
    }
}

/// What is left of a link that all replies share.
#[derive(Debug, Default)]
pub(crate) struct Link {
    filled: Option<Instant>,
    left: u64,
}

/// A link that was idle may send so much at once: it is a wire, not a savings account.
const MOST_SAVED: Duration = Duration::from_millis(2);

impl Link {
    /// Bytes that may go now.
    pub(crate) fn allows(&mut self, rate: u64, now: Instant) -> u64 {
        let since = self.filled.map_or(MOST_SAVED, |filled| now.saturating_duration_since(filled));
        let gained = bytes_in(rate, since);
        // Keep the remainder of what is less than a byte for later.
        if gained > 0 {
            self.filled = Some(now);
            self.left = (self.left + gained).min(bytes_in(rate, MOST_SAVED));
        }
        self.left
    }

    /// Bytes went.
    pub(crate) fn take(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }
}

fn bytes_in(rate: u64, elapsed: Duration) -> u64 {
    u64::try_from(u128::from(rate) * elapsed.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_may_send_its_rate_times_the_time() {
        assert_eq!(Pace::FAR.allows(Duration::from_millis(20)), Some(1_000_000));
        assert_eq!(Pace::NONE.allows(Duration::ZERO), None);
    }

    #[test]
    fn a_link_gives_its_rate_to_all_together_and_saves_little() {
        let (mut link, start) = (Link::default(), Instant::now());
        assert_eq!(link.allows(1_000_000, start), 2_000, "2 ms were saved");
        link.take(2_000);
        assert_eq!(link.allows(1_000_000, start), 0);
        assert_eq!(link.allows(1_000_000, start + Duration::from_millis(1)), 1_000);
        assert_eq!(link.allows(1_000_000, start + Duration::from_secs(9)), 2_000);
    }
}
