//! Everything that changed the disk, in order.
//!
//! On file each operation is a line of JSON; a write is followed by its bytes.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// A file or folder, by a number that no other one of the same disk ever has. The root is [`Node::ROOT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Node(pub u64);

impl Node {
    /// The folder that is mounted.
    pub const ROOT: Self = Self(1);
}

/// One operation that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields say what they are")]
pub enum Operation {
    /// A name for a new folder.
    MakeFolder { parent: Node, name: String, node: Node },
    /// A name for a new file.
    MakeFile { parent: Node, name: String, node: Node },
    /// A name is gone; a file lives on while it is open.
    Remove { parent: Node, name: String, node: Node },
    /// A name becomes another one, and replaces what had that.
    Rename { parent: Node, name: String, node: Node, new_parent: Node, new_name: String },
    /// Bytes of a file; they are given by [`Log::bytes`].
    Write { node: Node, offset: u64, length: u64 },
    /// A file has another length.
    Resize { node: Node, length: u64 },
    /// A range of a file is zero, its length stays.
    Zero { node: Node, offset: u64, length: u64 },
    /// A file's contents and length are on disk.
    SyncFile { node: Node },
    /// The names in a folder are on disk.
    SyncFolder { node: Node },
}

/// What was done to a disk.
#[derive(Debug, Default)]
pub struct Log {
    operations: Vec<(Operation, Range<usize>)>,
    contents: Vec<u8>,
}

impl Log {
    /// Reads a log that a disk wrote; an incomplete last operation is left out.
    pub fn read(path: &Path) -> io::Result<Self> {
        let contents = std::fs::read(path)?;
        let mut operations = Vec::new();
        let mut position = 0;
        while let Some(line) = contents[position..].iter().position(|byte| *byte == b'\n') {
            let operation = serde_json::from_slice(&contents[position..position + line])?;
            position += line + 1;
            let length = match &operation {
                Operation::Write { length, .. } => usize::try_from(*length).map_err(io::Error::other)?,
                _ => 0,
            };
            if contents.len() - position < length {
                break;
            }
            operations.push((operation, position..position + length));
            position += length;
        }
        Ok(Self { operations, contents })
    }

    /// Appends an operation, for a disk that exists only as its log.
    pub fn push(&mut self, operation: Operation, bytes: &[u8]) {
        let start = self.contents.len();
        self.contents.extend_from_slice(bytes);
        self.operations.push((operation, start..self.contents.len()));
    }

    /// Number of operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether nothing was done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The operations before a point.
    pub fn until(&self, end: usize) -> impl Iterator<Item = &Operation> {
        self.operations[..end].iter().map(|(operation, _)| operation)
    }

    /// The bytes of a write.
    #[must_use]
    pub fn bytes(&self, index: usize) -> &[u8] {
        &self.contents[self.operations[index].1.clone()]
    }
}

/// Writes a log, or nothing.
#[derive(Debug)]
pub(crate) struct LogWriter {
    file: Mutex<Option<BufWriter<File>>>,
    written: AtomicUsize,
}

impl LogWriter {
    pub(crate) fn new(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Self { file: Mutex::new(file), written: AtomicUsize::new(0) })
    }

    pub(crate) fn is_on(&self) -> bool {
        self.file.lock().is_some()
    }

    /// Number of operations so far.
    pub(crate) fn position(&self) -> usize {
        self.written.load(Ordering::Acquire)
    }

    pub(crate) fn add(&self, operation: &Operation, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.file.lock();
        let Some(file) = file.as_mut() else { return Ok(()) };
        serde_json::to_writer(&mut *file, operation)?;
        file.write_all(b"\n")?;
        file.write_all(bytes)?;
        self.written.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Hands everything to the file.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.file.lock().as_mut().map_or(Ok(()), BufWriter::flush)
    }
}
