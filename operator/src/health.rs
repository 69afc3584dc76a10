//! What the process is doing, for the readiness probe.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// Phases of the process' life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not spoken with the API server yet.
    Starting,
    /// Another operator works; this one would take over.
    Standby,
    /// This one works.
    Leading,
    /// It is on its way out.
    Stopping,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Starting, Self::Standby, Self::Leading, Self::Stopping];

    /// Whether the process does what it is there for: a standby does.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Standby | Self::Leading)
    }

    /// The phase in one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::Leading => "leading",
            Self::Stopping => "stopping",
        }
    }
}

/// The present phase, shared between the parts of the process.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<AtomicU8>);

impl Health {
    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        let position = Phase::ALL.iter().position(|other| *other == phase).unwrap_or(0);
        self.0.store(u8::try_from(position).unwrap_or(0), Ordering::Release);
    }

    /// The present phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        Phase::ALL.get(usize::from(self.0.load(Ordering::Acquire))).copied().unwrap_or(Phase::Starting)
    }
}
