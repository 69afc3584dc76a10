//! When something was last sent and received, and what follows from it.

use std::time::{Duration, Instant};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    keep_alive: Duration,
    idle: Duration,
    stall: Duration,
    /// The latest time that anybody told.
    now: Instant,
    received: Instant,
    sent: Instant,
    progressed: Instant,
}

impl Timers {
    pub(super) const fn new(keep_alive: Duration, idle: Duration, stall: Duration, now: Instant) -> Self {
        Self { keep_alive, idle, stall, now, received: now, sent: now, progressed: now }
    }

    /// Callers take the time before they get here, so it may be older than what another told.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(super) const fn now(&self) -> Instant {
        self.now
    }

    /// Something came.
    pub(super) fn received(&mut self, now: Instant) {
        self.advance(now);
        self.received = self.now;
    }

    /// Data of a piece came.
    pub(super) fn progressed(&mut self, now: Instant) {
        self.received(now);
        self.progressed = self.now;
    }

    /// Something goes out.
    pub(super) const fn sent(&mut self) {
        self.sent = self.now;
    }

    pub(super) fn is_keep_alive_due(&self) -> bool {
        self.now >= self.sent + self.keep_alive
    }

    pub(super) fn is_idle(&self) -> bool {
        self.now >= self.received + self.idle
    }

    /// When the next of the two above becomes true.
    pub(super) fn next(&self) -> Instant {
        (self.sent + self.keep_alive).min(self.received + self.idle)
    }

    /// When a request of this time is stalled. Peers answer one after the other, so progress of any is progress of all.
    pub(super) fn stalls_at(&self, since: Instant) -> Instant {
        since.max(self.progressed) + self.stall
    }
}
