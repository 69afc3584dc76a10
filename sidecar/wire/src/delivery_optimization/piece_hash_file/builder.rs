//! Making a piece hash file from the content itself.

use sha2::{Digest as _, Sha256};

use super::{PieceHash, PieceHashFile, PieceHashFileError, writer};

/// Hashes content that comes in runs of any length. It keeps 32 bytes for each piece and nothing of the content.
#[derive(Clone, Debug)]
pub struct PieceHashFileBuilder {
    piece_length_bytes: u32,
    content_length_bytes: u64,
    /// The piece that is not whole yet, and how many bytes of it came.
    piece: Sha256,
    piece_bytes: u32,
    piece_hashes: Vec<PieceHash>,
}

/// Content of so many pieces that their file would be longer than [`PieceHashFile::MAX_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "content of more than {pieces} pieces of {piece_length_bytes} bytes: its piece hash file would be longer than {} bytes; take longer pieces",
    PieceHashFile::MAX_BYTES
)]
pub struct ContentTooLong {
    /// The most pieces that a file holds.
    pub pieces: usize,
    /// Length of a piece.
    pub piece_length_bytes: u32,
}

impl Default for PieceHashFileBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl PieceHashFileBuilder {
    /// In usual pieces of 1 MiB, as real clients know them.
    #[must_use]
    pub fn new() -> Self {
        Self::of_length(PieceHashFile::USUAL_PIECE_LENGTH_BYTES)
    }

    /// In pieces of another length, 1 byte to 2 GiB. How real clients take other lengths than 1 MiB is not known.
    pub fn with_piece_length(bytes: u32) -> Result<Self, PieceHashFileError> {
        if !(1..=PieceHashFile::MAX_PIECE_LENGTH_BYTES).contains(&bytes) {
            return Err(PieceHashFileError::PieceLengthOutOfRange { bytes: u64::from(bytes) });
        }
        Ok(Self::of_length(bytes))
    }

    fn of_length(piece_length_bytes: u32) -> Self {
        Self {
            piece_length_bytes,
            content_length_bytes: 0,
            piece: Sha256::new(),
            piece_bytes: 0,
            piece_hashes: Vec::new(),
        }
    }

    /// Takes the content's next bytes. After an error nothing more can come of it.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), ContentTooLong> {
        while !bytes.is_empty() {
            if self.piece_hashes.len() >= writer::MAX_PIECES {
                let piece_length_bytes = self.piece_length_bytes;
                return Err(ContentTooLong { pieces: writer::MAX_PIECES, piece_length_bytes });
            }
            let wanted = self.piece_length_bytes - self.piece_bytes;
            let taken = u32::try_from(bytes.len()).map_or(wanted, |length| length.min(wanted));
            let (now, later) = bytes.split_at(taken as usize);
            self.piece.update(now);
            self.piece_bytes += taken;
            self.content_length_bytes += u64::from(taken);
            if self.piece_bytes == self.piece_length_bytes {
                self.end_piece();
            }
            bytes = later;
        }
        Ok(())
    }

    /// The content's end: what is left is the last piece. Content without a byte has no piece.
    #[must_use]
    pub fn finish(mut self) -> PieceHashFile {
        if self.piece_bytes > 0 {
            self.end_piece();
        }
        // The constructor checked the piece length, and push the number of pieces.
        PieceHashFile::assemble(0, self.content_length_bytes, self.piece_length_bytes, self.piece_hashes)
    }

    fn end_piece(&mut self) {
        self.piece_hashes.push(PieceHash::from_bytes(self.piece.finalize_reset().into()));
        self.piece_bytes = 0;
    }
}
