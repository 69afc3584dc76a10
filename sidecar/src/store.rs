//! Pieces on volumes.
//!
//! Layout of a volume: `objects/<key digest>-<generation digest>/` holds `object.json` (key, length, validators, reply headers) and
//! one file per piece, named `<number>.<SHA-256>`; `tmp/` holds what is being written. A file appears in `objects/` only by rename
//! of a complete file, so that a killed process leaves nothing half-written there; what a power loss may still have torn is
//! found by its hash, which is checked the first time a piece is read after a start.
//!
//! Invariants: `used + reserved <= limit` at every instant, since bytes are reserved before they are written and given
//! back after they are gone; the free space of the file system stays above `minFree`. A volume that fails is passed by:
//! reads miss, writes report [`WriteOutcome::PassedThrough`], and clients are served from memory.
//!
//! Everything blocking runs on the blocking pool. The interface is concrete on purpose: a block store with its own index
//! replaces this module as a whole.

mod object;
mod scan;
mod volume;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use connected_cache_core::{ByteRange, ObjectKey, PieceIndex};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

pub use object::{Object, ObjectHead};
pub use volume::{VolumeProbeError, VolumeUsage};

use object::{PieceRecord, piece_cost_bytes};
use volume::{OBJECT_OVERHEAD_BYTES, Volume};

/// What became of a piece that should be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is on a volume, complete and hashed.
    Stored,
    /// It is not, for the reason given; the bytes live on in memory only as long as someone sends them.
    PassedThrough {
        /// Why, for logs.
        reason: String,
    },
}

/// Most bytes of one read: what every slow client may hold in memory. The next read follows when they have been sent.
const MAX_READ_BYTES: u64 = 128 << 10;

/// How often the index is rid of objects that were never stored: each time it has grown by so many.
const UNSTORED_CHECK: usize = 1024;

/// All volumes and the index of what is on them.
#[derive(Debug)]
pub struct Store {
    volumes: Vec<Arc<Volume>>,
    objects: Mutex<HashMap<ObjectKey, Arc<Object>>>,
    clock: AtomicU64,
    evicted_objects: AtomicU64,
}

