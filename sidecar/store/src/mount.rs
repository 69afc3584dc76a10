//! A volume as configured, whatever becomes of it: opened at the start or later, failing, gone, and opened anew.
//!
//! One thread stays with it. While the volume is open the thread is its keeper; while it is not, it looks every few seconds
//! whether it can be opened. Each opening is another [`Volume`] with other objects, so that nothing of an earlier one is ever
//! taken for something of this one.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use crate::budget::Budget;
use crate::keeper::{Keeper, Message, PROBE_EVERY, Remains, Restored};
use crate::object::Object;
use crate::policy::Policy;
use crate::store::{Catalogue, VolumeOptions, hash};
use crate::volume::{Health, Identity, OpenError, Opened, Usage, Volume, identity, is_volume, seconds_now};

/// How often it is looked whether files of a volume that is gone are still read.
const WAIT_FOR_READERS: Duration = Duration::from_millis(100);

/// Why a volume whose index is still being read does not count as open.
const LOADING: &str = "it is being opened";

/// A configured volume.
#[derive(Debug)]
pub(crate) struct Mount {
    options: VolumeOptions,
    policy: Arc<Policy>,
    catalogue: Arc<Catalogue>,
    state: RwLock<State>,
    ended: (Mutex<bool>, Condvar),
}

#[derive(Debug, Default)]
struct State {
    volume: Option<Arc<Volume>>,
    /// All that the volume holds is in the catalogue.
    is_loaded: bool,
    /// Why there is none.
    failure: String,
    evicted: u64,
}

