//! One server under load: what its clients received, and what that cost it.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::lab::PATIENCE;
use crate::load::{Bodies, Group, Load, Outcome, Until};
use crate::server::Server;

/// What is sent before a measurement begins, so that connections and buffers are as they stay.
const WARM_UP: Duration = Duration::from_millis(100);

/// A measurement of one server.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) outcome: Outcome,
    pub(crate) processor: Duration,
}

impl Measured {
    /// Processor seconds per 10^9 body bytes.
    pub(crate) fn processor_per_gigabyte(&self) -> f64 {
        self.processor.as_secs_f64() / (self.outcome.body_bytes as f64 / 1e9)
    }

    /// Processor microseconds per reply.
    pub(crate) fn processor_per_reply(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / self.outcome.replies as f64
    }

    /// Share of its core that the server used.
    pub(crate) fn busy(&self) -> f64 {
        self.processor.as_secs_f64() / self.outcome.elapsed.as_secs_f64()
    }
}

/// Sends requests of one kind for a while.
pub(crate) fn for_a_while(server: &Server, group: &Group<'_>, time: Duration) -> Result<Measured> {
    let mut load = Load::connect(std::slice::from_ref(group), Bodies::Dropped)?;
    load.run(Until::Elapsed(WARM_UP)).with_context(|| format!("{} failed", server.kind().name()))?;
    let measured = watch(server, &mut load, Until::Elapsed(time))?;
    if measured.outcome.replies == 0 {
        bail!("{} gave no reply in {time:?}: the machine is too busy", server.kind().name());
    }
    Ok(measured)
}

/// Sends requests that have an end.
pub(crate) fn to_the_end(server: &Server, group: &Group<'_>) -> Result<Measured> {
    let mut load = Load::connect(std::slice::from_ref(group), Bodies::Dropped)?;
    watch(server, &mut load, Until::Done(PATIENCE))
}

fn watch(server: &Server, load: &mut Load<'_>, until: Until) -> Result<Measured> {
    let before = server.tree().processor_time();
    let outcomes = load.run(until).with_context(|| format!("{} failed", server.kind().name()))?;
    // Looked up once more: a server that has just begun may have started its workers only now.
    let processor = server.tree().processor_time().since(&before);
    Ok(Measured { outcome: outcomes.into_iter().next().unwrap_or_default(), processor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_per_gigabyte_per_reply_and_per_second() {
        let outcome = Outcome {
            replies: 1000,
            body_bytes: 2_000_000_000,
            elapsed: Duration::from_secs(4),
            latencies: Vec::new(),
            first_bytes: Vec::new(),
        };
        let measured = Measured { outcome, processor: Duration::from_secs(1) };
        assert!((measured.processor_per_gigabyte() - 0.5).abs() < 1e-9);
        assert!((measured.processor_per_reply() - 1000.0).abs() < 1e-9);
        assert!((measured.busy() - 0.25).abs() < 1e-9);
    }
}
