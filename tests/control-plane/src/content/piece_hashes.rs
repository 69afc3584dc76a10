//! The piece hash files of the objects. They are computed when first asked for and kept as long as the object's
//! validators stay the same.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use connected_cache_wire::delivery_optimization::{ContentTooLong, PieceHashFile, PieceHashFileBuilder};
use parking_lot::Mutex;

use super::{Catalogue, Object, OpenError};

/// Read size while hashing.
const HASH_BUFFER_BYTES: usize = 1 << 20;

/// Files by path; the entity tag says which state of the object they belong to.
#[derive(Debug, Default)]
pub(super) struct PieceHashCache {
    known: Mutex<HashMap<String, (String, Arc<PieceHashFile>)>>,
    /// Held while hashing: two callers do not hash the same object twice.
    working: Mutex<()>,
}

/// The piece hash file could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PieceHashError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("failed to hash the pieces of the object: {0}")]
    Read(#[from] io::Error),
    #[error("failed to hash the pieces of the object: {0}")]
    TooLong(#[from] ContentTooLong),
}

impl Catalogue {
    /// Hashes of the object's pieces. Blocks: it reads the whole object unless it was hashed before.
    pub(crate) fn piece_hash_file(&self, path: &str) -> Result<Arc<PieceHashFile>, PieceHashError> {
        let _working = self.piece_hashes.working.lock();
        let object = self.open(path)?;
        let etag = object.etag.clone();
        let known = self.piece_hashes.known.lock().get(path).filter(|(tag, _)| *tag == etag).cloned();
        if let Some((_, file)) = known {
            return Ok(file);
        }
        let file = Arc::new(hash(object)?);
        self.piece_hashes.known.lock().insert(path.to_owned(), (etag, Arc::clone(&file)));
        Ok(file)
    }
}

fn hash(object: Object) -> Result<PieceHashFile, PieceHashError> {
    let mut left = object.length;
    let mut reader = object.reader(0);
    let mut buffer = vec![0; HASH_BUFFER_BYTES];
    let mut builder = PieceHashFileBuilder::new();
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        reader.fill(&mut buffer[..count])?;
        builder.push(&buffer[..count])?;
        left -= count as u64;
    }
    Ok(builder.finish())
}
