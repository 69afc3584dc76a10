//! One object in memory: which pieces are committed, and the data file when it is open.

mod fill;
mod removal;
mod whole;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use connected_cache_sendfile::DataFile;
use connected_cache_sendfile::data_file::DataFileError;
use parking_lot::Mutex;
use rustix::fs::{OFlags, fcntl_getfl};
use sha2::{Digest as _, Sha256};

use crate::index::{Bitmaps, ObjectRecord, PieceRecord};
use crate::keeper::{Answer, Authentication, Digests, Message};
use crate::volume::Volume;
use crate::{GROUP_PIECES, PIECE_LENGTH, disk_bytes};

pub use fill::PieceFill;
pub use whole::WholeError;

/// Why a piece can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The piece is not committed, or not any more.
    #[error("piece {0} is not in the store")]
    Missing(usize),
    /// The bytes on disk are not those that were stored, or can't be read although the disk works: the piece is dropped.
    #[error("piece {0} is damaged")]
    Damaged(usize),
    /// The range is not inside the piece.
    #[error("the range is outside of piece {0}")]
    OutOfBounds(usize),
    /// The volume refused.
    #[error("unable to read from the volume: {0}")]
    Io(#[from] io::Error),
}

/// Why a piece can't be stored now. The caller passes the content through.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// It is committed already.
    #[error("the piece is in the store already")]
    Present,
    /// Somebody else writes it, or its previous bytes are still being read.
    #[error("the piece is in use")]
    Busy,
    /// The object was removed or replaced.
    #[error("the object was removed")]
    Removed,
    /// The volume has no room within its limit, or its file system has less free space than it must keep.
    #[error("the volume is full")]
    Full,
    /// The volume does not take writes.
    #[error("the volume does not take writes")]
    Unhealthy,
    /// The piece is not inside the object, or more bytes were given than it has.
    #[error("outside of the object")]
    OutOfBounds,
    /// A commit came before all bytes.
    #[error("{0} bytes of the piece are missing")]
    Incomplete(usize),
    /// The volume refused.
    #[error("unable to write to the volume: {0}")]
    Io(io::Error),
}

/// 64 pieces.
#[derive(Debug, Default)]
struct Group {
    /// One bit for each committed piece.
    committed: AtomicU64,
    /// One bit for each piece whose bytes are known to be right: stored by this process, or checked when first read.
    verified: AtomicU64,
    /// One bit for each piece that is [`Trust::Authenticated`], if it is committed at all.
    authenticated: AtomicU64,
    /// Uses since the evictor last asked, at most 3.
    uses: AtomicU8,
    /// Its bytes are being given back; no fill may begin.
    closing: AtomicBool,
}

/// What changes together.
#[derive(Debug, Default)]
struct Inner {
    file: Option<Arc<DataFile>>,
    /// The file was opened while its disk took no writes.
    is_read_only: bool,
    /// Pieces that can't be begun.
    busy: Vec<Busy>,
    removed: bool,
    /// Not to be evicted; the keeper knows until when.
    pinned: bool,
}

/// Why a piece can't be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Busy {
    /// It has a [`PieceFill`].
    Filling(usize),
    /// It was dropped by itself, and its bytes are being given back.
    Closing(usize),
}

impl Busy {
    const fn piece(self) -> usize {
        match self {
            Self::Filling(piece) | Self::Closing(piece) => piece,
        }
    }
}

impl Inner {
    fn is_busy(&self, piece: usize) -> bool {
        self.busy.iter().any(|busy| busy.piece() == piece)
    }

    fn end(&mut self, ended: Busy) {
        self.busy.retain(|busy| *busy != ended);
    }
}

/// One generation of one content.
#[derive(Debug)]
pub struct Object {
    number: u64,
    key: u128,
    class: u8,
    length: u64,
    created: u64,
    last_used: AtomicU64,
    groups: Box<[Group]>,
    inner: Mutex<Inner>,
    volume: Arc<Volume>,
}

