//! The piece hash file (PHF): the SHA-256 of every piece of one content (dossier delivery-optimization 3).
//!
//! Three hashes must not be confused. A [`PieceHash`] covers the bytes of one piece. [`HashOfHashes`] covers length, piece
//! length and all piece hashes; the control plane says it over TLS, and a file is authentic when its own is the same.
//! [`PiecesHashFileDigest`] covers the file's text as it was served.
//!
//! Invariants of a [`PieceHashFile`]: there are exactly as many hashes as the lengths ask for, and [`HashOfHashes`] is always
//! the one of the other members, never just what a file claims. Whether it is the one that TLS vouches for is the caller's
//! question.

mod builder;
mod digest;
mod reader;
mod writer;

use std::ops::Range;

pub use builder::{ContentTooLong, PieceHashFileBuilder};
pub use digest::{HashOfHashes, NotADigest, PieceHash, PiecesHashFileDigest};
pub use reader::{PieceHashFileError, PieceHashFileMember};

/// The hashes of one content's pieces, with the lengths that say which bytes they cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceHashFile {
    minor_version: u32,
    hash_of_hashes: HashOfHashes,
    content_length_bytes: u64,
    piece_length_bytes: u32,
    piece_hashes: Vec<PieceHash>,
}

impl PieceHashFile {
    /// Longest file that is read: 64 MiB, about 1.4 million pieces or 1.4 TiB of content in usual pieces. Who downloads one
    /// stops after so many bytes. Reading takes at most about twice a file's length in memory.
    pub const MAX_BYTES: usize = 64 << 20;
    /// Length of a piece in every public sample: 1 MiB.
    pub const USUAL_PIECE_LENGTH_BYTES: u32 = 1 << 20;
    /// The longest piece that a file may name: 2 GiB. The shortest is 1 byte.
    pub const MAX_PIECE_LENGTH_BYTES: u32 = 1 << 31;
    /// The media type to serve it with.
    pub const MEDIA_TYPE: &str = "application/json";

    /// Reads a file: JSON in UTF-8 with any white space, any order of members and members that we don't know.
    ///
    /// The six members that we know must stand there once each; `MajorVersion` must be 1, while any `MinorVersion` is taken;
    /// the number of hashes must be that of the pieces; `HashOfHashes` must be the hash of the other members. A piece length
    /// that is no power of two has not been seen, but is taken.
    pub fn parse(text: &[u8]) -> Result<Self, PieceHashFileError> {
        reader::parse(text)
    }

    /// A file of version 1.0 from hashes that are at hand. Fails where [`PieceHashFile::parse`] would: a piece length out of
    /// range, another number of hashes than pieces, more hashes than fit into [`PieceHashFile::MAX_BYTES`].
    pub fn new(
        content_length_bytes: u64,
        piece_length_bytes: u32,
        piece_hashes: Vec<PieceHash>,
    ) -> Result<Self, PieceHashFileError> {
        Self::checked(0, content_length_bytes, u64::from(piece_length_bytes), piece_hashes)
    }

    fn checked(
        minor_version: u32,
        content_length_bytes: u64,
        piece_length_bytes: u64,
        piece_hashes: Vec<PieceHash>,
    ) -> Result<Self, PieceHashFileError> {
        let piece_length_bytes = u32::try_from(piece_length_bytes)
            .ok()
            .filter(|length| (1..=Self::MAX_PIECE_LENGTH_BYTES).contains(length))
            .ok_or(PieceHashFileError::PieceLengthOutOfRange { bytes: piece_length_bytes })?;
        let expected = content_length_bytes.div_ceil(u64::from(piece_length_bytes));
        let found = piece_hashes.len() as u64;
        if found != expected {
            return Err(PieceHashFileError::WrongPieceCount { expected, found });
        }
        let file = Self::assemble(minor_version, content_length_bytes, piece_length_bytes, piece_hashes);
        if file.encoded_length_bytes() > Self::MAX_BYTES {
            return Err(PieceHashFileError::TooLong { bytes: file.encoded_length_bytes() });
        }
        Ok(file)
    }

    /// The caller has checked what [`PieceHashFile::checked`] checks.
    fn assemble(
        minor_version: u32,
        content_length_bytes: u64,
        piece_length_bytes: u32,
        piece_hashes: Vec<PieceHash>,
    ) -> Self {
        let hash_of_hashes = HashOfHashes::compute(content_length_bytes, piece_length_bytes, &piece_hashes);
        Self { minor_version, hash_of_hashes, content_length_bytes, piece_length_bytes, piece_hashes }
    }

    /// The file's one byte form: JSON without white space, members in their usual order. Always the same for the same
    /// hashes, so that [`PiecesHashFileDigest`] is as well.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        writer::encode(self)
    }

    /// How many bytes [`PieceHashFile::encode`] gives; at most [`PieceHashFile::MAX_BYTES`].
    #[must_use]
    pub fn encoded_length_bytes(&self) -> usize {
        writer::encoded_length_bytes(self)
    }

    /// 0 in every public sample. What another one would mean is not known.
    #[must_use]
    pub const fn minor_version(&self) -> u32 {
        self.minor_version
    }

    /// The hash over all other members. Peers and HTTP sources can only be checked by this file when the control plane said
    /// the same one over TLS.
    #[must_use]
    pub const fn hash_of_hashes(&self) -> HashOfHashes {
        self.hash_of_hashes
    }

    /// Length of the content.
    #[must_use]
    pub const fn content_length_bytes(&self) -> u64 {
        self.content_length_bytes
    }

    /// Length of every piece but the last, 1 byte to 2 GiB.
    #[must_use]
    pub const fn piece_length_bytes(&self) -> u32 {
        self.piece_length_bytes
    }

    /// Number of pieces; 0 for empty content.
    #[must_use]
    pub const fn piece_count(&self) -> usize {
        self.piece_hashes.len()
    }

    /// The hash of the piece with this number, from 0. `None` = there is no such piece.
    #[must_use]
    pub fn piece(&self, number: usize) -> Option<&PieceHash> {
        self.piece_hashes.get(number)
    }

    /// Every piece's hash, in order.
    #[must_use]
    pub fn pieces(&self) -> &[PieceHash] {
        &self.piece_hashes
    }

    /// Which bytes of the content the piece with this number covers; the last piece may be shorter than the others. `None` =
    /// there is no such piece.
    #[must_use]
    pub fn piece_range(&self, number: usize) -> Option<Range<u64>> {
        self.piece(number)?;
        // It exists, so it begins before the content's end and nothing overflows.
        let begin = number as u64 * u64::from(self.piece_length_bytes);
        let end = begin.saturating_add(u64::from(self.piece_length_bytes)).min(self.content_length_bytes);
        Some(begin..end)
    }

    /// Whether these bytes are the piece with this number, by length and hash.
    #[must_use]
    pub fn is_piece(&self, number: usize, bytes: &[u8]) -> bool {
        let (Some(range), Some(hash)) = (self.piece_range(number), self.piece(number)) else { return false };
        bytes.len() as u64 == range.end - range.start && PieceHash::of(bytes) == *hash
    }

    /// Fails when HTTP said another length of the content than this file does.
    pub fn check_content_length(&self, bytes: u64) -> Result<(), PieceHashFileError> {
        if bytes == self.content_length_bytes {
            return Ok(());
        }
        Err(PieceHashFileError::OtherContentLength { stated: self.content_length_bytes, learned: bytes })
    }
}

#[cfg(test)]
mod tests;
