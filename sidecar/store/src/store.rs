//! All volumes of a pod as one store.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};
use sha2::{Digest as _, Sha256};

use crate::index::{MAX_ATTRIBUTES, MAX_KEY, ObjectRecord};
use crate::keeper::Message;
use crate::mount::Mount;
use crate::object::Object;
use crate::policy::Policy;
use crate::tally::ClassUsage;
use crate::volume::{Health, Usage, Volume, seconds_now};

/// The most volumes of one store, as many as a Microsoft Connected Cache node may have.
pub const MAX_VOLUMES: usize = 9;

/// One volume as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeOptions {
    /// A folder that exists and belongs to the store alone.
    pub path: PathBuf,
    /// The most that the store takes there, in bytes: pieces and index together.
    pub limit: u64,
    /// Free bytes of the file system that the store never uses.
    pub min_free: u64,
}

/// Why the store can't be opened, or can't take an object.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// None or more than nine volumes.
    #[error("a store has 1 to {MAX_VOLUMES} volumes, {0} are given")]
    Volumes(usize),
    /// A volume is not there, is no folder, or belongs to another process.
    #[error(
        "unable to use the volume {path}: {source}: it must be a folder, mounted and writable for this user"
    )]
    Open {
        /// The volume.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Every volume failed; content passes through.
    #[error("no volume takes writes")]
    NoVolume,
    /// A volume can't say what it holds.
    #[error(
        "unable to read the index of the volume {path}: {source}: ask again once it works (see its health)"
    )]
    Index {
        /// The volume.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The key or the attributes are too long, or the content is empty.
    #[error("the content can't be kept: {0}")]
    Unsuitable(&'static str),
}

/// Objects by the hash of their key.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    objects: RwLock<HashMap<u128, Arc<Object>>>,
}

impl Catalogue {
    pub(crate) fn get(&self, key: u128) -> Option<Arc<Object>> {
        self.objects.read().get(&key).cloned()
    }

    fn put(&self, object: &Arc<Object>) -> Option<Arc<Object>> {
        self.objects.write().insert(object.key(), Arc::clone(object))
    }

    /// Puts an object in the place of another one; `false` = that was not the current one.
    fn replace(&self, old: &Arc<Object>, new: &Arc<Object>) -> bool {
        let mut objects = self.objects.write();
        let current = objects.get_mut(&old.key()).filter(|current| Arc::ptr_eq(current, old));
        current.map(|current| *current = Arc::clone(new)).is_some()
    }

    pub(crate) fn reserve(&self, count: usize) {
        self.objects.write().reserve(count);
    }

    /// Puts an object that was found on a volume, unless a younger one has its key. Gives the older one of two.
    pub(crate) fn put_loaded(&self, object: &Arc<Object>) -> Option<Arc<Object>> {
        let age = |object: &Object| (object.created(), object.number());
        let mut objects = self.objects.write();
        match objects.get(&object.key()) {
            Some(found) if age(found) > age(object) && !found.is_removed() => Some(Arc::clone(object)),
            _ => objects.insert(object.key(), Arc::clone(object)),
        }
    }

    /// Forgets an object, unless another took its key meanwhile.
    pub(crate) fn forget(&self, object: &Arc<Object>) {
        let mut objects = self.objects.write();
        if objects.get(&object.key()).is_some_and(|found| Arc::ptr_eq(found, object)) {
            objects.remove(&object.key());
        }
    }
}

/// The store.
#[derive(Debug)]
pub struct Store {
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) volumes: Vec<Arc<Mount>>,
    /// Purges under way. Whoever moves an object holds this, so that none is moved away from under a purge.
    pub(crate) purges: RwLock<usize>,
    keepers: Mutex<Vec<JoinHandle<()>>>,
    policy: Arc<Policy>,
}

impl Store {
    /// Opens every volume. One whose disk fails, is full or takes no writes is passed by until it works; only mistakes are
    /// errors. `protected` classes are evicted last. Blocks while the indexes are read.
    pub fn open(volumes: &[VolumeOptions], protected: &[u8]) -> Result<Self, StoreError> {
        Self::open_with(volumes, Policy { protected: protected.to_vec(), ..Policy::default() })
    }

