//! A store in a temporary folder, and small objects for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connected_cache_store::{
    ClassUsage, FillError, Filter, Object, Policy, Store, Trust, Usage, VolumeOptions,
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

pub(crate) const MIB: u64 = 1 << 20;
/// Length of the usual object: one piece.
pub(crate) const SMALL: u64 = 256 << 10;

/// A store of one volume.
pub(crate) struct Volume {
    folder: TempDir,
    limit: u64,
}

impl Volume {
    pub(crate) fn new(limit: u64) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), limit }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn options(&self) -> VolumeOptions {
        VolumeOptions { path: self.path().to_owned(), limit: self.limit, min_free: 0 }
    }

    pub(crate) fn open(&self, policy: Policy) -> Store {
        Store::open_with(&[self.options()], policy).unwrap()
    }
}

/// The bytes that a content has.
pub(crate) fn bytes_of(key: &str, piece: usize, length: usize) -> Vec<u8> {
    let seed = Sha256::digest(format!("{key} {piece}"));
    let mut bytes = seed.repeat(length.div_ceil(seed.len()));
    bytes.truncate(length);
    bytes
}

/// Stores one piece. When there is no room the keeper is waited for.
pub(crate) fn fill(object: &Arc<Object>, key: &str, piece: usize) -> Result<(), FillError> {
    let bytes = bytes_of(key, piece, object.length_of(piece));
    let mut fill = match object.begin(piece) {
        Err(FillError::Full) if object.wait_for_room(piece, Duration::from_secs(20)) => {
            object.begin(piece)?
        }
        other => other?,
    };
    fill.append(&bytes)?;
    fill.commit(Sha256::digest(&bytes).into(), Trust::Origin)
}

/// Stores a whole object.
pub(crate) fn put(store: &Store, key: &str, class: u8, length: u64) -> Arc<Object> {
    let object = store.create(key, class, length, b"").unwrap();
    for piece in 0..object.pieces() {
        fill(&object, key, piece).unwrap();
    }
    object
}

/// Whether all of a content is stored, with the right bytes.
pub(crate) fn has(store: &Store, key: &str) -> bool {
    let Some(object) = store.get(key) else { return false };
    (0..object.pieces()).all(|piece| match object.read_copied(piece, 0, object.length_of(piece)) {
        Ok(bytes) => {
            assert!(bytes == bytes_of(key, piece, bytes.len()), "wrong bytes of {key}");
            true
        }
        Err(_) => false,
    })
}

pub(crate) fn usage(store: &Store) -> Usage {
    store.volumes()[0].2
}

/// What the objects themselves say is stored, by class.
pub(crate) fn by_objects(store: &Store) -> Vec<ClassUsage> {
    let mut classes: Vec<ClassUsage> =
        (0..=u8::MAX).map(|class| ClassUsage { class, objects: 0, bytes: 0 }).collect();
    for object in store.objects().iter().filter(|object| object.committed() > 0) {
        classes[usize::from(object.class())].objects += 1;
        classes[usize::from(object.class())].bytes += object.disk_bytes();
    }
    classes.retain(|usage| usage.objects > 0);
    classes
}

pub(crate) fn bytes_of_class(store: &Store, class: u8) -> u64 {
    store.classes().iter().find(|usage| usage.class == class).map_or(0, |usage| usage.bytes)
}

pub(crate) fn matching(matches: impl Fn(&str, u8) -> bool + Send + Sync + 'static) -> Filter {
    Filter { key: None, matches: Box::new(matches) }
}

pub(crate) fn wait(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed().as_secs() < 30, "it did not happen within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
