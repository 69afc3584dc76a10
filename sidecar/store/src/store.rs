//! All volumes of a pod as one store.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};
use sha2::{Digest as _, Sha256};

use crate::index::{MAX_ATTRIBUTES, MAX_KEY, ObjectRecord};
use crate::keeper::{Keeper, Message, Restored};
use crate::object::Object;
use crate::policy::Policy;
use crate::tally::ClassUsage;
use crate::volume::{Health, Opened, Usage, Volume, seconds_now};

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
    /// A volume can't be used at start.
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
    pub(crate) volumes: Vec<Arc<Volume>>,
    keepers: Mutex<Vec<JoinHandle<()>>>,
    policy: Policy,
}

impl Store {
    /// Opens every volume. `protected` classes are evicted last. Blocks while the indexes are read.
    pub fn open(volumes: &[VolumeOptions], protected: &[u8]) -> Result<Self, StoreError> {
        Self::open_with(volumes, Policy { protected: protected.to_vec(), ..Policy::default() })
    }

    /// As [`Self::open`], with all that may be said about what is kept.
    pub fn open_with(volumes: &[VolumeOptions], policy: Policy) -> Result<Self, StoreError> {
        if volumes.is_empty() || volumes.len() > MAX_VOLUMES {
            return Err(StoreError::Volumes(volumes.len()));
        }
        let catalogue = Arc::new(Catalogue::default());
        let mut store = Self { catalogue, volumes: Vec::new(), keepers: Mutex::default(), policy };
        for options in volumes {
            store
                .open_volume(options)
                .map_err(|source| StoreError::Open { path: options.path.clone(), source })?;
        }
        Ok(store)
    }

    fn open_volume(&mut self, options: &VolumeOptions) -> io::Result<()> {
        let (sender, messages) = mpsc::channel();
        let Opened { volume, loaded } = Volume::open(&options.path, options.limit, options.min_free, sender)?;
        let volume = Arc::new(volume);
        let mut restored = Restored { objects: Vec::with_capacity(loaded.len()), pins: Vec::new() };
        let mut superseded = Vec::new();
        self.catalogue.objects.write().reserve(loaded.len());
        let now = seconds_now();
        for found in loaded {
            let (key, record, last_used) = (hash(&found.record.key), &found.record, found.last_used);
            let pin = self.policy.pin_of(&record.key, record.class, now);
            let object =
                Object::new(Arc::clone(&volume), found.number, key, record, last_used, pin.is_some());
            let groups = found.bitmaps.iter().filter(|(group, bitmap)| object.restore(*group, *bitmap));
            let groups: Vec<u32> = groups.map(|(group, _)| *group).collect();
            object.count_restored(pin.is_some());
            let object = Arc::new(object);
            if groups.is_empty() {
                // Its last piece was dropped, and a crash came before the object went as well.
                superseded.push(Arc::clone(&object));
            } else if let Some(other) = self.catalogue.put(&object) {
                // Two generations of one key are left behind by a crash between storing one and removing the other.
                superseded.push(other);
            }
            restored.pins.extend(pin.map(|pin| (object.number(), pin)));
            restored.objects.push((object, groups));
        }
        for object in superseded {
            object.ask_removal();
        }
        let keeper =
            Keeper::new(Arc::clone(&volume), Arc::clone(&self.catalogue), messages, restored, &self.policy);
        let name = format!("store-{}", self.volumes.len());
        self.keepers.lock().push(std::thread::Builder::new().name(name).spawn(move || keeper.run())?);
        self.volumes.push(volume);
        Ok(())
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
        let healthy = self.volumes.iter().filter(|volume| volume.is_healthy());
        let volume = healthy.max_by_key(|volume| volume.free_share()).ok_or(StoreError::NoVolume)?;
        let record = ObjectRecord {
            key: key.to_owned(),
            class,
            length,
            created: seconds_now(),
            attributes: attributes.to_vec(),
        };
        let now = record.created;
        let pin = self.policy.pin_of(key, class, now);
        let number = volume.next_number();
        let object =
            Arc::new(Object::new(Arc::clone(volume), number, hash(key), &record, now, pin.is_some()));
        volume.tell(Message::Created { object: Arc::clone(&object), record, pin });
        if let Some(previous) = self.catalogue.put(&object) {
            previous.ask_removal();
        }
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
        for volume in &self.volumes {
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
        self.volumes
            .iter()
            .map(|volume| (volume.path().to_owned(), volume.health(), volume.usage()))
            .collect()
    }

    /// Returns once everything that was committed before is on disk, or its volume has failed. Blocks.
    pub fn flush(&self) {
        let answers: Vec<_> = self
            .volumes
            .iter()
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
    /// are listed.
    pub fn remove_orphans(&self) -> io::Result<usize> {
        self.volumes
            .iter()
            .map(|volume| {
                let objects: HashMap<u64, Arc<Object>> = self
                    .objects()
                    .into_iter()
                    .filter(|object| object.is_on(volume))
                    .map(|object| (object.number(), object))
                    .collect();
                for object in objects.values() {
                    if let Err(error) = object.give_back_leftovers() {
                        tracing::warn!(%error, object = object.number(), "unable to give back what a crash left");
                    }
                }
                volume.remove_orphans(|number| objects.contains_key(&number))
            })
            .sum()
    }
}

impl Store {
    /// Whether any volume takes pieces.
    #[must_use]
    pub fn takes_pieces(&self) -> bool {
        self.volumes.iter().any(|volume| volume.is_healthy())
    }

    /// Makes everything durable and gives the volumes free; after this nothing can be stored. Blocks.
    pub fn close(&self) {
        self.end_keepers();
        for volume in &self.volumes {
            volume.close_index();
        }
    }

    fn end_keepers(&self) {
        for volume in &self.volumes {
            volume.tell(Message::Stop);
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

pub(crate) fn hash(key: &str) -> u128 {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let (first, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    u128::from_le_bytes(*first)
}
