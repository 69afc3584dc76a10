//! What fails.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// What a [`crate::FaultyDisk`] refuses from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    reads: Option<i32>,
    writes: Option<i32>,
    syncs: Option<i32>,
    full: bool,
    bad_place: Option<u64>,
}

impl Faults {
    /// Nothing fails.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reading contents and listing folders fails. What the kernel has in its cache is still read, as from a real disk; see
    /// [`crate::FaultyDisk::drop_caches`].
    #[must_use]
    pub fn failing_reads(mut self, errno: Errno) -> Self {
        self.reads = Some(errno.raw_os_error());
        self
    }

    /// Whatever changes contents, lengths or names fails.
    #[must_use]
    pub fn failing_writes(mut self, errno: Errno) -> Self {
        self.writes = Some(errno.raw_os_error());
        self
    }

    /// `fsync` and `fdatasync` fail, on files and on folders.
    #[must_use]
    pub fn failing_syncs(mut self, errno: Errno) -> Self {
        self.syncs = Some(errno.raw_os_error());
        self
    }

    /// The disk has become read-only: files can't be opened for writing either.
    #[must_use]
    pub fn read_only() -> Self {
        Self::none().failing_writes(Errno::ROFS)
    }

    /// The byte at this offset of every file can't be read, as with a bad sector.
    #[must_use]
    pub fn bad_place(mut self, offset: u64) -> Self {
        self.bad_place = Some(offset);
        self
    }

    /// No block is free: what would need a new one fails, overwriting and giving back work.
    #[must_use]
    pub fn full(mut self) -> Self {
        self.full = true;
        self
    }

    pub(crate) fn check_read(self) -> rustix::io::Result<()> {
        refuse(self.reads)
    }

    pub(crate) fn check_place(self, offset: u64, length: u64) -> rustix::io::Result<()> {
        let is_bad = self.bad_place.is_some_and(|bad| (offset..offset + length).contains(&bad));
        if is_bad { Err(Errno::IO) } else { Ok(()) }
    }

    pub(crate) fn check_open_for_writing(self) -> rustix::io::Result<()> {
        if self.writes == Some(Errno::ROFS.raw_os_error()) { Err(Errno::ROFS) } else { Ok(()) }
    }

    pub(crate) fn check_write(self) -> rustix::io::Result<()> {
        refuse(self.writes)
    }

    pub(crate) fn check_new_block(self) -> rustix::io::Result<()> {
        self.check_write()?;
        if self.full { Err(Errno::NOSPC) } else { Ok(()) }
    }

    pub(crate) fn check_sync(self) -> rustix::io::Result<()> {
        refuse(self.syncs)
    }

    pub(crate) fn is_full(self) -> bool {
        self.full
    }
}

fn refuse(errno: Option<i32>) -> rustix::io::Result<()> {
    errno.map_or(Ok(()), |errno| Err(Errno::from_raw_os_error(errno)))
}