impl Store {
    /// Probes the volumes, clears what was left unfinished and reads the index. Blocking work.
    pub async fn open(config: &connected_cache_config::Storage) -> Result<Arc<Self>, VolumeProbeError> {
        let config = config.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let mut volumes = Vec::new();
            for volume in &config.volumes {
                volumes.push(Arc::new(Volume::open(
                    &volume.path,
                    volume.limit.bytes(),
                    config.min_free.bytes(),
                )?));
            }
            let store = Self {
                volumes,
                objects: Mutex::default(),
                clock: AtomicU64::new(1),
                evicted_objects: AtomicU64::new(0),
            };
            store.scan();
            Ok(Arc::new(store))
        });
        opened.await.unwrap_or_else(|error| Err(VolumeProbeError::Interrupted { reason: error.to_string() }))
    }

    /// The object with this key in its current generation.
    #[must_use]
    pub fn object(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        let object = self.objects.lock().get(key).cloned()?;
        self.touch(&object);
        Some(object)
    }

    /// Makes this head the current generation of its key. An object that agrees with it stays as it is; one that does
    /// not is dropped with its pieces, because bytes of two generations are never mixed.
    pub async fn admit(self: &Arc<Self>, key: &ObjectKey, head: ObjectHead) -> Arc<Object> {
        let replaced = {
            let mut objects = self.objects.lock();
            if let Some(current) = objects.get(key)
                && current.head().generation.agrees_with(&head.generation)
            {
                return current.clone();
            }
            if objects.len() >= UNSTORED_CHECK && objects.len().is_multiple_of(UNSTORED_CHECK) {
                // Objects without a stored piece that nobody uses are only a memory of their head.
                objects.retain(|_, object| object.volume().is_some() || Arc::strong_count(object) > 1);
            }
            let object = Arc::new(Object::new(key.clone(), head));
            self.touch(&object);
            (objects.insert(key.clone(), object.clone()), object)
        };
        if let Some(old) = replaced.0 {
            self.remove_files(old).await;
        }
        replaced.1
    }

    /// Drops an object, if it still is the current one of its key.
    pub async fn drop_object(self: &Arc<Self>, object: &Arc<Object>) {
        if self.forget(object) {
            self.remove_files(object.clone()).await;
        }
    }

    /// The first bytes of a range of a piece, all or as many as one read gives; `None` if they are not there (or no longer,
    /// or damaged). `within` is relative to the piece.
    pub async fn read(
        self: &Arc<Self>,
        object: &Arc<Object>,
        piece: PieceIndex,
        within: ByteRange,
    ) -> Option<Bytes> {
        let (volume, folder) = self.place_of(object)?;
        let record = object.record(piece)?;
        let file = folder.join(record.file_name(piece));
        let length = object.layout().range_of(piece).length();
        let verified = record.is_verified();
        let within = ByteRange { last: within.last.min(within.first + (MAX_READ_BYTES - 1)), ..within };
        let read = tokio::task::spawn_blocking(move || {
            if verified {
                volume::read_range(&file, within)
            } else {
                volume::read_checked(&file, length, &record.sha256, within)
            }
        });
        match read.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(bytes) => {
                object.mark_verified(piece);
                Some(bytes)
            }
            Err(error) => {
                if let Some(record) = object.remove_record(piece) {
                    tracing::warn!(object = %object.key(), piece = piece.number(), %error, "a stored piece is unusable and is dropped");
                    let file = folder.join(record.file_name(piece));
                    let _ = tokio::task::spawn_blocking(move || std::fs::remove_file(file)).await;
                    volume.give_back(piece_cost_bytes(length));
                }
                None
            }
        }
    }

    /// Stores a complete piece. Never fails for the caller: what can't be stored is passed through.
    pub async fn write(
        self: &Arc<Self>,
        object: &Arc<Object>,
        piece: PieceIndex,
        chunks: Vec<Bytes>,
        sha256: [u8; 32],
    ) -> WriteOutcome {
        let (store, object) = (self.clone(), object.clone());
        let written =
            tokio::task::spawn_blocking(move || store.write_blocking(&object, piece, &chunks, sha256));
        match written.await {
            Ok(Ok(())) => WriteOutcome::Stored,
            Ok(Err(reason)) => WriteOutcome::PassedThrough { reason },
            Err(error) => WriteOutcome::PassedThrough { reason: error.to_string() },
        }
    }

    /// Bytes by volume, for metrics and the summary.
    #[must_use]
    pub fn usage(&self) -> Vec<VolumeUsage> {
        self.volumes.iter().map(|volume| volume.usage()).collect()
    }

    /// Objects that were evicted since the start.
    #[must_use]
    pub fn evicted_objects(&self) -> u64 {
        self.evicted_objects.load(Ordering::Relaxed)
    }

    fn touch(&self, object: &Object) {
        object.set_last_used(self.clock.fetch_add(1, Ordering::Relaxed));
    }

    fn forget(&self, object: &Arc<Object>) -> bool {
        let mut objects = self.objects.lock();
        let is_current = objects.get(object.key()).is_some_and(|current| Arc::ptr_eq(current, object));
        if is_current {
            objects.remove(object.key());
        }
        is_current
    }

    fn place_of(&self, object: &Object) -> Option<(Arc<Volume>, PathBuf)> {
        let volume = self.volumes.get(object.volume()?)?.clone();
        let folder = volume.object_folder(&object.folder_name());
        Some((volume, folder))
    }

    fn write_blocking(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        chunks: &[Bytes],
        sha256: [u8; 32],
    ) -> Result<(), String> {
        let length = object.layout().range_of(piece).length();
        // Room is made before this object's lock is taken: making room takes the locks of others.
        let (index, reserved) = self.reserve(object, piece_cost_bytes(length))?;
        let volume = &self.volumes[index];
        // One writer per object at a time: the first one makes the folder, and no file follows into a removed one.
        let _guard = object.writing.lock();
        let is_first = object.volume().is_none();
        if object.is_retired()
            || object.record(piece).is_some()
            || object.volume().is_some_and(|now| now != index)
        {
            volume.cancel(reserved);
            return Err("the object was replaced or stored by someone else meanwhile".into());
        }
        let folder = volume.object_folder(&object.folder_name());
        let record = PieceRecord::new(sha256);
        let outcome = (|| {
            if is_first {
                volume.create_object_folder(&folder, &object.describe())?;
            }
            volume.write_file(&folder.join(record.file_name(piece)), chunks)
        })();
        match outcome {
            Ok(()) => {
                let overhead = if is_first { OBJECT_OVERHEAD_BYTES } else { 0 };
                let used = piece_cost_bytes(length) + overhead;
                volume.commit(used);
                volume.cancel(reserved - used);
                object.set_volume(index);
                object.insert_record(piece, record);
                Ok(())
            }
            Err(error) => {
                if is_first {
                    let _ = std::fs::remove_dir_all(&folder);
                }
                volume.cancel(reserved);
                volume.report_failure(&error);
                Err(format!("unable to write to {}: {error}", volume.path().display()))
            }
        }
    }

    /// Bytes for one piece, and for the object's folder if it may have to be made.
    fn reserve(&self, object: &Arc<Object>, piece_bytes: u64) -> Result<(usize, u64), String> {
        let (index, bytes) = match object.volume() {
            Some(index) => (index, piece_bytes),
            None => (self.roomiest_volume()?, piece_bytes + OBJECT_OVERHEAD_BYTES),
        };
        self.make_room(&self.volumes[index], index, object, bytes)?;
        Ok((index, bytes))
    }

    fn roomiest_volume(&self) -> Result<usize, String> {
        self.volumes
            .iter()
            .enumerate()
            .filter(|(_, volume)| volume.is_usable())
            .max_by_key(|(_, volume)| volume.room_bytes())
            .map(|(index, _)| index)
            .ok_or_else(|| "no volume is usable".to_owned())
    }

    /// Reserves bytes, evicting the least recently used objects of that volume for them, but never the one that grows.
    fn make_room(
        &self,
        volume: &Volume,
        index: usize,
        growing: &Arc<Object>,
        needed: u64,
    ) -> Result<(), String> {
        loop {
            match volume.reserve(needed) {
                Ok(()) => return Ok(()),
                Err(refusal) if !refusal.eviction_helps() => return Err(refusal.to_string()),
                Err(refusal) => {
                    let victim =
                        self.least_recently_used(index, growing).ok_or_else(|| refusal.to_string())?;
                    if self.forget(&victim) {
                        self.evicted_objects.fetch_add(1, Ordering::Relaxed);
                        tracing::debug!(object = %victim.key(), "evicted");
                        self.remove_files_blocking(&victim);
                    }
                }
            }
        }
    }

    fn least_recently_used(&self, volume: usize, except: &Arc<Object>) -> Option<Arc<Object>> {
        let objects = self.objects.lock();
        let candidates =
            objects.values().filter(|object| object.volume() == Some(volume) && !Arc::ptr_eq(object, except));
        candidates.min_by_key(|object| object.last_used()).cloned()
    }

    async fn remove_files(self: &Arc<Self>, object: Arc<Object>) {
        let store = self.clone();
        let _ = tokio::task::spawn_blocking(move || store.remove_files_blocking(&object)).await;
    }

    fn remove_files_blocking(&self, object: &Arc<Object>) {
        let _guard = object.writing.lock();
        object.retire();
        if let Some((volume, folder)) = self.place_of(object) {
            let freed = object.take_records_cost_bytes() + OBJECT_OVERHEAD_BYTES;
            match volume.remove_object_folder(&folder) {
                Ok(()) => volume.give_back(freed),
                Err(error) => {
                    // Still there, so still counted; the next start finds it again.
                    tracing::warn!(path = %folder.display(), %error, "unable to remove an object's files");
                    volume.report_failure(&error);
                }
            }
        }
    }
}

