//! Bytes of a volume: reserved before they are written, never above the limit.

use std::sync::atomic::{AtomicU64, Ordering};

/// The byte budget of one volume.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    /// Pieces: reserved, committed, or removed and not yet given back.
    used: AtomicU64,
    /// The index file, measured after each commit.
    index: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limit: u64, used: u64, index: u64) -> Self {
        Self { limit, used: AtomicU64::new(used), index: AtomicU64::new(index) }
    }

    /// What the index may grow to before its next measurement, so that its growth can't break the limit.
    fn index_allowance(&self) -> u64 {
        let index = self.index.load(Ordering::Relaxed);
        index + (index / 4).max(1 << 20)
    }

    /// The most that pieces may take now.
    pub(crate) fn piece_limit(&self) -> u64 {
        self.limit.saturating_sub(self.index_allowance())
    }

    /// Above this the keeper evicts, so that a reservation seldom finds the volume full: a sixteenth below the limit, but at
    /// least some pieces, for else a small volume would be full without ever being above it.
    pub(crate) fn high_water(&self) -> u64 {
        let limit = self.piece_limit();
        let margin = (limit / 16).clamp(4 << 20, 256 << 20);
        limit - margin.min(limit / 2)
    }

    /// Takes bytes; `false` when they would pass the limit.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        let limit = self.piece_limit();
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                used.checked_add(bytes).filter(|after| *after <= limit)
            })
            .is_ok()
    }

    /// Gives bytes back.
    pub(crate) fn release(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(before >= bytes, "more released than reserved");
    }

    pub(crate) fn measured_index(&self, bytes: u64) {
        self.index.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    pub(crate) fn index(&self) -> u64 {
        self.index.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn a_reservation_never_passes_the_limit() {
        let budget = Budget::new(10 << 20, 0, 0);
        assert_eq!(budget.piece_limit(), 9 << 20);
        assert!(budget.reserve(9 << 20));
        assert!(!budget.reserve(1));
        budget.release(4096);
        assert!(budget.reserve(4096));
        assert!(!budget.reserve(u64::MAX));
    }
}
