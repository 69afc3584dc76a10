//! Seconds since 1970 that don't go back while the process runs, whatever is done to the system's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The later of the system's clock and of the time since the start: a clock that is set back makes nothing last longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    epoch: Duration,
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { epoch: system(), started: Instant::now() }
    }

    /// Seconds since 1970.
    pub(super) fn seconds(self) -> u64 {
        (self.epoch + self.started.elapsed()).max(system()).as_secs()
    }
}

fn system() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
