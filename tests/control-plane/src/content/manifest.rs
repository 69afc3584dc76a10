//! The list of all objects with their SHA-256. Hashes are computed when first asked for and kept as long as the
//! object's validators stay the same.

use std::collections::HashMap;
use std::io;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Catalogue, Object, OpenError, folder};
use crate::http1::encode_path;

/// Read size while hashing.
const HASH_BUFFER_BYTES: usize = 1 << 20;

/// One object as `/_manifest` describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestEntry {
    /// Path as it is asked for, percent-encoded.
    pub path: String,
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of the whole object in lower-case hex.
    pub sha256: String,
}

/// Hashes by path; the entity tag says which state of the object they belong to.
#[derive(Debug, Default)]
pub(super) struct HashCache {
    known: Mutex<HashMap<String, (String, String)>>,
    /// Held while hashing: two readers of the manifest do not hash the same object twice.
    working: Mutex<()>,
}

/// The manifest could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("failed to list the content folder: {0}")]
    List(#[source] io::Error),
    #[error("failed to hash {path}: {source}")]
    Hash { path: String, source: io::Error },
}

impl Catalogue {
    /// All objects, sorted by path. Blocks: it reads every file it has not hashed yet.
    pub(crate) fn manifest(&self) -> Result<Vec<ManifestEntry>, ManifestError> {
        let _working = self.hashes.working.lock();
        let mut paths: Vec<String> = self.formulas.iter().map(|formula| formula.path.clone()).collect();
        if let Some(folder) = &self.folder {
            paths.extend(folder::paths(folder).map_err(ManifestError::List)?);
        }
        paths.sort();
        paths.dedup();
        let mut entries = Vec::with_capacity(paths.len());
        for path in paths {
            match self.open(&path) {
                Ok(object) => entries.push(self.describe(&path, object)?),
                // A link that leads outside, a pipe, or a file that vanished while the folder was listed.
                Err(OpenError::NotFound) => {}
                Err(OpenError::Io(source)) => return Err(ManifestError::Hash { path, source }),
            }
        }
        Ok(entries)
    }

    fn describe(&self, path: &str, object: Object) -> Result<ManifestEntry, ManifestError> {
        let (length, etag) = (object.length, object.etag.clone());
        let known = self.hashes.known.lock().get(path).filter(|(tag, _)| *tag == etag).cloned();
        let sha256 = if let Some((_, sha256)) = known {
            sha256
        } else {
            let sha256 =
                hash(object).map_err(|source| ManifestError::Hash { path: path.to_owned(), source })?;
            self.hashes.known.lock().insert(path.to_owned(), (etag, sha256.clone()));
            sha256
        };
        Ok(ManifestEntry { path: encode_path(path), length, sha256 })
    }
}

fn hash(object: Object) -> io::Result<String> {
    let mut left = object.length;
    let mut reader = object.reader(0);
    let mut buffer = vec![0; HASH_BUFFER_BYTES];
    let mut hasher = Sha256::new();
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        reader.fill(&mut buffer[..count])?;
        hasher.update(&buffer[..count]);
        left -= count as u64;
    }
    Ok(hex::encode(hasher.finalize()))
}
