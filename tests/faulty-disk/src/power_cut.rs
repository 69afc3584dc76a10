//! What a power cut leaves of a disk.
//!
//! # Rules
//! * What `fsync` or `fdatasync` of a file covered (contents and length) is there; the name of the file need not be.
//! * What `fsync` of a folder covered (names in it) is there. A rename between two folders is covered by either.
//! * Anything later may be there or not. Contents survive in pages of 4 KiB or sectors of 512 bytes, in any order, each in
//!   any state that it had since it was last synced. Lengths survive in any such state. Names survive or not, each for
//!   itself. What was never written is zero, never another file's old bytes.
//!
//! This is weaker than ext4, which keeps the order of names and of lengths: a store that survives it survives that too.
//! [`Survival::Ordered`] is what a file system with a strict journal leaves, [`Survival::Everything`] what a killed process
//! leaves.

mod file;
mod folders;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use crate::log::{Log, Node, Operation};
use crate::random::Random;
use file::FileHistory;
use folders::Folders;

/// What of the operations that no sync covered survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// None of them.
    Nothing,
    /// All of them.
    Everything,
    /// Those before this point.
    Ordered(usize),
    /// Each page, length and name for itself, with this chance in sixteen.
    Pages(usize),
    /// As `Pages`, torn into sectors.
    Sectors(usize),
}

impl Survival {
    /// One of the kinds for a cut at this point, each about as often as it finds something.
    pub fn choose(cut: usize, random: &mut Random) -> Self {
        let chance = [1, 4, 8, 12, 15][random.below(5)];
        match random.below(8) {
            0 => Self::Nothing,
            1 => Self::Everything,
            // Most of what is not synced lies a few hundred operations back.
            2 | 3 => Self::Ordered(cut.saturating_sub(random.below(300))),
            4..=6 => Self::Pages(chance),
            _ => Self::Sectors(chance),
        }
    }

    /// Which of the states after the first `durable` of `all` operations is on disk; `indexes` are those of the operations.
    fn state(self, durable: usize, indexes: &[usize], random: &mut Random) -> usize {
        let all = indexes.len();
        match self {
            Self::Nothing => durable,
            Self::Everything => all,
            Self::Ordered(end) => durable.max(indexes.partition_point(|index| *index < end)),
            Self::Pages(chance) | Self::Sectors(chance) => {
                if durable < all && random.chance(chance, 16) {
                    durable + 1 + random.below(all - durable)
                } else {
                    durable
                }
            }
        }
    }
}

impl Log {
    /// Writes the state of the disk after a power cut before operation `cut` into an empty folder.
    pub fn after_power_cut(
        &self,
        cut: usize,
        survival: Survival,
        random: &mut Random,
        into: &Path,
    ) -> io::Result<()> {
        let mut files: HashMap<Node, FileHistory> = HashMap::new();
        let mut folders = Folders::default();
        for (index, operation) in self.until(cut).enumerate() {
            match operation {
                Operation::Write { node, .. }
                | Operation::Resize { node, .. }
                | Operation::Zero { node, .. }
                | Operation::SyncFile { node } => files.entry(*node).or_default().add(index, operation),
                _ => folders.add(index, operation),
            }
        }
        folders.write(survival, random, into, &mut |node, path, random| {
            files.get(&node).map_or_else(
                || std::fs::write(path, b""),
                |history| history.write(self, survival, random, path),
            )
        })
    }
}

#[cfg(test)]
mod tests;