impl Object {
    pub(crate) fn new(
        volume: Arc<Volume>,
        number: u64,
        key: u128,
        record: &ObjectRecord,
        last_used: u64,
        pinned: bool,
    ) -> Self {
        let pieces = usize::try_from(record.length.div_ceil(PIECE_LENGTH as u64)).unwrap_or(usize::MAX);
        let groups = std::iter::repeat_with(Group::default).take(pieces.div_ceil(GROUP_PIECES)).collect();
        Self {
            number,
            key,
            class: record.class,
            length: record.length,
            created: record.created,
            last_used: AtomicU64::new(last_used),
            groups,
            inner: Mutex::new(Inner { pinned, ..Inner::default() }),
            volume,
        }
    }

    /// Takes over what the index says at start.
    pub(crate) fn restore(&self, group: u32, bitmaps: Bitmaps) -> bool {
        let Some(found) = self.groups.get(group as usize) else { return false };
        found.authenticated.store(bitmaps.authenticated, Ordering::Release);
        let pieces = self.pieces() - group as usize * GROUP_PIECES;
        let valid = if pieces >= GROUP_PIECES { u64::MAX } else { (1 << pieces) - 1 };
        found.committed.store(bitmaps.committed & valid, Ordering::Release);
        bitmaps.committed & valid != 0
    }

    /// Number that no other object of the volume ever had.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Hash of its key.
    pub(crate) fn key(&self) -> u128 {
        self.key
    }

    /// Seconds since 1970 of its creation. A later object of a key always has a higher one.
    pub(crate) fn created(&self) -> u64 {
        self.created
    }

    /// Content class, as given at creation.
    #[must_use]
    pub fn class(&self) -> u8 {
        self.class
    }

    /// Length of the whole content in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Number of pieces of the whole content.
    #[must_use]
    pub fn pieces(&self) -> usize {
        usize::try_from(self.length.div_ceil(PIECE_LENGTH as u64)).unwrap_or(usize::MAX)
    }

    /// Length of one piece in bytes; 0 outside of the object.
    #[must_use]
    pub fn length_of(&self, piece: usize) -> usize {
        let start = piece as u64 * PIECE_LENGTH as u64;
        usize::try_from(self.length.saturating_sub(start).min(PIECE_LENGTH as u64)).unwrap_or(0)
    }

    /// Whether a piece is committed.
    #[must_use]
    pub fn has(&self, piece: usize) -> bool {
        let bit = 1 << (piece % GROUP_PIECES);
        self.groups
            .get(piece / GROUP_PIECES)
            .is_some_and(|group| group.committed.load(Ordering::Acquire) & bit != 0)
    }

