//! Pacing by token buckets. Who wants to send reserves some bytes and is told when they may go; a bucket whose bytes are given
//! away runs into debt, so reservations come due in the order in which they were made. Each is small and each transfer has one
//! at a time, so that transfers under one cap take turns.
//!
//! Invariant: what comes due within any time of length t is at most `rate * t + burst`, beside what the floor gives: no transfer
//! waits longer than its bytes take at [`FLOOR_BYTES_PER_SECOND`].

use std::time::{Duration, Instant};

use super::BitRate;

/// Below 4,000 bytes a second over 20 s clients leave a cache for 15 minutes (dossier delivery-optimization 1.5), so no cap
/// holds a transfer below twice that.
pub const FLOOR_BYTES_PER_SECOND: u64 = 8_000;

/// Bytes of one turn while others wait. Below it a slice of a file is not worth a `sendfile` of its own.
const TURN_BYTES: u64 = 16 * 1024;
/// Bytes that one reservation may have at once when nobody waits.
const MOST_BYTES: u64 = 256 * 1024;
/// Least bytes that a bucket saves while nobody sends.
const LEAST_BURST_BYTES: u64 = 64 * 1024;
/// A larger burst is what the rate brings in this part of a second.
const BURSTS_PER_SECOND: u64 = 10;
/// Debt by the floor, in seconds of the rate: more than the longest wait, so that it never lets others through, and little
/// enough to be forgotten soon when the crowd leaves.
const MOST_DEBT_SECONDS: i128 = 4;

const NANOSECONDS: i128 = 1_000_000_000;
/// Credit is counted in bits times nanoseconds per second, so that none is lost by rounding.
const CREDIT_PER_BYTE: i128 = 8 * NANOSECONDS;

/// One cap.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: BitRate,
    /// Negative = debt.
    credit: i128,
    settled: Instant,
}

/// Bytes that may go at some instant, not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// At least 1 and at most what was wanted, unless that was 0.
    pub bytes: u64,
    /// From when on.
    pub at: Instant,
}

impl TokenBucket {
    /// One that has saved nothing yet, so that nobody gains by coming anew.
    #[must_use]
    pub const fn new(rate: BitRate, now: Instant) -> Self {
        Self { rate, credit: 0, settled: now }
    }

    /// Changes the rate from now on. Reservations that were made stay as they are.
    pub fn set_rate(&mut self, rate: BitRate, now: Instant) {
        if rate != self.rate {
            self.settle(now);
            self.rate = rate;
            self.credit = self.credit.clamp(-most_debt(rate), burst(rate));
        }
    }

    fn settle(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.settled).as_nanos();
        let earned = i128::try_from(elapsed).unwrap_or(i128::MAX).saturating_mul(rate_of(self.rate));
        self.credit = self.credit.saturating_add(earned).min(burst(self.rate));
        self.settled = self.settled.max(now);
    }

    fn bytes_at_hand(&self) -> u64 {
        u64::try_from(self.credit / CREDIT_PER_BYTE).unwrap_or(0)
    }

    /// How long until there is credit for so many bytes.
    fn wait_for(&self, bytes: u64) -> Duration {
        let missing = (cost_of(bytes) - self.credit).max(0);
        let rate = rate_of(self.rate);
        // Rounded up: a nanosecond too early would pass the cap.
        let nanoseconds = (missing + rate - 1) / rate;
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    fn take(&mut self, bytes: u64) {
        self.credit = (self.credit - cost_of(bytes)).max(-most_debt(self.rate));
    }
}

/// Reserves some of the wanted bytes of one transfer under all of these caps. The transfer asks again when these have gone, and
/// not before they are due. Without a cap everything may go.
pub fn reserve(buckets: &mut [&mut TokenBucket], now: Instant, wanted: u64) -> Grant {
    for bucket in &mut *buckets {
        bucket.settle(now);
    }
    // Callers take the time before they get hold of the buckets, so another may have been here with a later one.
    let now = buckets.iter().map(|bucket| bucket.settled).fold(now, Instant::max);
    let turn = wanted.min(TURN_BYTES);
    let at_hand = buckets.iter().map(|bucket| bucket.bytes_at_hand()).min().unwrap_or(u64::MAX);
    let (bytes, wait) = if buckets.is_empty() {
        (wanted, Duration::ZERO)
    } else if at_hand >= turn {
        (wanted.min(at_hand).min(MOST_BYTES), Duration::ZERO)
    } else {
        let by_cap = buckets.iter().map(|bucket| bucket.wait_for(turn)).max().unwrap_or_default();
        (turn, by_cap.min(longest_wait(turn)))
    };
    for bucket in buckets {
        bucket.take(bytes);
    }
    Grant { bytes, at: now + wait }
}

/// What the floor allows.
const fn longest_wait(bytes: u64) -> Duration {
    // At most a turn, so the product is small.
    Duration::from_nanos(bytes * (1_000_000_000 / FLOOR_BYTES_PER_SECOND))
}

fn rate_of(rate: BitRate) -> i128 {
    i128::from(rate.bits())
}

fn cost_of(bytes: u64) -> i128 {
    i128::from(bytes) * CREDIT_PER_BYTE
}

fn burst(rate: BitRate) -> i128 {
    cost_of((rate.bits() / 8 / BURSTS_PER_SECOND).max(LEAST_BURST_BYTES))
}

fn most_debt(rate: BitRate) -> i128 {
    rate_of(rate) * NANOSECONDS * MOST_DEBT_SECONDS
}

#[cfg(test)]
mod tests;
