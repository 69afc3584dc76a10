//! How pieces and objects leave: out of sight at once, out of the index durably, and only then off the disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use connected_cache_sendfile::DataFile;
use rustix::fs::{FallocateFlags, fallocate};

use super::{Busy, Inner, Object};
use crate::keeper::Message;
use crate::tally::Portion;
use crate::{GROUP_PIECES, PIECE_LENGTH, disk_bytes};

impl Object {
    /// Makes a group unreadable and keeps fills out of it. Gives its pieces, or `None` while one is being filled or given back.
    pub(crate) fn close_group(&self, group: u32) -> Option<Closed> {
        let inner = self.inner.lock();
        let found = self.groups.get(group as usize)?;
        let busy = inner.busy.iter().any(|busy| busy.piece() / GROUP_PIECES == group as usize);
        if inner.removed || busy || found.closing.swap(true, Ordering::AcqRel) {
            return None;
        }
        let bitmap = found.committed.swap(0, Ordering::AcqRel);
        let pieces = pieces_of(group, bitmap).collect();
        let bytes = self.group_disk_bytes(group as usize, bitmap);
        let is_empty = !self.has_any();
        self.volume.tally().take(self.portion(&inner, bytes, bitmap != 0 && is_empty));
        Some(Closed { pieces, bytes, object_is_empty: is_empty && inner.busy.is_empty() })
    }

    /// Makes one piece unreadable and keeps fills out of it, whatever happens to its neighbours meanwhile: nobody is to read it
    /// any more. `None` = it is not committed.
    pub(crate) fn close_piece(&self, piece: usize) -> Option<Closed> {
        let mut inner = self.inner.lock();
        let group = self.groups.get(piece / GROUP_PIECES)?;
        let bit = 1 << (piece % GROUP_PIECES);
        if group.committed.fetch_and(!bit, Ordering::AcqRel) & bit == 0 {
            return None;
        }
        inner.busy.push(Busy::Closing(piece));
        let bytes = disk_bytes(self.length_of(piece));
        self.volume.tally().take(self.portion(&inner, bytes, !self.has_any()));
        Some(Closed { pieces: vec![piece], bytes, object_is_empty: false })
    }

    /// Gives the space of closed pieces back to the file system, now that the index does not name them any more. Pieces that
    /// somebody still reads are given back to the caller, who tries again later.
    pub(crate) fn punch(&self, pieces: &[usize]) -> io::Result<Vec<usize>> {
        let inner = self.inner.lock();
        let raw;
        let file: &File = if let Some(data) = inner.file.as_ref().filter(|_| !inner.is_read_only) {
            data.file()
        } else {
            raw = self.volume.open_data(self.number)?;
            &raw
        };
        let mut busy = Vec::new();
        for &piece in pieces {
            if inner.file.as_ref().is_some_and(|data| data.clear(piece).is_err()) {
                busy.push(piece);
                continue;
            }
            punch_hole(file, piece, self.length_of(piece))?;
        }
        Ok(busy)
    }

    /// Clears the bytes of a fill that was given up. `false` while somebody still reads them; `true` once they are gone or
    /// belong to a later fill.
    pub(crate) fn discard(&self, file: &DataFile, piece: usize) -> io::Result<bool> {
        let inner = self.inner.lock();
        if inner.is_busy(piece) || self.has(piece) {
            return Ok(true);
        }
        if file.clear(piece).is_err() {
            return Ok(false);
        }
        punch_hole(file.file(), piece, self.length_of(piece))?;
        Ok(true)
    }

    /// Gives back what lies in the data file and belongs to no committed piece: fills that a crash interrupted, and removed
    /// pieces whose space had not been given back. Pieces in use are left alone. Gives whether there was something.
    pub(crate) fn give_back_leftovers(&self) -> io::Result<bool> {
        let mut inner = self.inner.lock();
        if inner.removed || self.committed() == 0 {
            // It goes as a whole, or it is new.
            return Ok(false);
        }
        let was_open = inner.file.is_some();
        let data = self.open_file(&mut inner)?;
        let has_leftovers = !inner.is_read_only && data.file().metadata()?.blocks() * 512 > self.disk_bytes();
        if has_leftovers {
            // What a removal has not finished is the keeper's: the index may still name it.
            let closing = |piece: usize| self.groups[piece / GROUP_PIECES].closing.load(Ordering::Acquire);
            let is_free = |piece: &usize| {
                !self.has(*piece) && !closing(*piece) && !inner.is_busy(*piece) && data.clear(*piece).is_ok()
            };
            let free: Vec<usize> = (0..self.pieces()).filter(is_free).collect();
            for run in free.chunk_by(|piece, next| piece + 1 == *next) {
                let length = run.iter().map(|piece| self.length_of(*piece)).sum();
                punch_hole(data.file(), run[0], length)?;
            }
        }
        if !was_open {
            inner.file = None;
        }
        Ok(has_leftovers)
    }