    /// As [`Self::open`], with all that may be said about what is kept.
    pub fn open_with(volumes: &[VolumeOptions], policy: Policy) -> Result<Self, StoreError> {
        if volumes.is_empty() || volumes.len() > MAX_VOLUMES {
            return Err(StoreError::Volumes(volumes.len()));
        }
        let catalogue = Arc::new(Catalogue::default());
        let policy = Arc::new(policy);
        let mut store = Self {
            catalogue,
            volumes: Vec::new(),
            purges: RwLock::default(),
            keepers: Mutex::default(),
            policy,
        };
        for options in volumes {
            store
                .open_volume(options)
                .map_err(|source| StoreError::Open { path: options.path.clone(), source })?;
        }
        Ok(store)
    }

    fn open_volume(&mut self, options: &VolumeOptions) -> io::Result<()> {
        let name = format!("store-{}", self.volumes.len());
        let (mount, keeper) = Mount::start(options, &self.policy, &self.catalogue, name)?;
        self.keepers.lock().push(keeper);
        self.volumes.push(mount);
        Ok(())
    }

    /// The volumes that are open, failing ones among them.
    pub(crate) fn open_volumes(&self) -> impl Iterator<Item = Arc<Volume>> {
        self.volumes.iter().filter_map(|mount| mount.volume())
    }

