//! A read-only shared mapping of a whole file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::registry;

/// The mapping, and the file that it maps.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    length: usize,
    file: Arc<File>,
}

// SAFETY: the mapping is read-only and owned by this value alone; the pointer is valid from any thread until drop.
unsafe impl Send for Mapping {}
// SAFETY: as above; shared use only reads.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes of `file`, which must be at least that long; `length` is at least 1.
    pub(crate) fn new(file: File, length: usize) -> io::Result<Self> {
        // SAFETY: a fresh address is asked for, so no existing memory is touched; the descriptor is open.
        let address =
            unsafe { mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, &file, 0) }?;
        let base =
            NonNull::new(address.cast::<u8>()).ok_or_else(|| io::Error::other("mmap returned null"))?;
        let file = Arc::new(file);
        registry::insert(base.as_ptr() as usize, length, Arc::clone(&file));
        Ok(Self { base, length, file })
    }

    /// The mapped file.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// The bytes of a range.
    ///
    /// # Safety
    /// The bytes must not change while the slice is in use, and the file must stay at least `range.end` long.
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.length, "the caller checked the range");
        // SAFETY: the range lies in the mapping, which lives as long as `self`; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(range.start), range.end - range.start) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        registry::remove(self.base.as_ptr() as usize);
        // SAFETY: nobody borrows from `self` any more, and nothing else owns this address range.
        if let Err(error) = unsafe { munmap(self.base.as_ptr().cast(), self.length) } {
            debug_assert!(false, "munmap of an own mapping failed: {error}");
        }
    }
}