/// SHA-256 over several slices.
#[must_use]
pub(crate) fn sha256_of(chunks: &[Bytes]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for chunk in chunks {
        hasher.update(chunk);
    }
    hasher.finalize().into()
}

fn file_name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use connected_cache_core::Generation;

    const PIECE_BYTES: usize = 300_000;

    fn head() -> ObjectHead {
        let generation = Generation {
            content_length_bytes: PIECE_BYTES as u64,
            etag: Some("\"a\"".into()),
            last_modified: None,
        };
        ObjectHead { generation, headers: Vec::new() }
    }

    fn config(folder: &Path) -> connected_cache_config::Storage {
        connected_cache_config::Storage {
            volumes: vec![connected_cache_config::Volume {
                path: folder.to_owned(),
                limit: connected_cache_config::ByteSize::from_gibibytes(1),
            }],
            min_free: connected_cache_config::ByteSize::from_bytes(0),
            ..connected_cache_config::Storage::default()
        }
    }

    #[tokio::test]
    async fn one_read_is_bounded_and_holds_no_more_than_it_gives() {
        let folder = tempfile::tempdir().unwrap();
        let key = ObjectKey::from_stored("http://example.com/f".into());
        let content: Vec<u8> = (0..PIECE_BYTES).map(|index| (index % 251).to_le_bytes()[0]).collect();
        let chunks = vec![Bytes::from(content.clone())];
        let store = Store::open(&config(folder.path())).await.unwrap();
        let object = store.admit(&key, head()).await;
        let piece = object.layout().piece(0).unwrap();
        let sha256 = sha256_of(&chunks);
        assert_eq!(store.write(&object, piece, chunks, sha256).await, WriteOutcome::Stored);
        // The second store has not checked the hash yet and reads the whole file for it.
        for store in [store, Store::open(&config(folder.path())).await.unwrap()] {
            let object = store.object(&key).unwrap();
            let range = ByteRange { first: 1000, last: PIECE_BYTES as u64 - 1 };
            let bytes = store.read(&object, piece, range).await.unwrap();
            assert_eq!(bytes.len(), 131_072);
            assert!(bytes[..] == content[1000..132_072]);
            // What lies behind the slice would be kept alive with it.
            let held = bytes.try_into_mut().unwrap().capacity();
            assert!(held < 200_000, "{held}");
        }
    }
}
