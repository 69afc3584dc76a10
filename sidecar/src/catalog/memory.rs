//! The memory that pieces in transit may take, all together: whoever wants a piece waits for room, read-ahead does without.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one permit stands for.
const UNIT_BYTES: u64 = 4096;
/// How long a piece that a client waits for waits for room.
const PATIENCE: Duration = Duration::from_secs(5);

/// Room for pieces in transit.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    units: Arc<Semaphore>,
    half: usize,
    /// For content whose length is not known before all of it is here: one at a time, beside the others, so that none waits
    /// for more while it holds some.
    unmeasured: Arc<Semaphore>,
}

impl Room {
    /// So many bytes, at least 8 MiB.
    pub(crate) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes.max(8 << 20) / UNIT_BYTES).unwrap_or(usize::MAX);
        let units = units.min(Semaphore::MAX_PERMITS);
        Self {
            units: Arc::new(Semaphore::new(units)),
            half: units / 2,
            unmeasured: Arc::new(Semaphore::new(1)),
        }
    }

    /// Permits for so many bytes.
    pub(super) fn units(length_bytes: u64) -> usize {
        usize::try_from(length_bytes.div_ceil(UNIT_BYTES)).unwrap_or(usize::MAX)
    }

    fn permits(length_bytes: u64) -> u32 {
        u32::try_from(Self::units(length_bytes)).unwrap_or(u32::MAX)
    }

    /// Room for a piece of this length; `None` = there was none in time.
    pub(super) async fn wait(&self, length_bytes: u64) -> Option<OwnedSemaphorePermit> {
        let room = self.units.clone().acquire_many_owned(Self::permits(length_bytes));
        tokio::time::timeout(PATIENCE, room).await.ok()?.ok()
    }

    /// The right to hold more than a piece of content that has no length; `None` = somebody else had it all the time.
    pub(super) async fn wait_unmeasured(&self) -> Option<OwnedSemaphorePermit> {
        tokio::time::timeout(PATIENCE, self.unmeasured.clone().acquire_owned()).await.ok()?.ok()
    }

    /// Room for a piece that nobody waits for yet; `None` = less than half of it all is left.
    pub(super) fn spare(&self, length_bytes: u64) -> Option<OwnedSemaphorePermit> {
        let is_plenty = self.units.available_permits() > self.half;
        is_plenty
            .then(|| self.units.clone().try_acquire_many_owned(Self::permits(length_bytes)).ok())
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn read_ahead_leaves_half_and_who_must_wait_waits_in_vain_only_for_so_long() {
        let room = Room::new(0);
        let first = room.wait(5 << 20).await.unwrap();
        assert!(room.spare(4096).is_none(), "more than half is taken");
        assert!(room.wait(5 << 20).await.is_none(), "there was no room");
        drop(first);
        assert!(room.spare(4096).is_some() && room.wait(8 << 20).await.is_some());
    }
}
