//! What the caller says about keeping: which classes go last, how much a class may take, and what stays.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::eviction::Order;

/// How long an object is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PinnedUntil {
    /// To this moment, in seconds since 1970.
    Second(u64),
    /// It stays.
    Forever,
}

impl PinnedUntil {
    pub(crate) fn is_over(self, now: u64) -> bool {
        matches!(self, Self::Second(end) if end <= now)
    }
}

/// Says by key and class what is pinned, and how long. Asked when an object is created and when it is found at start, from the
/// thread that does so: it should be quick, and give the same answer for the same key.
pub type Pins = Arc<dyn Fn(&str, u8) -> Option<PinnedUntil> + Send + Sync>;

/// What went to make room: pieces of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// How many.
    pub pieces: usize,
    /// What they took.
    pub bytes: u64,
    /// When their object was used last, in seconds since 1970.
    pub last_used: u64,
}

/// Is told what goes, from the thread that evicts: it should be quick.
pub type Watcher = Arc<dyn Fn(Evicted) + Send + Sync>;

/// What goes first when a volume is full, what may never take too much, and what stays.
#[derive(Clone, Default)]
pub struct Policy {
    /// Classes that are evicted last.
    pub protected: Vec<u8>,
    /// The order within a class.
    pub order: Order,
    /// By class: the most that it may take of each volume, in percent (1 to 100) of what pieces may take there. A class above
    /// its share is evicted from even when the volume is not full and the class is protected. It may pass its share only by
    /// what was committed since the keeper's last round (at most 200 ms ago, or as long as one sync takes), and by groups in
    /// which a piece is being stored.
    pub shares: BTreeMap<u8, u8>,
    /// Pinned objects are not evicted. `None` = nothing is pinned. All pinned bytes of a volume together may take half of
    /// what pieces may take there; the newest groups beyond that are evicted, but only once nothing else is left, or nothing
    /// else of a class that is above its share. A pin is not written down: with another policy after a restart
    /// it is as if it had never been.
    pub pins: Option<Pins>,
    /// What is stored is never synced, except when the store is closed: for measurements. Nothing that was stored since the
    /// start survives a kill.
    pub unsynced: bool,
    /// `None` = nobody is told what is evicted.
    pub watcher: Option<Watcher>,
}

impl Policy {
    /// How long an object is pinned; `None` = it is not.
    pub(crate) fn pin_of(&self, key: &str, class: u8, now: u64) -> Option<PinnedUntil> {
        let pins = self.pins.as_ref()?;
        pins(key, class).filter(|until| !until.is_over(now))
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Policy")
            .field("protected", &self.protected)
            .field("order", &self.order)
            .field("shares", &self.shares)
            .field("has_pins", &self.pins.is_some())
            .field("unsynced", &self.unsynced)
            .field("has_watcher", &self.watcher.is_some())
            .finish()
    }
}
