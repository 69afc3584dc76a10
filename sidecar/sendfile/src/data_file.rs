//! A file of fixed length whose pieces are written front to back and read through a mapping.
//!
//! # Why reading is sound
//! A [`Bytes`] given out by [`DataFile::read`] points at memory that the kernel shares with the file. It must not change
//! while the `Bytes` lives. Each piece therefore has one state word that counts the bytes written so far, the slices that
//! are out, and whether a writer exists:
//! * only bytes below the written count are given out;
//! * a writer only appends, so it never touches a byte below that count;
//! * a piece can be cleared, to be written anew, only while no slice of it is out and no writer exists.
//!
//! All three are decided by compare-and-swap on the one word. The file is never truncated by us: removing an object unlinks
//! the file, and the mapping keeps the inode. Another program that truncates a file below our folder can end this process
//! by SIGBUS; the folder belongs to us alone.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rustix::io::pwritev;

use crate::mapping::Mapping;
use crate::residency;

/// Parts of one vectored write; the kernel takes 1,024 at most.
const MOST_PARTS: usize = 512;

/// A write or a read that the state of the piece does not allow.
#[derive(Debug, thiserror::Error)]
pub enum DataFileError {
    /// The range is not inside one piece of the file.
    #[error("the range of {length} bytes at {offset} of piece {piece} is outside of the file")]
    OutOfBounds {
        /// Piece asked for.
        piece: usize,
        /// Offset inside the piece.
        offset: usize,
        /// Bytes asked for.
        length: usize,
    },
    /// The bytes are not written yet.
    #[error("piece {piece} has {written} bytes written, {wanted} are needed")]
    NotWritten {
        /// Piece asked for.
        piece: usize,
        /// Bytes written so far.
        written: usize,
        /// Bytes that the range ends at.
        wanted: usize,
    },
    /// A writer or a reader is using the piece.
    #[error("piece {piece} is in use")]
    Busy {
        /// Piece asked for.
        piece: usize,
    },
    /// The file system refused.
    #[error("unable to use the data file: {0}")]
    Io(#[from] io::Error),
}

const READER: u64 = 1;
const READERS: u64 = (1 << 31) - 1;
const WRITER: u64 = 1 << 31;
const WRITTEN_SHIFT: u32 = 32;

/// The state of one piece in one word: bytes written (high half), a writer bit, slices that are out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State(u64);

impl State {
    fn written(self) -> usize {
        usize::try_from(self.0 >> WRITTEN_SHIFT).unwrap_or(usize::MAX)
    }
    fn readers(self) -> u64 {
        self.0 & READERS
    }
    fn has_writer(self) -> bool {
        self.0 & WRITER != 0
    }
}

/// A mapped file of fixed length.
#[derive(Debug)]
pub struct DataFile {
    mapping: Mapping,
    length: usize,
    piece_length: usize,
    pieces: Box<[AtomicU64]>,
}

impl DataFile {
    /// Takes a file that is empty or of this length and gives it exactly `length` bytes (at least 1), in pieces of
    /// `piece_length` (1 to 2^31 - 1 bytes). No piece counts as written.
    pub fn create(file: File, length: u64, piece_length: usize) -> Result<Arc<Self>, DataFileError> {
        file.set_len(length)?;
        Self::open(file, length, piece_length, |_| false)
    }

