//! The pace of one transfer: how many of its bytes may go now.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use connected_cache_core::Grant;
use tokio::time::{Instant, Sleep};

use crate::metrics::{Counters, Direction};

/// Reserves some of so many bytes under the caps of the transfer.
type Reserve = Box<dyn Fn(u64) -> Grant + Send + Sync>;

/// One transfer's place under its caps.
pub(crate) struct Pace {
    reserve: Reserve,
    counters: Arc<Counters>,
    direction: Direction,
    /// Bytes that are due and have not gone yet.
    allowance: u64,
    waiting: Option<Waiting>,
}

struct Waiting {
    bytes: u64,
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl fmt::Debug for Pace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pace").field("direction", &self.direction).finish_non_exhaustive()
    }
}

impl Pace {
    pub(super) fn new(reserve: Reserve, counters: Arc<Counters>, direction: Direction) -> Self {
        Self { reserve, counters, direction, allowance: 0, waiting: None }
    }

    /// How many of so many bytes may go now, at least one of them; ready at the latest after the time that the floor allows. Not to be
    /// asked for fewer than before as long as none of those went.
    pub(crate) fn poll_allowance(&mut self, context: &mut Context<'_>, wanted: u64) -> Poll<u64> {
        while self.allowance == 0 && wanted > 0 {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.timer.as_mut().poll(context));
                self.allowance = waiting.bytes;
                self.counters.add_paced(self.direction, waiting.since.elapsed());
                self.waiting = None;
            } else {
                let grant = (self.reserve)(wanted);
                let (since, at) = (Instant::now(), Instant::from_std(grant.at));
                if at <= since {
                    self.allowance = grant.bytes;
                } else {
                    let timer = Box::pin(tokio::time::sleep_until(at));
                    self.waiting = Some(Waiting { bytes: grant.bytes, since, timer });
                }
            }
        }
        Poll::Ready(self.allowance.min(wanted))
    }

    /// Counts bytes that went at once, without being asked about: others wait the longer for them.
    pub(crate) fn charge(&self, mut bytes: u64) {
        while bytes > 0 {
            bytes = bytes.saturating_sub((self.reserve)(bytes).bytes.max(1));
        }
    }

    /// So many bytes went.
    pub(crate) fn spend(&mut self, bytes: u64) {
        self.allowance = self.allowance.saturating_sub(bytes);
    }

    /// When the bytes that it waits for are due; `None` = it does not wait.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.timer.deadline())
    }
}
