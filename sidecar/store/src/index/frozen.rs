//! A file as storage of a database that must not be written: what is written stays in memory. So an index on a read-only disk
//! can be opened even when it was not closed well and has to be repaired first.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use parking_lot::Mutex;
use redb::StorageBackend;

/// Unit in which changes are kept.
const BLOCK: usize = 4096;

/// The file, and what was written over it.
#[derive(Debug)]
pub(super) struct Frozen {
    file: File,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    length: u64,
    /// What lies in the file beyond this counts no more: it was cut off and is zero now.
    from_file: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl Frozen {
    /// Opens a file for reading. One that another store writes is an error of [`io::ErrorKind::WouldBlock`].
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let length = file.metadata()?.len();
        Ok(Self { file, over: Mutex::new(Over { length, from_file: length, blocks: BTreeMap::new() }) })
    }

    /// The bytes of a block, wherever they are.
    fn block(&self, over: &Over, number: u64) -> io::Result<Box<[u8; BLOCK]>> {
        if let Some(block) = over.blocks.get(&number) {
            return Ok(block.clone());
        }
        let mut block = Box::new([0; BLOCK]);
        let start = number * BLOCK as u64;
        let length = usize::try_from(over.from_file.saturating_sub(start)).unwrap_or(BLOCK).min(BLOCK);
        self.file.read_exact_at(&mut block[..length], start)?;
        Ok(block)
    }
}

/// Parts of a range by block: number of the block, where in it, and where in the range.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let position = offset + done as u64;
        let within = usize::try_from(position % BLOCK as u64).unwrap_or(0);
        let count = (BLOCK - within).min(length - done);
        let part = (position / BLOCK as u64, within..within + count, done);
        done += count;
        (count > 0).then_some(part)
    })
}

impl StorageBackend for Frozen {
    fn len(&self) -> io::Result<u64> {
        Ok(self.over.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = self.over.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > over.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, at) in parts(offset, out.len()) {
            out[at..at + within.len()].copy_from_slice(&self.block(&over, number)?[within]);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut over = self.over.lock();
        let last = length / BLOCK as u64;
        if length < over.length && !length.is_multiple_of(BLOCK as u64) {
            // What is cut off is zero if the file grows again.
            let mut block = self.block(&over, last)?;
            block[usize::try_from(length % BLOCK as u64).unwrap_or(0)..].fill(0);
            over.blocks.insert(last, block);
        }
        let first_cut = length.div_ceil(BLOCK as u64);
        over.blocks.retain(|number, _| *number < first_cut);
        over.from_file = over.from_file.min(length);
        over.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = self.over.lock();
        for (number, within, at) in parts(offset, data.len()) {
            let mut block = self.block(&over, number)?;
            let length = within.len();
            block[within].copy_from_slice(&data[at..at + length]);
            over.blocks.insert(number, block);
        }
        over.length = over.length.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize, Vec<u8>),
        Cut(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_000_usize, proptest::collection::vec(1_u8.., 1..9000))
                .prop_map(|(at, data)| Step::Write(at, data)),
            (0..30_000_usize).prop_map(Step::Cut),
        ]
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_file_and_leaves_the_file_alone(
            length in 0..20_000_usize,
            steps in proptest::collection::vec(step(), 0..8),
        ) {
            let mut expected: Vec<u8> = (1..=251).cycle().take(length).collect();
            let original = expected.clone();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &expected).unwrap();
            let frozen = Frozen::open(file.path()).unwrap();
            for step in steps {
                match step {
                    Step::Write(at, data) => {
                        expected.resize(expected.len().max(at + data.len()), 0);
                        expected[at..at + data.len()].copy_from_slice(&data);
                        frozen.write(at as u64, &data).unwrap();
                    }
                    Step::Cut(length) => {
                        expected.resize(length, 0);
                        frozen.set_len(length as u64).unwrap();
                    }
                }
            }
            let mut found = vec![0; expected.len()];
            prop_assert_eq!(frozen.len().unwrap(), expected.len() as u64);
            frozen.read(0, &mut found).unwrap();
            prop_assert!(found == expected);
            prop_assert!(frozen.read(1, &mut found).is_err());
            prop_assert!(std::fs::read(file.path()).unwrap() == original);
        }
    }
}