    /// Takes a file that holds what `is_written` says of each piece. The caller answers for it: the index says so.
    pub fn open(
        file: File,
        length: u64,
        piece_length: usize,
        is_written: impl Fn(usize) -> bool,
    ) -> Result<Arc<Self>, DataFileError> {
        let bad = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "length and piece length must be from 1 to 2^31 - 1 each piece",
            )
        };
        let length = usize::try_from(length).map_err(|_| bad())?;
        if length == 0 || piece_length == 0 || piece_length > i32::MAX as usize {
            return Err(bad().into());
        }
        if file.metadata()?.len() < length as u64 {
            return Err(
                io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than its object").into()
            );
        }
        let count = length.div_ceil(piece_length);
        let pieces = (0..count)
            .map(|piece| {
                let written =
                    if is_written(piece) { piece_length.min(length - piece * piece_length) } else { 0 };
                AtomicU64::new((written as u64) << WRITTEN_SHIFT)
            })
            .collect();
        Ok(Arc::new(Self { mapping: Mapping::new(file, length)?, length, piece_length, pieces }))
    }

    /// Number of pieces.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Length of one piece: the last one may be shorter. `None` outside of the file.
    #[must_use]
    pub fn length_of(&self, piece: usize) -> Option<usize> {
        (piece < self.pieces.len()).then(|| self.piece_length.min(self.length - piece * self.piece_length))
    }

    /// Bytes of a piece that are written, from its front.
    #[must_use]
    pub fn written(&self, piece: usize) -> usize {
        self.pieces.get(piece).map_or(0, |state| State(state.load(Ordering::Acquire)).written())
    }

    /// The file below, for syncing and for giving space back.
    #[must_use]
    pub fn file(&self) -> &File {
        self.mapping.file()
    }

    /// Bytes of a piece, without copying. All of them must be written.
    pub fn read(
        self: &Arc<Self>,
        piece: usize,
        offset: usize,
        length: usize,
    ) -> Result<Bytes, DataFileError> {
        let out_of_bounds = DataFileError::OutOfBounds { piece, offset, length };
        let Some(wanted) = offset.checked_add(length) else { return Err(out_of_bounds) };
        let Some(state) = self.pieces.get(piece).filter(|_| self.length_of(piece) >= Some(wanted)) else {
            return Err(out_of_bounds);
        };
        if length == 0 {
            return Ok(Bytes::new());
        }
        state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                let now = State(word);
                (now.written() >= wanted && now.readers() < READERS).then_some(word + READER)
            })
            .map_err(|word| DataFileError::NotWritten { piece, written: State(word).written(), wanted })?;
        let start = piece * self.piece_length + offset;
        Ok(Bytes::from_owner(Slice { file: Arc::clone(self), piece, start, end: start + length }))
    }

    /// As [`Self::read`], with the bytes copied out of the file. For readers that touch the bytes themselves (TLS): a disk
    /// error is an error here, where touching a mapping would end the process. Blocks.
    pub fn read_copied(
        self: &Arc<Self>,
        piece: usize,
        offset: usize,
        length: usize,
    ) -> Result<Bytes, DataFileError> {
        // Taken first: while it lives the bytes can't be cleared.
        let _reading = self.read(piece, offset, length)?;
        let mut bytes = vec![0; length];
        self.file().read_exact_at(&mut bytes, (piece * self.piece_length + offset) as u64)?;
        Ok(Bytes::from(bytes))
    }

    /// Whether all of a range is in the page cache, so that sending it waits for no disk.
    #[must_use]
    pub fn is_resident(&self, piece: usize, offset: usize, length: usize) -> bool {
        let start = (piece * self.piece_length + offset) as u64;
        residency::is_resident(self.file(), start, length as u64)
    }

    /// Brings a range into the page cache. Blocks while the disk is read.
    pub fn load(&self, piece: usize, offset: usize, length: usize) -> io::Result<()> {
        residency::load(self.file(), (piece * self.piece_length + offset) as u64, length)
    }

    /// The right to append to a piece; there is one at a time.
    pub fn writer(self: &Arc<Self>, piece: usize) -> Result<PieceWriter, DataFileError> {
        let state = self.piece(piece)?;
        state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (!State(word).has_writer()).then_some(word | WRITER)
            })
            .map_err(|_| DataFileError::Busy { piece })?;
        Ok(PieceWriter { file: Arc::clone(self), piece })
    }

    /// Forgets what is written of a piece, so that it can be written anew. Fails while a slice of it is out or a writer
    /// exists.
    pub fn clear(&self, piece: usize) -> Result<(), DataFileError> {
        self.piece(piece)?
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (State(word).readers() == 0 && !State(word).has_writer()).then_some(0)
            })
            .map(drop)
            .map_err(|_| DataFileError::Busy { piece })
    }

    fn piece(&self, piece: usize) -> Result<&AtomicU64, DataFileError> {
        self.pieces.get(piece).ok_or(DataFileError::OutOfBounds { piece, offset: 0, length: 0 })
    }
}

/// A slice that is out; counted in the state of its piece until it is dropped.
struct Slice {
    file: Arc<DataFile>,
    piece: usize,
    start: usize,
    end: usize,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the range is written and this slice is counted as a reader of its piece, so by the rules at the top of
        // the module nothing writes to it before this value is dropped, which outlives the borrow.
        unsafe { self.file.mapping.slice(self.start..self.end) }
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        self.file.pieces[self.piece].fetch_sub(READER, Ordering::Release);
    }
}

/// Appends to one piece.
#[derive(Debug)]
pub struct PieceWriter {
    file: Arc<DataFile>,
    piece: usize,
}

impl PieceWriter {
    /// The piece that is written.
    #[must_use]
    pub fn piece(&self) -> usize {
        self.piece
    }

    /// Bytes that are still missing.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.file.length_of(self.piece).unwrap_or(0) - self.file.written(self.piece)
    }

    /// Appends bytes: whole or, when the file system refuses, not at all as far as readers see. Blocks for the copy into
    /// the page cache.
    pub fn append(&mut self, data: &[u8]) -> Result<(), DataFileError> {
        let written = self.file.written(self.piece);
        if data.len() > self.missing() {
            return Err(DataFileError::OutOfBounds {
                piece: self.piece,
                offset: written,
                length: data.len(),
            });
        }
        let start = self.piece * self.file.piece_length + written;
        self.file.file().write_all_at(data, start as u64)?;
        self.file.pieces[self.piece].fetch_add((data.len() as u64) << WRITTEN_SHIFT, Ordering::Release);
        Ok(())
    }

    /// Appends several parts by as few writes as possible: large writes make large pages in the cache, which are cheaper to
    /// send. Whole or not at all, as [`Self::append`]. Blocks.
    pub fn append_all(&mut self, parts: &[Bytes]) -> Result<(), DataFileError> {
        let written = self.file.written(self.piece);
        let length: usize = parts.iter().map(Bytes::len).sum();
        if length > self.missing() {
            return Err(DataFileError::OutOfBounds { piece: self.piece, offset: written, length });
        }
        let mut position = (self.piece * self.file.piece_length + written) as u64;
        let mut slices: Vec<IoSlice<'_>> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let batch = &left[..left.len().min(MOST_PARTS)];
            match pwritev(self.file.file(), batch, position) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(count) => {
                    position += count as u64;
                    IoSlice::advance_slices(&mut left, count);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        self.file.pieces[self.piece].fetch_add((length as u64) << WRITTEN_SHIFT, Ordering::Release);
        Ok(())
    }
}

