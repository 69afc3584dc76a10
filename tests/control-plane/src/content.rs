//! The objects of the mock: files of a folder and formulas, looked up by path, read in any range.
//!
//! Files are streamed from disk and never held whole. A path can't leave the folder: `..`, empty and otherwise odd
//! parts are refused, and what a path finally names, symbolic links followed, has to lie inside.

mod folder;
pub mod formula;
mod manifest;
mod piece_hashes;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::config::{Content, FormulaObject, RESERVED_PREFIX};
pub use manifest::ManifestEntry;
pub(crate) use piece_hashes::PieceHashError;

/// `Last-Modified` of every formula: a formula never changes, so any fixed moment is true. 2024-01-01T00:00:00Z.
const FORMULA_MODIFIED: Duration = Duration::from_hours(473_352);

/// Everything that can be asked for.
#[derive(Debug)]
pub(crate) struct Catalogue {
    /// Canonical, so that a prefix comparison decides whether something is inside.
    folder: Option<PathBuf>,
    formulas: Vec<FormulaObject>,
    hashes: manifest::HashCache,
    piece_hashes: piece_hashes::PieceHashCache,
}

/// Why a path names no object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("no object has this path")]
    NotFound,
    #[error("unable to read the object: {0}")]
    Io(#[from] io::Error),
}

/// One object, opened. Its length and validators belong to the open file, not to what the path names later.
#[derive(Debug)]
pub(crate) struct Object {
    source: Source,
    pub(crate) length: u64,
    /// Strong entity tag with its quotes.
    pub(crate) etag: String,
    pub(crate) modified: SystemTime,
}

#[derive(Debug)]
enum Source {
    Formula { seed: u64 },
    File(File),
    Memory(Bytes),
}

impl Catalogue {
    pub(crate) fn new(content: &Content) -> io::Result<Self> {
        let folder = content.folder.as_ref().map(std::fs::canonicalize).transpose()?;
        if let Some(folder) = &folder
            && !folder.is_dir()
        {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "is not a folder"));
        }
        Ok(Self {
            folder,
            formulas: content.formulas.clone(),
            hashes: manifest::HashCache::default(),
            piece_hashes: piece_hashes::PieceHashCache::default(),
        })
    }

    /// Opens what `path` (decoded, without query) names. Blocks on the disk.
    pub(crate) fn open(&self, path: &str) -> Result<Object, OpenError> {
        if path.starts_with(RESERVED_PREFIX) {
            return Err(OpenError::NotFound);
        }
        if let Some(formula) = self.formulas.iter().find(|formula| formula.path == path) {
            return Ok(Object::formula(formula));
        }
        let folder = self.folder.as_ref().ok_or(OpenError::NotFound)?;
        Object::file(folder::open(folder, path)?)
    }
}

impl Object {
    fn formula(formula: &FormulaObject) -> Self {
        Self {
            source: Source::Formula { seed: formula.seed },
            length: formula.length_bytes,
            etag: format!("\"formula-{:x}-{:x}\"", formula.seed, formula.length_bytes),
            modified: UNIX_EPOCH + FORMULA_MODIFIED,
        }
    }

    fn file(file: File) -> Result<Self, OpenError> {
        let metadata = file.metadata()?;
        let modified = metadata.modified()?;
        let nanoseconds = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Ok(Self {
            source: Source::File(file),
            length: metadata.len(),
            etag: format!("\"file-{:x}-{nanoseconds:x}\"", metadata.len()),
            modified,
        })
    }

    /// An object that is made of others; `modified` is when they were.
    pub(crate) fn memory(bytes: Bytes, modified: SystemTime) -> Self {
        let etag = format!("\"memory-{}\"", hex::encode(&Sha256::digest(&bytes)[..8]));
        Self { length: bytes.len() as u64, source: Source::Memory(bytes), etag, modified }
    }

    /// A reader that starts at `offset`.
    pub(crate) fn reader(self, offset: u64) -> ObjectReader {
        ObjectReader { source: self.source, offset }
    }
}

/// Reads an object forwards.
#[derive(Debug)]
pub(crate) struct ObjectReader {
    source: Source,
    offset: u64,
}

impl ObjectReader {
    /// Fills `buffer` with the next bytes. Blocks on the disk when the object is a file. Fails when the file became
    /// shorter than it was when it was opened.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match &mut self.source {
            Source::Formula { seed } => formula::fill(*seed, self.offset, buffer),
            Source::Memory(bytes) => {
                let rest = usize::try_from(self.offset).ok().and_then(|offset| bytes.get(offset..));
                let part = rest.and_then(|rest| rest.get(..buffer.len()));
                buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            }
            Source::File(file) => {
                file.seek(SeekFrom::Start(self.offset))?;
                file.read_exact(buffer)?;
            }
        }
        self.offset += buffer.len() as u64;
        Ok(())
    }

    /// Whether [`Self::fill`] only computes, so that it may run on an async worker.
    pub(crate) fn is_computed(&self) -> bool {
        matches!(self.source, Source::Formula { .. } | Source::Memory(_))
    }
}
