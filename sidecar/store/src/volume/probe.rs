//! Whether a volume works: after an error, and again and again once it has failed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::Ordering;

use rustix::fs::{Advice, AtFlags, Mode, OFlags, fadvise, fsync, openat, unlinkat};

use super::{Health, INDEX, Volume, identity, is_full, is_volume, make_folders};
use crate::index::{self, Index};

/// Where a data file would be, so that what hinders these hinders the probe.
const PROBE: &str = "data/00/.probe";

impl Volume {
    /// Tries whether a failed volume works again: same file system, a file can be written and synced, the index opens. It is
    /// gone when another folder that may be the volume is in its place, or its index has to be set aside.
    pub(crate) fn probe(&self) {
        if identity(&self.path).is_ok_and(|found| found != self.identity) && is_volume(&self.path) {
            self.gone.store(true, Ordering::Release);
            return;
        }
        match self.try_again() {
            Ok(()) => {
                tracing::info!(volume = %self.path.display(), "volume works again");
                *self.health.lock() = Health::Healthy;
                self.healthy.store(true, Ordering::Release);
            }
            Err(error) => {
                *self.health.lock() = Health::Failed(error.to_string());
                self.keep_readable();
            }
        }
    }

    /// Opens an index that refuses to be read for reading only.
    fn keep_readable(&self) {
        if !self.index_failed.load(Ordering::Acquire) {
            return;
        }
        let mut index = self.index.write();
        *index = None;
        match Index::open_frozen(&self.path.join(INDEX)) {
            Ok(frozen) => {
                *index = Some(frozen);
                self.index_failed.store(false, Ordering::Release);
            }
            Err(error) => {
                tracing::debug!(volume = %self.path.display(), %error, "the index can't be read");
            }
        }
    }

    /// Fails a volume whose folder is not in its place any more. Without this nobody would notice: what was opened before
    /// still works on a file system that was unmounted under us, and is gone with this process.
    pub(crate) fn check_place(&self) {
        if let Err(error) = self.is_in_place() {
            self.fail(&error);
        }
    }

    fn is_in_place(&self) -> io::Result<()> {
        if identity(&self.path)? == self.identity {
            return Ok(());
        }
        Err(io::Error::other(
            "another file system or folder is in the volume's place: mount the volume there again; if it is mounted, or to begin with an empty folder, restart the pod",
        ))
    }

    /// After an error: whether the disk works all the same. One that does not has failed from now on. Blocks.
    pub(crate) fn works_despite(&self, error: &io::Error) -> bool {
        let _alone = self.trying.lock();
        if !self.is_healthy() {
            return false;
        }
        let works = self.try_disk().is_ok();
        if !works {
            self.fail(error);
        }
        works
    }

    /// Whether the disk takes bytes and gives them back.
    fn try_disk(&self) -> io::Result<()> {
        const LENGTH: usize = 4096;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file: File = openat(&self.folder, PROBE, flags, Mode::RUSR | Mode::WUSR)?.into();
        file.write_all_at(&[1; LENGTH], 0)?;
        file.sync_all()?;
        // Read from the disk and not from memory.
        fadvise(&file, 0, None, Advice::DontNeed)?;
        let mut read = [0; LENGTH];
        file.read_exact_at(&mut read, 0)?;
        if read != [1; LENGTH] {
            return Err(io::Error::other("the disk gave other bytes than were written"));
        }
        Ok(unlinkat(&self.folder, PROBE, AtFlags::empty())?)
    }

    fn try_again(&self) -> io::Result<()> {
        self.is_in_place()?;
        let is_new = self.next.load(Ordering::Relaxed) == 0;
        if is_new {
            make_folders(&self.folder)?;
        }
        let tried = {
            let _alone = self.trying.lock();
            self.try_disk()
        };
        match tried {
            // A full disk works: it only takes no more, until something is evicted.
            Err(error) if is_full(&error) => {}
            outcome => outcome?,
        }
        // A database that saw an error takes no more writes; a new handle repairs it.
        let mut index = self.index.write();
        *index = None;
        self.index_failed.store(true, Ordering::Release);
        let opened = Index::open(&self.path.join(INDEX)).map_err(|error| {
            if index::is_broken(&error) {
                // To be set aside, as at a start.
                self.gone.store(true, Ordering::Release);
            }
            io::Error::other(error)
        })?;
        if is_new {
            self.next.store(opened.next_epoch().map_err(io::Error::other)? << 40, Ordering::Relaxed);
        }
        fsync(&self.folder)?;
        self.index_failed.store(false, Ordering::Release);
        *index = Some(opened);
        Ok(())
    }
}