impl Mount {
    /// Opens the volume, if that can be done now, and starts its thread. An error is a mistake in the configuration.
    pub(crate) fn start(
        options: &VolumeOptions,
        policy: &Arc<Policy>,
        catalogue: &Arc<Catalogue>,
        thread: String,
    ) -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let mount = Arc::new(Self {
            options: options.clone(),
            policy: Arc::clone(policy),
            catalogue: Arc::clone(catalogue),
            state: RwLock::default(),
            ended: (Mutex::new(false), Condvar::new()),
        });
        let place = identity(&options.path).ok();
        let keeper = match mount.open(&Remains::default()) {
            Ok(keeper) => keeper,
            Err(OpenError::Mistake(error)) => return Err(error),
            Err(OpenError::Failing(error)) => {
                tracing::error!(volume = %options.path.display(), %error, "volume can't be opened: content passes through until it works");
                mount.state.write().failure = error.to_string();
                None
            }
        };
        let runner = Arc::clone(&mount);
        let thread = std::thread::Builder::new().name(thread).spawn(move || runner.run(keeper, place))?;
        Ok((mount, thread))
    }

    fn run(&self, mut keeper: Option<Keeper>, mut place: Option<Identity>) {
        let mut remains = Remains::default();
        loop {
            if let Some(keeper) = keeper.take() {
                let Some(left) = keeper.run() else { return };
                tracing::warn!(volume = %self.options.path.display(), "volume is gone, another one is in its place");
                let mut state = self.state.write();
                *state = State {
                    volume: None,
                    is_loaded: false,
                    failure: "it is being opened anew".to_owned(),
                    evicted: left.evicted,
                };
                drop(state);
                remains = left;
                place = None;
                // The file system may be the same one, mounted again: what is being read of it must not change.
                while remains.files.iter().any(|file| file.strong_count() > 0) {
                    if self.rest(WAIT_FOR_READERS) {
                        return;
                    }
                }
            } else if self.rest(PROBE_EVERY) {
                return;
            }
            keeper = match self.open_again(&remains, place) {
                Ok(opened) => opened,
                Err(error) => {
                    self.state.write().failure = error.to_string();
                    None
                }
            };
        }
    }

    /// Waits; `true` = the store ends.
    fn rest(&self, time: Duration) -> bool {
        let mut ended = self.ended.0.lock();
        if !*ended {
            self.ended.1.wait_for(&mut ended, time);
        }
        *ended
    }

    /// Opens what is in the volume's place, if it is the folder of the start or may be the volume.
    fn open_again(&self, remains: &Remains, place: Option<Identity>) -> io::Result<Option<Keeper>> {
        let found = identity(&self.options.path)?;
        if place != Some(found) && !is_volume(&self.options.path) {
            return Err(io::Error::other(
                "no volume is in its place: mount it there; to begin with an empty folder, restart the pod",
            ));
        }
        let keeper = self.open(remains).map_err(|error| match error {
            OpenError::Mistake(error) | OpenError::Failing(error) => error,
        })?;
        if let Some(volume) = self.state.read().volume.as_ref().filter(|volume| volume.is_healthy()) {
            tracing::info!(volume = %volume.path().display(), "volume works again");
        }
        Ok(keeper)
    }

    /// Opens the volume; `None` = the store ends.
    fn open(&self, remains: &Remains) -> Result<Option<Keeper>, OpenError> {
        let (sender, messages) = mpsc::channel();
        let VolumeOptions { path, limit, min_free } = &self.options;
        let Opened { volume, loaded } = Volume::open(path, *limit, *min_free, sender)?;
        let volume = Arc::new(volume);
        let is_first = {
            let mut state = self.state.write();
            if *self.ended.0.lock() {
                return Ok(None);
            }
            volume.set_evicted(state.evicted);
            let is_first = state.failure.is_empty();
            state.volume = Some(Arc::clone(&volume));
            is_first
        };
        if !is_first {
            volume.note_leftovers();
        }
        // The same disk again, as far as its numbers tell: what was removed meanwhile is not to come back.
        let empty = BTreeSet::new();
        let (before, now) = (remains.epoch, volume.epoch());
        let removed = if before == 0 || now == 0 || now == before + 1 { &remains.removed } else { &empty };
        let mut restored = Restored { objects: Vec::with_capacity(loaded.len()), pins: Vec::new() };
        let mut superseded = Vec::new();
        self.catalogue.reserve(loaded.len());
        let seconds = seconds_now();
        for found in loaded {
            let (key, record, last_used) = (hash(&found.record.key), &found.record, found.last_used);
            let pin = self.policy.pin_of(&record.key, record.class, seconds);
            let object =
                Object::new(Arc::clone(&volume), found.number, key, record, last_used, pin.is_some());
            let groups = found.groups.iter().filter(|(group, bitmaps)| object.restore(*group, *bitmaps));
            let groups: Vec<u32> = groups.map(|(group, _)| *group).collect();
            object.count_restored(pin.is_some());
            let object = Arc::new(object);
            if groups.is_empty() || removed.contains(&found.number) {
                // Its last piece was dropped, and a crash came before the object went as well. Or it was removed.
                superseded.push(Arc::clone(&object));
            } else {
                // Two generations of one key are left behind by a crash between storing one and removing the other, and by
                // a volume that failed while the content was fetched to another one.
                superseded.extend(self.catalogue.put_loaded(&object));
            }
            restored.pins.extend(pin.map(|pin| (object.number(), pin)));
            restored.objects.push((object, groups));
        }
        for object in superseded {
            object.ask_removal();
        }
        self.state.write().is_loaded = true;
        let catalogue = Arc::clone(&self.catalogue);
        Ok(Some(Keeper::new(volume, catalogue, messages, restored, &self.policy)))
    }

    /// Ends the thread, after a last commit. It is to be joined.
    pub(crate) fn end(&self) {
        *self.ended.0.lock() = true;
        self.ended.1.notify_all();
        if let Some(volume) = self.volume() {
            volume.tell(Message::Stop);
        }
    }

    /// The volume as it is open now.
    pub(crate) fn volume(&self) -> Option<Arc<Volume>> {
        self.state.read().volume.clone()
    }

    /// The volume as it is open now, with all that it holds in the catalogue; else why that is not so.
    pub(crate) fn loaded_volume(&self) -> Result<Arc<Volume>, String> {
        let state = self.state.read();
        match &state.volume {
            Some(volume) if state.is_loaded => Ok(Arc::clone(volume)),
            Some(_) => Err(LOADING.to_owned()),
            None => Err(state.failure.clone()),
        }
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        &self.options.path
    }

    pub(crate) fn report(&self) -> (PathBuf, Health, Usage) {
        let state = self.state.read();
        let (health, usage) = match &state.volume {
            Some(volume) if state.is_loaded => (volume.health(), volume.usage()),
            Some(volume) => (Health::Failed(LOADING.to_owned()), volume.usage()),
            None => (
                Health::Failed(state.failure.clone()),
                Usage {
                    limit: self.options.limit,
                    piece_limit: Budget::new(self.options.limit, 0, 0).piece_limit(),
                    pinned: 0,
                    pieces: 0,
                    index: 0,
                    evicted: state.evicted,
                },
            ),
        };
        (self.options.path.clone(), health, usage)
    }
}