    /// Fills may begin again where these pieces were.
    pub(crate) fn reopen(&self, pieces: &[usize]) {
        let mut inner = self.inner.lock();
        for piece in pieces {
            let closing = Busy::Closing(*piece);
            if inner.busy.contains(&closing) {
                inner.end(closing);
            } else if let Some(group) = self.groups.get(piece / GROUP_PIECES) {
                group.closing.store(false, Ordering::Release);
            }
        }
    }

    /// Makes the whole object unreadable at once and tells the keeper, who removes it durably. Gives the bytes of its pieces;
    /// `None` = somebody else removed it before.
    pub(crate) fn ask_removal(self: &Arc<Self>) -> Option<u64> {
        let bytes = self.remove()?;
        self.volume.tell(Message::Removed { object: Arc::clone(self), bytes });
        Some(bytes)
    }

    /// Whether bytes of closed pieces still wait to be given back.
    pub(crate) fn is_closing(&self) -> bool {
        self.groups.iter().any(|group| group.closing.load(Ordering::Acquire))
            || self.inner.lock().busy.iter().any(|busy| matches!(busy, Busy::Closing(_)))
    }

    /// Makes the whole object unreadable for good. Gives the bytes of its committed pieces.
    pub(crate) fn remove(&self) -> Option<u64> {
        let mut inner = self.inner.lock();
        if std::mem::replace(&mut inner.removed, true) {
            return None;
        }
        let bytes = (0..self.groups.len())
            .map(|group| self.group_disk_bytes(group, self.groups[group].committed.swap(0, Ordering::AcqRel)))
            .sum();
        self.volume.tally().take(self.portion(&inner, bytes, bytes > 0));
        Some(bytes)
    }

    /// The open file of a removed object, which lets go of it. The keeper's: as long as the object has it, nobody takes bytes
    /// away that are still read.
    pub(crate) fn take_file(&self) -> Option<Arc<DataFile>> {
        self.inner.lock().file.take()
    }

    /// Its pin is over. Its bytes may go like any other's.
    pub(crate) fn unpin(&self) {
        let mut inner = self.inner.lock();
        if std::mem::take(&mut inner.pinned) {
            self.volume.tally().unpin(self.disk_bytes());
        }
    }

    /// Counts what was found at start.
    pub(crate) fn count_restored(&self, pinned: bool) {
        let bytes = self.disk_bytes();
        self.volume.tally().add(Portion { class: self.class, pinned, bytes, whole: bytes > 0 });
    }

    /// Whether anything is committed.
    pub(crate) fn has_any(&self) -> bool {
        self.groups.iter().any(|group| group.committed.load(Ordering::Acquire) != 0)
    }

    pub(super) fn portion(&self, inner: &Inner, bytes: u64, whole: bool) -> Portion {
        Portion { class: self.class, pinned: inner.pinned, bytes, whole }
    }

    /// Whether nothing is committed and nothing is being filled; such an object may go.
    pub(crate) fn is_idle_and_empty(&self) -> bool {
        let inner = self.inner.lock();
        inner.busy.is_empty()
            && self.committed() == 0
            && self.groups.iter().all(|group| !group.closing.load(Ordering::Acquire))
    }
}

fn punch_hole(file: &File, piece: usize, length: usize) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    // To the end of the last page: a shorter hole would leave a page behind.
    let length = disk_bytes(length);
    Ok(fallocate(file, flags, piece as u64 * PIECE_LENGTH as u64, length)?)
}

/// What [`Object::close_group`] took out of sight.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) pieces: Vec<usize>,
    pub(crate) bytes: u64,
    pub(crate) object_is_empty: bool,
}

fn pieces_of(group: u32, bitmap: u64) -> impl Iterator<Item = usize> {
    (0..GROUP_PIECES)
        .filter(move |bit| bitmap & 1 << bit != 0)
        .map(move |bit| group as usize * GROUP_PIECES + bit)
}
