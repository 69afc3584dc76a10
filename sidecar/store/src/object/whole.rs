//! The whole of an object, checked at the end: every piece is there, each is what the index says, and together they have one hash.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{Object, ReadError};

/// Why an object has no hash as a whole.
#[derive(Debug, thiserror::Error)]
pub enum WholeError {
    /// Pieces are missing, so many.
    #[error("{0} pieces are not stored")]
    Incomplete(usize),
    /// A piece can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Object {
    /// SHA-256 of the whole content, of which every piece has to be stored. A piece that is not what the index says is dropped,
    /// and an error. Reads everything: blocks for about a second per GB.
    pub fn sha256(self: &Arc<Self>) -> Result<[u8; 32], WholeError> {
        let missing = self.pieces() - self.committed();
        if missing > 0 {
            return Err(WholeError::Incomplete(missing));
        }
        let mut whole = Sha256::new();
        for piece in 0..self.pieces() {
            whole.update(self.checked_bytes(piece)?);
        }
        Ok(whole.finalize().into())
    }
}
