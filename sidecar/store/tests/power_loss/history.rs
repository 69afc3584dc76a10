//! What happened on a disk, and what must be there after a cut.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use connected_cache_faulty_disk::Log;
use serde::{Deserialize, Serialize};

/// A stored piece. Stored again after it was dropped or evicted, it is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) key: String,
    pub(crate) generation: u64,
    pub(crate) index: usize,
    pub(crate) times: u32,
}

/// A flush, and what was committed when it began.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// Point of the log before it was looked what is there.
    pub(crate) looked: usize,
    /// What was committed.
    pub(crate) present: BTreeSet<Piece>,
    /// Point of the log after the flush.
    pub(crate) flushed: usize,
}

/// One life of a store on one disk.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) log: Log,
    pub(crate) checkpoints: Vec<Checkpoint>,
}

impl History {
    /// The points for which it is known what must be there.
    pub(crate) fn range(&self) -> (usize, usize) {
        (self.checkpoints[0].flushed, self.checkpoints[self.checkpoints.len() - 1].looked)
    }

    /// What must be there after a cut: what the last flush before it covered, and is still there at the first look after it.
    /// What was removed or evicted in between may be gone.
    pub(crate) fn expected(&self, cut: usize) -> Vec<Piece> {
        let flushed = self.checkpoints.iter().rev().find(|checkpoint| checkpoint.flushed <= cut);
        let later = self.checkpoints.iter().find(|checkpoint| checkpoint.looked >= cut);
        let (flushed, later) = (flushed.unwrap(), later.unwrap());
        flushed.present.intersection(&later.present).cloned().collect()
    }

    pub(crate) fn log_of(folder: &Path) -> PathBuf {
        folder.join("log")
    }

    fn checkpoints_of(folder: &Path) -> PathBuf {
        folder.join("checkpoints.json")
    }

    /// What was kept, if something was.
    pub(crate) fn kept(folder: &Path) -> Option<Self> {
        let checkpoints = serde_json::from_slice(&fs::read(Self::checkpoints_of(folder)).ok()?).unwrap();
        Some(Self { log: Log::read(&Self::log_of(folder)).unwrap(), checkpoints })
    }

    /// Keeps it, with the file of its log.
    pub(crate) fn keep(&self, log: &Path, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::copy(log, Self::log_of(folder))?;
        fs::write(Self::checkpoints_of(folder), serde_json::to_vec(&self.checkpoints)?)
    }
}
