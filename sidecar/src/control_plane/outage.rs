//! An outage: once the tries of a service are used up, nobody asks for a while, and then one by one, so that not every new
//! content waits for what does not answer (dossier delivery-optimization 2.2).

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::SimpleMode;

/// How long nobody asks.
const REST: Duration = Duration::from_mins(10);

/// Whether services are asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Outage(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    None,
    Resting {
        until: Instant,
        reason: SimpleMode,
    },
    /// One asks whether it is over.
    Probing {
        reason: SimpleMode,
    },
}

/// Leave to ask; it wants to hear what came of it.
#[derive(Debug)]
pub(super) struct Pass {
    outage: Outage,
    /// The reason of the outage that this one may end.
    probes: Option<SimpleMode>,
}

impl Outage {
    /// Leave to ask, or why not.
    pub(super) fn enter(&self) -> Result<Pass, SimpleMode> {
        let mut state = self.0.lock();
        let probes = match *state {
            State::None => None,
            State::Resting { until, reason } if until <= Instant::now() => {
                *state = State::Probing { reason };
                Some(reason)
            }
            State::Resting { reason, .. } | State::Probing { reason } => return Err(reason),
        };
        Ok(Pass { outage: self.clone(), probes })
    }

    /// For how much longer nobody may ask; `None` = asking is allowed, as far as this is concerned.
    pub(super) fn rest(&self) -> Option<Duration> {
        self.present().map(|(_, rest)| rest).filter(|rest| !rest.is_zero())
    }

    /// Why nobody asks now, and for how much longer.
    pub(super) fn present(&self) -> Option<(SimpleMode, Duration)> {
        match *self.0.lock() {
            State::None => None,
            State::Resting { until, reason } => Some((reason, until.duration_since(Instant::now()))),
            State::Probing { reason } => Some((reason, Duration::ZERO)),
        }
    }
}

impl Pass {
    /// A service answered.
    pub(super) fn answered(mut self) {
        self.probes = None;
        *self.outage.0.lock() = State::None;
    }

    /// All tries failed. The rest is longer where the service asked for that.
    pub(super) fn failed(mut self, reason: SimpleMode, retry_after: Option<Duration>) {
        self.probes = None;
        let until = Instant::now() + REST.max(retry_after.unwrap_or_default());
        *self.outage.0.lock() = State::Resting { until, reason };
    }
}

/// Nothing was learned: the next one may ask.
impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(reason) = self.probes {
            *self.outage.0.lock() = State::Resting { until: Instant::now(), reason };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_asks_for_ten_minutes_and_then_one_by_one() {
        let outage = Outage::default();
        let (first, second) = (outage.enter().unwrap(), outage.enter().unwrap());
        first.failed(SimpleMode::CaptivePortal, None);
        drop(second);
        tokio::time::advance(Duration::from_secs(599)).await;
        assert_eq!(outage.enter().unwrap_err(), SimpleMode::CaptivePortal);
        tokio::time::advance(Duration::from_secs(1)).await;
        let probe = outage.enter().unwrap();
        assert_eq!(outage.enter().unwrap_err(), SimpleMode::CaptivePortal);
        // One that came to nothing leaves its place.
        drop(probe);
        outage.enter().unwrap().failed(SimpleMode::Unreachable, Some(Duration::from_mins(20)));
        tokio::time::advance(Duration::from_mins(19)).await;
        assert_eq!(outage.enter().unwrap_err(), SimpleMode::Unreachable);
        tokio::time::advance(Duration::from_mins(1)).await;
        outage.enter().unwrap().answered();
        let both = (outage.enter().is_ok(), outage.enter().is_ok());
        assert_eq!(both, (true, true));
        assert_eq!(outage.present(), None);
    }
}
