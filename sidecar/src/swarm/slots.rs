//! Who of the foreign peers may ask us for data: the decisions of `core`, told to their connections.

use std::{sync::Arc, time::Instant};

use connected_cache_core::swarm::UploadSlots;
use parking_lot::Mutex;

use super::registry::Registry;

/// See the module.
pub(super) struct Slots {
    slots: Mutex<UploadSlots<u64>>,
    registry: Arc<Registry>,
}

impl Slots {
    pub(super) fn new(slots: usize, registry: Arc<Registry>) -> Self {
        Self { slots: Mutex::new(UploadSlots::new(slots)), registry }
    }

    /// A foreign peer wants something; its connection is told when it may ask.
    pub(super) fn interested(&self, connection: u64) {
        self.slots.lock().interested(connection);
        self.rebalance();
    }

    /// It wants nothing more, or is gone.
    pub(super) fn leave(&self, connection: u64) {
        {
            let mut slots = self.slots.lock();
            if slots.leave(connection) {
                self.registry.set_slot(connection, false);
            }
        }
        self.rebalance();
    }

    /// When somebody's turn is over.
    pub(super) fn due(&self) -> Option<Instant> {
        self.slots.lock().poll_timeout()
    }

    /// Told while the lock is held, so that two changes of one connection arrive in their order.
    pub(super) fn rebalance(&self) {
        let mut slots = self.slots.lock();
        for change in slots.rebalance(Instant::now()) {
            self.registry.set_slot(change.connection, change.unchoked);
        }
    }
}
