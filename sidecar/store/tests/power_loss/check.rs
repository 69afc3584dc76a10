//! What a store has to be after a power cut.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use connected_cache_store::{FillError, Health, Store};
use sha2::{Digest as _, Sha256};

use crate::LIMIT;
use crate::contents::{bytes, fill, generation};
use crate::history::Piece;

const PATIENCE: Duration = Duration::from_secs(30);

/// How much was looked at.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    cuts: usize,
    pieces: usize,
    flushed: usize,
    /// Objects without a data file, or a data file without an object.
    orphans: usize,
}

impl Checked {
    /// A check that never found anything to check would pass as well.
    pub(crate) fn assert_that_it_shows_something(&self) {
        assert!(self.flushed > 5 * self.cuts && self.pieces > self.flushed, "too little was there: {self:?}");
    }
}

/// Opens the store in a folder and looks at everything.
pub(crate) fn check(folder: &Path, expected: &[Piece], checked: &mut Checked) {
    let store = crate::open(folder);
    checked.orphans += store.remove_orphans().unwrap();
    // Removals that the start began are over.
    store.flush();
    let usage = store.volumes().remove(0).2;
    let (counted, on_disk) = (usage.pieces + usage.index, allocated(folder));
    assert!(on_disk <= counted, "{on_disk} bytes are on the disk, {counted} are counted against the limit");
    let mut found = BTreeSet::new();
    for object in store.objects() {
        let record = object.record().unwrap().expect("an object without a record");
        let generation = generation(&object).expect("an object without its attributes");
        for piece in (0..object.pieces()).filter(|piece| object.has(*piece)) {
            let length = object.length_of(piece);
            let what = || format!("piece {piece} of {} in generation {generation}", record.key);
            let read =
                object.read(piece, 0, length).unwrap_or_else(|error| unreachable!("{}: {error}", what()));
            assert!(read[..] == bytes(&record.key, generation, piece, length)[..], "{}: wrong bytes", what());
            let kept = object.piece_record(piece).unwrap().expect("a committed piece without a hash");
            assert_eq!(kept.sha256[..], Sha256::digest(&read)[..], "{}: wrong hash", what());
            found.insert((record.key.clone(), generation, piece));
        }
    }
    for Piece { key, generation, index: piece, .. } in expected {
        let name = (key.clone(), *generation, *piece);
        assert!(
            found.contains(&name),
            "piece {piece} of {key} in generation {generation} was flushed and is gone"
        );
    }
    checked.cuts += 1;
    checked.pieces += found.len();
    checked.flushed += expected.len();
    store_something_new(&store);
    let (_, health, usage) = store.volumes().remove(0);
    assert_eq!(health, Health::Healthy);
    assert!(usage.pieces + usage.index <= LIMIT, "{usage:?}");
}

fn store_something_new(store: &Store) {
    let object = store.create("new", 0, 300_000, b"1").unwrap();
    let started = Instant::now();
    // A full store makes room first.
    while let Err(error) = fill(&object, "new", 1, 0, 100_000) {
        assert!(matches!(error, FillError::Full), "{error}");
        assert!(started.elapsed() < PATIENCE, "there was never room for something new");
        std::thread::yield_now();
    }
    store.flush();
    let read = object.read(0, 0, 300_000).unwrap();
    assert!(read[..] == bytes("new", 1, 0, 300_000)[..], "what was stored after the power cut reads wrong");
}

/// Bytes that the file system gave to the files of a folder.
fn allocated(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap();
    let of = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => allocated(&entry.path()),
        metadata => metadata.blocks() * 512,
    };
    entries.map(|entry| of(entry.unwrap())).sum()
}