impl Drop for PieceWriter {
    fn drop(&mut self) {
        self.file.pieces[self.piece].fetch_and(!WRITER, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(length: u64, piece_length: usize) -> Arc<DataFile> {
        DataFile::create(tempfile::tempfile().unwrap(), length, piece_length).unwrap()
    }

    #[test]
    fn only_written_bytes_are_given_out() {
        let file = file(10, 4);
        assert_eq!((file.pieces(), file.length_of(2), file.length_of(3)), (3, Some(2), None));
        let mut writer = file.writer(1).unwrap();
        writer.append(b"ab").unwrap();
        assert_eq!(&file.read(1, 0, 2).unwrap()[..], b"ab");
        assert!(matches!(file.read(1, 1, 2), Err(DataFileError::NotWritten { written: 2, wanted: 3, .. })));
        assert!(matches!(file.read(2, 1, 2), Err(DataFileError::OutOfBounds { .. })));
        assert!(matches!(writer.append(b"cde"), Err(DataFileError::OutOfBounds { .. })));
        writer.append(b"cd").unwrap();
        assert_eq!(writer.missing(), 0);
        assert_eq!(&file.read(1, 1, 3).unwrap()[..], b"bcd");
    }

    #[test]
    fn a_piece_in_use_can_not_be_cleared_or_written_twice() {
        let file = file(4, 4);
        let mut writer = file.writer(0).unwrap();
        assert!(matches!(file.writer(0), Err(DataFileError::Busy { piece: 0 })));
        writer.append(b"abcd").unwrap();
        assert!(matches!(file.clear(0), Err(DataFileError::Busy { .. })));
        drop(writer);
        let slice = file.read(0, 0, 4).unwrap();
        let part = slice.slice(1..2);
        drop(slice);
        assert!(matches!(file.clear(0), Err(DataFileError::Busy { .. })), "a part of the slice is still out");
        drop(part);
        file.clear(0).unwrap();
        assert_eq!(file.written(0), 0);
        file.writer(0).unwrap().append(b"wxyz").unwrap();
        assert_eq!(&file.read(0, 0, 4).unwrap()[..], b"wxyz");
    }

    #[test]
    fn many_parts_are_appended_in_order_and_read_back_mapped_and_copied() {
        let content: Vec<u8> = (0..5000u32).map(|index| (index % 251) as u8).collect();
        let file = file(10_000, 5000);
        let parts: Vec<Bytes> = content.chunks(3).map(Bytes::copy_from_slice).collect();
        let mut writer = file.writer(1).unwrap();
        writer.append_all(&parts).unwrap();
        assert!(matches!(writer.append_all(&parts[..1]), Err(DataFileError::OutOfBounds { .. })));
        assert_eq!(&file.read(1, 7, 4000).unwrap()[..], &content[7..4007]);
        assert_eq!(&file.read_copied(1, 7, 4000).unwrap()[..], &content[7..4007]);
        assert!(matches!(file.read_copied(0, 0, 1), Err(DataFileError::NotWritten { .. })));
        file.load(1, 0, 5000).unwrap();
        assert!(file.is_resident(1, 0, 5000), "what was just read is in the page cache");
    }

    #[test]
    fn a_file_shorter_than_its_object_is_refused() {
        let short = tempfile::tempfile().unwrap();
        short.set_len(3).unwrap();
        assert!(DataFile::open(short, 4, 4, |_| true).is_err());
        assert!(DataFile::create(tempfile::tempfile().unwrap(), 0, 4).is_err());
    }

    proptest! {
        #[test]
        fn any_written_range_reads_back(content in proptest::collection::vec(any::<u8>(), 1..300), piece_length in 1usize..70, cut in 1usize..20) {
            let file = file(content.len() as u64, piece_length);
            for (piece, bytes) in content.chunks(piece_length).enumerate() {
                let mut writer = file.writer(piece).unwrap();
                for part in bytes.chunks(cut) {
                    writer.append(part).unwrap();
                }
            }
            for (piece, bytes) in content.chunks(piece_length).enumerate() {
                for start in 0..bytes.len() {
                    let read = file.read(piece, start, bytes.len() - start).unwrap();
                    prop_assert_eq!(&read[..], &bytes[start..]);
                }
            }
        }
    }
}
