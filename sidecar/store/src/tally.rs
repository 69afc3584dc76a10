//! What a volume holds, by content class, and how much of it is pinned.
//!
//! Counted in the moment in which a piece becomes readable or stops being so, under the lock of its object. So the figures are
//! those of the objects at every instant, whatever the index knows by then.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is stored of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassUsage {
    /// The class, as the caller numbers them.
    pub class: u8,
    /// Objects with at least one stored piece.
    pub objects: u64,
    /// Bytes that their pieces take on disk.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Count {
    objects: AtomicU64,
    bytes: AtomicU64,
}

/// The counts of one volume: 4 KiB.
#[derive(Debug)]
pub(crate) struct Tally {
    classes: Box<[Count]>,
    pinned: AtomicU64,
}

/// Bytes of one object that come or go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portion {
    pub(crate) class: u8,
    pub(crate) pinned: bool,
    pub(crate) bytes: u64,
    /// They are the first that the object has, or the last that it had.
    pub(crate) whole: bool,
}

impl Default for Tally {
    fn default() -> Self {
        let classes = std::iter::repeat_with(Count::default).take(usize::from(u8::MAX) + 1).collect();
        Self { classes, pinned: AtomicU64::new(0) }
    }
}

impl Tally {
    pub(crate) fn add(&self, portion: Portion) {
        let count = &self.classes[usize::from(portion.class)];
        count.bytes.fetch_add(portion.bytes, Ordering::AcqRel);
        count.objects.fetch_add(u64::from(portion.whole), Ordering::AcqRel);
        if portion.pinned {
            self.pinned.fetch_add(portion.bytes, Ordering::AcqRel);
        }
    }

    pub(crate) fn take(&self, portion: Portion) {
        let count = &self.classes[usize::from(portion.class)];
        let before = count.bytes.fetch_sub(portion.bytes, Ordering::AcqRel);
        debug_assert!(before >= portion.bytes, "more taken than counted");
        count.objects.fetch_sub(u64::from(portion.whole), Ordering::AcqRel);
        if portion.pinned {
            self.unpin(portion.bytes);
        }
    }

    /// Bytes that stay, but are not pinned any more.
    pub(crate) fn unpin(&self, bytes: u64) {
        let before = self.pinned.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(before >= bytes, "more unpinned than pinned");
    }

    pub(crate) fn bytes_of(&self, class: u8) -> u64 {
        self.classes[usize::from(class)].bytes.load(Ordering::Acquire)
    }

    pub(crate) fn pinned(&self) -> u64 {
        self.pinned.load(Ordering::Acquire)
    }

    /// All 256 classes.
    pub(crate) fn classes(&self) -> impl Iterator<Item = ClassUsage> {
        (0..=u8::MAX).zip(&self.classes).map(|(class, count)| ClassUsage {
            class,
            objects: count.objects.load(Ordering::Acquire),
            bytes: count.bytes.load(Ordering::Acquire),
        })
    }
}
