//! The steps of a fill: append, follow along, commit or give up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use connected_cache_sendfile::data_file::DataFileError;
use connected_cache_sendfile::{DataFile, PieceWriter};

use super::{Busy, FillError, Object, ReadError};
use crate::index::{PieceRecord, Trust};
use crate::keeper::Message;
use crate::{GROUP_PIECES, disk_bytes};

/// A piece that is being stored.
#[derive(Debug)]
pub struct PieceFill {
    pub(super) object: Arc<Object>,
    pub(super) file: Arc<DataFile>,
    pub(super) writer: Option<PieceWriter>,
    pub(super) piece: usize,
    pub(super) committed: bool,
}

impl PieceFill {
    /// The object.
    #[must_use]
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// The piece.
    #[must_use]
    pub fn piece(&self) -> usize {
        self.piece
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.file.written(self.piece)
    }

    /// Appends bytes; they can be read by [`Self::reader`] at once.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FillError> {
        let writer = self.writer.as_mut().ok_or(FillError::Removed)?;
        writer.append(bytes).map_err(|error| match error {
            DataFileError::Io(error) => self.object.volume.failed_write(error),
            _ => FillError::OutOfBounds,
        })
    }

    /// Appends several parts by as few writes as possible.
    pub fn append_all(&mut self, parts: &[Bytes]) -> Result<(), FillError> {
        let writer = self.writer.as_mut().ok_or(FillError::Removed)?;
        writer.append_all(parts).map_err(|error| match error {
            DataFileError::Io(error) => self.object.volume.failed_write(error),
            _ => FillError::OutOfBounds,
        })
    }

    /// A reader that follows the fill: it reads what is written, before the piece is committed.
    #[must_use]
    pub fn reader(&self) -> FillReader {
        FillReader { file: Arc::clone(&self.file), piece: self.piece }
    }

    /// Admits the piece: all its bytes are there and were checked by the caller, whose digest this is. It can be read at
    /// once and survives a crash after the next sync point.
    pub fn commit(mut self, sha256: [u8; 32], trust: Trust) -> Result<(), FillError> {
        let missing = self.object.length_of(self.piece) - self.written();
        if missing > 0 {
            return Err(FillError::Incomplete(missing));
        }
        let mut inner = self.object.inner.lock();
        if inner.removed {
            drop(inner);
            return Err(FillError::Removed);
        }
        self.writer = None;
        inner.end(Busy::Filling(self.piece));
        let group = &self.object.groups[self.piece / GROUP_PIECES];
        let bit = 1 << (self.piece % GROUP_PIECES);
        group.verified.fetch_or(bit, Ordering::AcqRel);
        match trust {
            Trust::Authenticated => group.authenticated.fetch_or(bit, Ordering::AcqRel),
            Trust::Origin | Trust::Vouched => group.authenticated.fetch_and(!bit, Ordering::AcqRel),
        };
        let is_first = !self.object.has_any();
        let before = group.committed.fetch_or(bit, Ordering::AcqRel);
        self.committed = true;
        let bytes = disk_bytes(self.object.length_of(self.piece));
        self.object.volume.tally().add(self.object.portion(&inner, bytes, is_first));
        // Told under the lock: whoever removes the piece does so after this and is heard after this.
        self.object.volume.tell(Message::Committed {
            object: Arc::clone(&self.object),
            file: Arc::clone(&self.file),
            piece: self.piece,
            record: PieceRecord { sha256, trust },
            first_of_group: before == 0,
        });
        drop(inner);
        Ok(())
    }
}

impl Drop for PieceFill {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        self.writer = None;
        let mut inner = self.object.inner.lock();
        inner.end(Busy::Filling(self.piece));
        drop(inner);
        // The keeper gives the space back, as soon as nobody reads these bytes any more.
        self.object.volume.tell(Message::Discarded {
            object: Arc::clone(&self.object),
            file: Arc::clone(&self.file),
            piece: self.piece,
        });
    }
}

/// Reads the bytes of a fill as they come.
#[derive(Clone, Debug)]
pub struct FillReader {
    file: Arc<DataFile>,
    piece: usize,
}

impl FillReader {
    /// Bytes that can be read now.
    #[must_use]
    pub fn written(&self) -> usize {
        self.file.written(self.piece)
    }

    /// Bytes of the piece that are written; `Missing` when not all of them are.
    pub fn read(&self, offset: usize, length: usize) -> Result<Bytes, ReadError> {
        self.file.read(self.piece, offset, length).map_err(|_| ReadError::Missing(self.piece))
    }
}
