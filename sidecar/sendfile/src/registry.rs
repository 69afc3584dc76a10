//! Which addresses are mapped files.
//!
//! An entry is made before the first slice of a mapping exists and removed before the address is given back, so a slice that
//! is looked up while somebody holds it is always found, and an address is never found under another file.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use parking_lot::RwLock;

struct Entry {
    length: usize,
    file: Arc<File>,
}

static MAPPINGS: RwLock<BTreeMap<usize, Entry>> = RwLock::new(BTreeMap::new());

pub(crate) fn insert(base: usize, length: usize, file: Arc<File>) {
    MAPPINGS.write().insert(base, Entry { length, file });
}

pub(crate) fn remove(base: usize) {
    MAPPINGS.write().remove(&base);
}

/// The file and the offset of a slice that lies whole in one mapping.
pub(crate) fn lookup(slice: &[u8]) -> Option<(Arc<File>, u64)> {
    let address = slice.as_ptr() as usize;
    let mappings = MAPPINGS.read();
    let (base, entry) = mappings.range(..=address).next_back()?;
    let offset = address - base;
    let end = offset.checked_add(slice.len())?;
    (end <= entry.length).then(|| (Arc::clone(&entry.file), offset as u64))
}