    /// Whether it was removed, evicted as a whole or replaced, or its volume is gone: nothing can be stored in it any more.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.inner.lock().removed || self.volume.is_gone()
    }

    /// Whether its volume takes pieces now.
    #[must_use]
    pub fn takes_pieces(&self) -> bool {
        self.volume.is_healthy()
    }

    /// Whether it is pinned, and its pin not over.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.inner.lock().pinned
    }

    /// Number of committed pieces.
    #[must_use]
    pub fn committed(&self) -> usize {
        self.groups.iter().map(|group| group.committed.load(Ordering::Acquire).count_ones() as usize).sum()
    }

    /// Number of committed pieces that are [`Trust::Authenticated`](crate::Trust).
    #[must_use]
    pub fn authenticated(&self) -> usize {
        let bits = |group: &Group| {
            group.committed.load(Ordering::Acquire) & group.authenticated.load(Ordering::Acquire)
        };
        self.groups.iter().map(|group| bits(group).count_ones() as usize).sum()
    }

    /// Number of committed pieces from `first` to `last`.
    #[must_use]
    pub fn committed_within(&self, first: usize, last: usize) -> usize {
        let groups = first / GROUP_PIECES..=last / GROUP_PIECES;
        groups
            .map(|group| {
                let start = group * GROUP_PIECES;
                let from = first.saturating_sub(start);
                let to = (last - start).min(GROUP_PIECES - 1);
                let mask = (u64::MAX << from) & (u64::MAX >> (GROUP_PIECES - 1 - to));
                (self.bitmap(group) & mask).count_ones() as usize
            })
            .sum()
    }

    /// Bytes that the committed pieces take on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        (0..self.groups.len()).map(|group| self.group_disk_bytes(group, self.bitmap(group))).sum()
    }

    /// Seconds since 1970 of the last [`Self::touch`].
    #[must_use]
    pub fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    /// Notes that a piece was asked for, at `seconds` since 1970.
    pub fn touch(&self, piece: usize, seconds: u64) {
        if let Some(group) = self.groups.get(piece / GROUP_PIECES) {
            let uses = group.uses.load(Ordering::Relaxed);
            if uses < 3 {
                group.uses.store(uses + 1, Ordering::Relaxed);
            }
        }
        if self.last_used.load(Ordering::Relaxed) < seconds {
            self.last_used.store(seconds, Ordering::Relaxed);
        }
    }

    /// What was given at creation; `None` = it is not in the index yet. One that can't be read is an error.
    pub fn record(&self) -> Result<Option<ObjectRecord>, ReadError> {
        Ok(self.volume.record(self.number)?)
    }

    /// SHA-256 and trust of a committed piece, once the index has it.
    pub fn piece_record(&self, piece: usize) -> Result<Option<PieceRecord>, ReadError> {
        Ok(self.volume.piece_record(self.number, piece)?)
    }

    /// Bytes of a committed piece, mapped and not copied.
    pub fn read(&self, piece: usize, offset: usize, length: usize) -> Result<Bytes, ReadError> {
        let file = self.committed_file(piece)?;
        file.read(piece, offset, length).map_err(|error| self.read_failed(piece, error))
    }

    /// Bytes of a committed piece, copied out of the file: for readers that touch the bytes themselves. Blocks.
    pub fn read_copied(&self, piece: usize, offset: usize, length: usize) -> Result<Bytes, ReadError> {
        let file = self.committed_file(piece)?;
        file.read_copied(piece, offset, length).map_err(|error| self.read_failed(piece, error))
    }

    /// Whether a range of a committed piece can be read at once: its file is open, its bytes are known to be right and in the
    /// page cache.
    #[must_use]
    pub fn is_ready(&self, piece: usize, offset: usize, length: usize) -> bool {
        let open = self.inner.lock().file.clone();
        self.has(piece)
            && self.is_verified(piece)
            && open.is_some_and(|file| file.is_resident(piece, offset, length))
    }

    /// Makes a range of a committed piece ready. A piece that lay on the disk since before this process began is checked as
    /// a whole against its SHA-256, once; a wrong one is dropped and missing from then on, and so is one that can't be read
    /// although the disk works. A disk that fails here takes its volume out of use until it works again, and costs no piece.
    /// Blocks.
    pub fn make_ready(self: &Arc<Self>, piece: usize, offset: usize, length: usize) -> Result<(), ReadError> {
        let file = self.committed_file(piece)?;
        if self.is_verified(piece) {
            return self.read_or_drop(piece, || Ok(file.load(piece, offset, length)?));
        }
        self.check(piece)?;
        if let Some(group) = self.groups.get(piece / GROUP_PIECES) {
            group.verified.fetch_or(1 << (piece % GROUP_PIECES), Ordering::AcqRel);
        }
        Ok(())
    }

    /// Reads a whole committed piece and compares it with its SHA-256 in the index. A wrong one is dropped, and so is one that
    /// can't be read although the disk works. Blocks.
    pub fn check(self: &Arc<Self>, piece: usize) -> Result<(), ReadError> {
        self.checked_bytes(piece).map(drop)
    }

    /// As [`Self::check`]; gives the bytes, which are a copy.
    pub fn checked_bytes(self: &Arc<Self>, piece: usize) -> Result<Bytes, ReadError> {
        let file = self.committed_file(piece)?;
        let bytes = self.read_or_drop(piece, || file.read_copied(piece, 0, self.length_of(piece)))?;
        let is_right = match self.piece_record(piece)? {
            Some(record) => record.sha256 == <[u8; 32]>::from(Sha256::digest(&bytes)),
            // Committed a moment ago and not in the index yet: it was hashed by us, just now.
            None => self.is_verified(piece),
        };
        if !is_right {
            tracing::warn!(object = self.number, piece, "a stored piece is damaged and is dropped");
            self.drop_piece(piece);
            return Err(ReadError::Damaged(piece));
        }
        Ok(bytes)
    }

    /// Reads a piece. When the disk refuses, either it fails as a whole, which is the volume's matter, or just there, which
    /// costs the piece.
    fn read_or_drop<T>(
        self: &Arc<Self>,
        piece: usize,
        read: impl Fn() -> Result<T, DataFileError>,
    ) -> Result<T, ReadError> {
        match read() {
            Err(DataFileError::Io(error)) if !self.volume.works_despite(&error) => Err(ReadError::Io(error)),
            Err(DataFileError::Io(_)) => read().map_err(|error| match error {
                DataFileError::Io(error) => {
                    tracing::warn!(object = self.number, piece, %error, "a stored piece can't be read and is dropped");
                    self.drop_piece(piece);
                    ReadError::Damaged(piece)
                }
                other => self.read_failed(piece, other),
            }),
            outcome => outcome.map_err(|error| self.read_failed(piece, error)),
        }
    }

    fn is_verified(&self, piece: usize) -> bool {
        let bit = 1 << (piece % GROUP_PIECES);
        self.groups
            .get(piece / GROUP_PIECES)
            .is_some_and(|group| group.verified.load(Ordering::Acquire) & bit != 0)
    }

    /// Every piece is to be checked when it is read next: bytes may have been lost. One that the index does not have yet can't
    /// be checked and counts as damaged.
    pub(crate) fn doubt(&self) {
        for group in &self.groups {
            group.verified.store(0, Ordering::Release);
        }
    }

    fn committed_file(&self, piece: usize) -> Result<Arc<DataFile>, ReadError> {
        if !self.has(piece) {
            return Err(ReadError::Missing(piece));
        }
        let opened = self.open_file(&mut self.inner.lock());
        opened.map_err(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                self.volume.works_despite(&error);
            }
            ReadError::Io(error)
        })
    }

    fn read_failed(&self, piece: usize, error: DataFileError) -> ReadError {
        match error {
            DataFileError::OutOfBounds { .. } => ReadError::OutOfBounds(piece),
            DataFileError::Io(error) => {
                self.volume.works_despite(&error);
                ReadError::Io(error)
            }
            DataFileError::NotWritten { .. } | DataFileError::Busy { .. } => ReadError::Missing(piece),
        }
    }

    /// After [`FillError::Full`]: waits until its volume has room for this piece; `false` = not in time. Blocks.
    #[must_use]
    pub fn wait_for_room(&self, piece: usize, patience: Duration) -> bool {
        self.volume.wait_for_room(disk_bytes(self.length_of(piece)), patience)
    }

    /// Begins to store a piece: takes its space and the right to write it. Dropping the result without
    /// [`PieceFill::commit`] gives both back.
    pub fn begin(self: &Arc<Self>, piece: usize) -> Result<PieceFill, FillError> {
        let length = self.length_of(piece);
        let group =
            self.groups.get(piece / GROUP_PIECES).filter(|_| length > 0).ok_or(FillError::OutOfBounds)?;
        let mut inner = self.inner.lock();
        if inner.removed {
            return Err(FillError::Removed);
        }
        if self.has(piece) {
            return Err(FillError::Present);
        }
        if group.closing.load(Ordering::Acquire) || inner.is_busy(piece) {
            return Err(FillError::Busy);
        }
        self.volume.reserve(disk_bytes(length))?;
        match self.open_file(&mut inner).map_err(|error| self.volume.failed_write(error)).and_then(|file| {
            if inner.is_read_only {
                // It is opened anew once nobody reads it any more.
                return Err(FillError::Busy);
            }
            // Bytes of an earlier, broken fill that somebody still reads are not to be touched.
            if file.written(piece) > 0 {
                file.clear(piece).map_err(|_| FillError::Busy)?;
            }
            let writer = file.writer(piece).map_err(|_| FillError::Busy)?;
            Ok((file, writer))
        }) {
            Ok((file, writer)) => {
                inner.busy.push(Busy::Filling(piece));
                Ok(PieceFill {
                    object: Arc::clone(self),
                    file,
                    writer: Some(writer),
                    piece,
                    committed: false,
                })
            }
            Err(error) => {
                self.volume.release(disk_bytes(length));
                Err(error)
            }
        }
    }

    /// The data file, opened or made when it is not open. One that is not as long as the index says is made so, and all of its
    /// pieces are checked again.
    fn open_file(&self, inner: &mut Inner) -> io::Result<Arc<DataFile>> {
        if inner.is_read_only
            && self.volume.is_healthy()
            && inner.file.as_mut().is_some_and(|file| Arc::get_mut(file).is_some())
        {
            inner.file = None;
        }
        if let Some(file) = &inner.file {
            return Ok(Arc::clone(file));
        }
        if inner.removed {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = self.volume.open_data(self.number)?;
        if file.metadata()?.len() != self.length {
            if self.committed() > 0 {
                tracing::warn!(
                    object = self.number,
                    "a data file has another length, its pieces are checked"
                );
                self.doubt();
            }
            file.set_len(self.length)?;
        }
        inner.is_read_only = fcntl_getfl(&file)? & OFlags::ACCMODE == OFlags::RDONLY;
        let data =
            DataFile::open(file, self.length, PIECE_LENGTH, |piece| self.has(piece)).map_err(into_io)?;
        inner.file = Some(Arc::clone(&data));
        self.volume.count_open();
        Ok(data)
    }

    /// Closes the data file when nobody uses it. Gives whether it is closed now.
    pub(crate) fn close_idle(&self) -> bool {
        let mut inner = self.inner.lock();
        let idle =
            inner.busy.is_empty() && inner.file.as_mut().is_some_and(|file| Arc::get_mut(file).is_some());
        if idle {
            inner.file = None;
        }
        inner.file.is_none()
    }

    fn bitmap(&self, group: usize) -> u64 {
        self.groups.get(group).map_or(0, |group| group.committed.load(Ordering::Acquire))
    }

    fn group_disk_bytes(&self, group: usize, bitmap: u64) -> u64 {
        let last = self.pieces().saturating_sub(1);
        let whole = u64::from(bitmap.count_ones()) * PIECE_LENGTH as u64;
        let has_last = last / GROUP_PIECES == group && bitmap & 1 << (last % GROUP_PIECES) != 0;
        if has_last { whole - PIECE_LENGTH as u64 + disk_bytes(self.length_of(last)) } else { whole }
    }

    pub(crate) fn uses(&self, group: u32) -> Option<u8> {
        let group = self.groups.get(group as usize)?;
        (group.committed.load(Ordering::Acquire) != 0).then(|| group.uses.load(Ordering::Relaxed))
    }

    pub(crate) fn take_use(&self, group: u32) -> Option<u8> {
        let uses = self.uses(group)?;
        self.groups[group as usize].uses.store(uses.saturating_sub(1), Ordering::Relaxed);
        Some(uses)
    }

    /// Replaces what the caller keeps with the object (at most 64 KiB; longer ones are not taken), durably with the next
    /// commit.
    pub fn set_attributes(self: &Arc<Self>, attributes: Vec<u8>) {
        if attributes.len() <= crate::index::MAX_ATTRIBUTES {
            self.volume.tell(Message::Attributes { object: Arc::clone(self), attributes });
        }
    }

    /// Tells the keeper to drop one piece, whose bytes were found wrong.
    pub fn drop_piece(self: &Arc<Self>, piece: usize) {
        self.volume.tell(Message::DropPiece { object: Arc::clone(self), piece });
    }

    /// Tells the keeper to compare the SHA-256 of each committed piece with the authenticated one: what is the same is
    /// [`Trust::Authenticated`](crate::Trust) from then on, what is not is dropped. No piece is read or hashed for it.
    pub fn authenticate(self: &Arc<Self>, digests: Digests, answer: Answer) {
        self.volume.tell(Message::Authenticate(Authentication { object: Arc::clone(self), digests, answer }));
    }

    /// A committed piece is authenticated now; `false` = it is gone.
    pub(crate) fn note_authenticated(&self, piece: usize) -> bool {
        let _inner = self.inner.lock();
        let Some(group) = self.groups.get(piece / GROUP_PIECES).filter(|_| self.has(piece)) else {
            return false;
        };
        group.authenticated.fetch_or(1 << (piece % GROUP_PIECES), Ordering::AcqRel);
        true
    }

    /// Folder of its volume.
    pub(crate) fn volume_path(&self) -> &Path {
        self.volume.path()
    }

    pub(crate) fn is_on(&self, volume: &Arc<Volume>) -> bool {
        Arc::ptr_eq(&self.volume, volume)
    }
}

fn into_io(error: DataFileError) -> io::Error {
    match error {
        DataFileError::Io(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::Object;

    #[test]
    fn what_pins_need_costs_an_object_no_memory() {
        // 128 bytes without pins: a start with a million objects has so many MB for them.
        assert!(size_of::<Object>() <= 128, "{}", size_of::<Object>());
    }
}