    /// The current generation of a content.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.catalogue.get(hash(key))
    }

    /// A new generation of a content, on the volume with the largest free share; the previous one goes. Nothing reaches the
    /// disk before the first piece does.
    pub fn create(
        &self,
        key: &str,
        class: u8,
        length: u64,
        attributes: &[u8],
    ) -> Result<Arc<Object>, StoreError> {
        if length == 0 {
            return Err(StoreError::Unsuitable("it is empty"));
        }
        if key.len() > MAX_KEY || attributes.len() > MAX_ATTRIBUTES {
            return Err(StoreError::Unsuitable("its key or its attributes are too long"));
        }
        let previous = self.catalogue.get(hash(key));
        let record = ObjectRecord {
            key: key.to_owned(),
            class,
            length,
            created: after(previous.as_deref()),
            attributes: attributes.to_vec(),
        };
        let object = self.make(record)?;
        if let Some(previous) = self.catalogue.put(&object) {
            previous.ask_removal();
        }
        Ok(object)
    }

    /// A new object for the same generation of a content as an older one, whose volume fails: on one that works, without
    /// pieces. It takes the place of the older one, which goes once its volume works again. Not during a purge.
    pub fn move_away(
        &self,
        old: &Arc<Object>,
        key: &str,
        attributes: &[u8],
    ) -> Result<Arc<Object>, StoreError> {
        let purges = self.purges.read();
        if *purges > 0 {
            return Err(StoreError::Unsuitable("a purge is under way"));
        }
        let record = ObjectRecord {
            key: key.to_owned(),
            class: old.class(),
            length: old.length(),
            created: after(Some(old)),
            attributes: attributes.to_vec(),
        };
        let object = self.make(record)?;
        if !self.catalogue.replace(old, &object) {
            object.ask_removal();
            return Err(StoreError::Unsuitable("it was replaced"));
        }
        old.ask_removal();
        Ok(object)
    }

    fn make(&self, record: ObjectRecord) -> Result<Arc<Object>, StoreError> {
        let healthy = self.open_volumes().filter(|volume| volume.is_healthy());
        let volume = healthy.max_by_key(|volume| volume.free_share()).ok_or(StoreError::NoVolume)?;
        let (key, number, now) = (hash(&record.key), volume.next_number(), seconds_now());
        let pin = self.policy.pin_of(&record.key, record.class, now);
        let object = Object::new(Arc::clone(&volume), number, key, &record, now, pin.is_some());
        let object = Arc::new(object);
        volume.tell(Message::Created { object: Arc::clone(&object), record, pin });
        Ok(object)
    }

    /// Removes a content: it can't be read or added to from now on, and space comes back when nobody holds its bytes any more.
    /// Gives the bytes that its pieces took; `None` = it was removed before.
    pub fn remove(&self, object: &Arc<Object>) -> Option<u64> {
        self.catalogue.forget(object);
        object.ask_removal()
    }

    /// What is stored of each class that has something, all volumes together, by number.
    #[must_use]
    pub fn classes(&self) -> Vec<ClassUsage> {
        let mut classes: Vec<ClassUsage> =
            (0..=u8::MAX).map(|class| ClassUsage { class, objects: 0, bytes: 0 }).collect();
        for volume in self.open_volumes() {
            for (sum, usage) in classes.iter_mut().zip(volume.tally().classes()) {
                sum.objects += usage.objects;
                sum.bytes += usage.bytes;
            }
        }
        classes.retain(|usage| usage.objects > 0 || usage.bytes > 0);
        classes
    }

    /// Every object, in no order.
    #[must_use]
    pub fn objects(&self) -> Vec<Arc<Object>> {
        self.catalogue.objects.read().values().cloned().collect()
    }

    /// Path, health and usage of each volume.
    #[must_use]
    pub fn volumes(&self) -> Vec<(PathBuf, Health, Usage)> {
        self.volumes.iter().map(|mount| mount.report()).collect()
    }

    /// Returns once everything that was committed before is on disk, or its volume has failed. Blocks.
    pub fn flush(&self) {
        let answers: Vec<_> = self
            .open_volumes()
            .filter(|volume| volume.is_healthy())
            .map(|volume| {
                let (answer, answered) = mpsc::sync_channel(1);
                volume.tell(Message::Flush(answer));
                (volume, answered)
            })
            .collect();
        for (volume, answered) in answers {
            while volume.is_healthy() {
                match answered.recv_timeout(std::time::Duration::from_millis(50)) {
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    _ => break,
                }
            }
        }
    }

    /// Removes data files that no index names, and gives back bytes in the others that no index counts: what a crash left
    /// behind. Until then a volume may hold more than its limit. Gives the number of files removed. Blocks while the folders
    /// are listed. On a volume that fails this is done as soon as it works.
    pub fn remove_orphans(&self) -> io::Result<usize> {
        // Of a volume that is being opened not all objects are known yet; it looks for what was left by itself.
        self.volumes
            .iter()
            .filter_map(|mount| mount.loaded_volume().ok())
            .map(|volume| {
                if !volume.is_healthy() {
                    volume.note_leftovers();
                    return Ok(0);
                }
                let objects: BTreeMap<u64, Arc<Object>> = self
                    .objects()
                    .into_iter()
                    .filter(|object| object.is_on(&volume))
                    .map(|object| (object.number(), object))
                    .collect();
                volume.remove_leftovers(&objects)
            })
            .sum()
    }
}

impl Store {
    /// Whether any volume takes pieces.
    #[must_use]
    pub fn takes_pieces(&self) -> bool {
        self.open_volumes().any(|volume| volume.is_healthy())
    }

    /// Makes everything durable and gives the volumes free; after this nothing can be stored. Blocks.
    pub fn close(&self) {
        self.end_keepers();
        for volume in self.open_volumes() {
            volume.close_index();
        }
    }

    fn end_keepers(&self) {
        for mount in &self.volumes {
            mount.end();
        }
        for keeper in self.keepers.lock().drain(..) {
            if keeper.join().is_err() {
                tracing::error!("a store thread ended by a panic");
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.end_keepers();
    }
}

/// Seconds since 1970, but after the creation of an object of the same key: of two the younger one counts.
fn after(previous: Option<&Object>) -> u64 {
    previous.map_or(0, |previous| previous.created().saturating_add(1)).max(seconds_now())
}

pub(crate) fn hash(key: &str) -> u128 {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let (first, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    u128::from_le_bytes(*first)
}
