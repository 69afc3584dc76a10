//! The keeper of a volume: one thread that makes commits durable, evicts, and gives space back.
//!
//! Order is everything here. A piece enters the index after its bytes are synced. A piece leaves the index, durably, before
//! its bytes are cleared. Space is released after the file system has it back. When a step fails the rest of the batch waits
//! and is tried again once the volume works. A volume that is gone is let go without touching it: its index tells the truth.

mod authenticate;
mod evict;
mod pins;
mod remains;
mod settle;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

pub(crate) use authenticate::Authentication;
pub use authenticate::{Answer, Authenticated, Digests};
use connected_cache_sendfile::DataFile;
use pins::PinBoard;
use redb::Durability;
pub(crate) use remains::Remains;

use crate::GROUP_PIECES;
use crate::eviction::{Eviction, Groups, Name};
use crate::index::{Change, Indexed, ObjectRecord, PieceRecord};
use crate::object::Object;
use crate::policy::{PinnedUntil, Policy, Watcher};
use crate::store::Catalogue;
use crate::volume::{Volume, seconds_now};

/// The longest that a commit stays in memory only.
const COMMIT_AFTER: Duration = Duration::from_secs(2);
/// Bytes after which a commit is made at once.
const COMMIT_BYTES: usize = 64 << 20;
/// Changes after which a commit is made at once: a large purge does not hold up what is stored meanwhile for long.
const COMMIT_CHANGES: usize = 16 << 10;
/// How often the keeper looks around when nothing happens.
const TICK: Duration = Duration::from_millis(200);
/// How often a volume that failed is tried again, and one that works is looked for in its place.
pub(crate) const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How often times of use are written down.
const USED_EVERY: Duration = Duration::from_mins(10);

/// Data files that may be open before idle ones are closed: each is a mapping and a descriptor.
const MOST_OPEN: usize = 2048;
/// How often objects that never got a piece are let go.
const TIDY_EVERY: Duration = Duration::from_mins(1);

/// What the keeper is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// A new object; it reaches the index with its first piece.
    Created { object: Arc<Object>, record: ObjectRecord, pin: Option<PinnedUntil> },
    /// What the caller keeps with an object has changed.
    Attributes { object: Arc<Object>, attributes: Vec<u8> },
    /// All bytes of a piece are written.
    Committed {
        object: Arc<Object>,
        file: Arc<DataFile>,
        piece: usize,
        record: PieceRecord,
        first_of_group: bool,
    },
    /// A fill was given up.
    Discarded { object: Arc<Object>, file: Arc<DataFile>, piece: usize },
    /// An object was made unreadable as a whole; so many bytes of it are to go.
    Removed { object: Arc<Object>, bytes: u64 },
    /// A piece is to go: its bytes were found wrong.
    DropPiece { object: Arc<Object>, piece: usize },
    /// Pieces are to be compared with authenticated hashes.
    Authenticate(Authentication),
    /// A reservation found the volume full or nearly so.
    Pressure,
    /// Answer with the objects that the index may not name yet.
    Unindexed(SyncSender<Vec<Indexed>>),
    /// Everything told so far is to be on disk, then answer.
    Flush(SyncSender<()>),
    /// Flush and end.
    Stop,
}

/// What is to be done once the index is durable.
#[derive(Debug)]
enum After {
    Punch { object: Arc<Object>, pieces: Vec<usize>, bytes: u64 },
    Unlink { number: u64, file: Option<Weak<DataFile>>, bytes: u64 },
    Answer(SyncSender<()>),
}

/// Bytes that are still read although nobody will read them anew.
#[derive(Debug)]
enum Lingering {
    Pieces { object: Arc<Object>, pieces: Vec<usize>, bytes: u64 },
    Discarded { object: Arc<Object>, file: Arc<DataFile>, piece: usize },
    File { file: Weak<DataFile>, bytes: u64 },
}

/// What was found at start.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// Objects, with their groups that have pieces.
    pub(crate) objects: Vec<(Arc<Object>, Vec<u32>)>,
    /// Those that are pinned, by number: a list of its own, so that the others take no more memory.
    pub(crate) pins: Vec<(u64, PinnedUntil)>,
}

pub(crate) struct Keeper {
    volume: Arc<Volume>,
    catalogue: Arc<Catalogue>,
    messages: Receiver<Message>,
    objects: BTreeMap<u64, Arc<Object>>,
    records: BTreeMap<u64, ObjectRecord>,
    eviction: Eviction,
    shares: BTreeMap<u8, u8>,
    watcher: Option<Watcher>,
    /// Nothing is synced before the end.
    unsynced: bool,
    pins: PinBoard,
    to_sync: Vec<Arc<DataFile>>,
    changes: Vec<Change>,
    after: Vec<After>,
    lingering: VecDeque<Lingering>,
    pending_bytes: usize,
    pending_since: Option<Instant>,
    urgent: bool,
    last_probe: Instant,
    last_used_written: Instant,
    last_tidy: Instant,
}

struct Objects<'a>(&'a BTreeMap<u64, Arc<Object>>);

impl Groups for Objects<'_> {
    fn take_use(&self, (number, group): Name) -> Option<u8> {
        self.0.get(&number)?.take_use(group)
    }
    fn uses(&self, (number, group): Name) -> Option<u8> {
        self.0.get(&number)?.uses(group)
    }
}

impl Keeper {
    pub(crate) fn new(
        volume: Arc<Volume>,
        catalogue: Arc<Catalogue>,
        messages: Receiver<Message>,
        restored: Restored,
        policy: &Policy,
    ) -> Self {
        let mut eviction = Eviction::new(policy.protected.clone(), policy.order);
        let (mut objects, mut pins) = (BTreeMap::new(), PinBoard::default());
        let has_pins = !restored.pins.is_empty();
        for (number, pin) in restored.pins {
            pins.put(number, pin);
        }
        for (object, groups) in restored.objects {
            for group in groups {
                eviction.insert(object.class(), (object.number(), group), has_pins && object.is_pinned());
            }
            objects.insert(object.number(), object);
        }
        Self {
            volume,
            catalogue,
            messages,
            objects,
            records: BTreeMap::new(),
            eviction,
            shares: policy.shares.clone(),
            watcher: policy.watcher.clone(),
            unsynced: policy.unsynced,
            pins,
            to_sync: Vec::new(),
            changes: Vec::new(),
            after: Vec::new(),
            lingering: VecDeque::new(),
            pending_bytes: 0,
            pending_since: None,
            urgent: false,
            last_probe: Instant::now(),
            last_used_written: Instant::now(),
            last_tidy: Instant::now(),
        }
    }

    /// Runs until [`Message::Stop`], or until the volume is gone, of which it gives what is left.
    pub(crate) fn run(mut self) -> Option<Remains> {
        loop {
            let stop = match self.messages.recv_timeout(TICK) {
                Ok(message) => self.take(message) || self.drain(),
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            self.probe();
            if self.volume.is_gone() {
                return Some(self.abandon());
            }
            self.remove_leftovers();
            self.end_pins();
            self.evict();
            if stop || self.is_due() {
                self.commit();
            }
            self.settle();
            self.tidy();
            self.write_times_of_use();
            if stop {
                self.commit();
                self.sync_at_last();
                return None;
            }
        }
    }

    /// Removes what a crash left behind on a volume that could not be looked through at the start.
    fn remove_leftovers(&self) {
        if self.volume.take_leftovers()
            && let Err(error) = self.volume.remove_leftovers(&self.objects)
        {
            tracing::warn!(volume = %self.volume.path().display(), %error, "unable to look for files that a crash left behind");
        }
    }

    fn drain(&mut self) -> bool {
        while self.pending_bytes < COMMIT_BYTES && self.changes.len() < COMMIT_CHANGES {
            match self.messages.try_recv() {
                Ok(message) => {
                    if self.take(message) {
                        return true;
                    }
                }
                Err(_) => break,
            }
        }
        false
    }

    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Created { object, record, pin } => {
                if let Some(pin) = pin {
                    self.pins.put(object.number(), pin);
                }
                self.records.insert(object.number(), record);
                self.objects.insert(object.number(), object);
            }
            Message::Attributes { object, attributes } => self.set_attributes(&object, attributes),
            Message::Committed { object, file, piece, record, first_of_group } => {
                self.committed(&object, file, piece, record, first_of_group);
            }
            Message::Discarded { object, file, piece } => {
                self.lingering.push_back(Lingering::Discarded { object, file, piece });
            }
            Message::Removed { object, bytes } => self.removed(&object, bytes),
            Message::DropPiece { object, piece } => self.drop_piece(&object, piece),
            Message::Authenticate(authentication) => self.authenticate(authentication),
            Message::Pressure => {}
            Message::Unindexed(answer) => drop(answer.send(self.unindexed())),
            Message::Flush(answer) => {
                self.after.push(After::Answer(answer));
                self.urgent = true;
            }
            Message::Stop => return true,
        }
        false
    }

    fn drop_piece(&mut self, object: &Arc<Object>, piece: usize) {
        if let Some(closed) = object.close_piece(piece) {
            self.change(Change::DropPiece { number: object.number(), piece }, 0);
            let object = Arc::clone(object);
            self.after.push(After::Punch { object, pieces: closed.pieces, bytes: closed.bytes });
            self.urgent = true;
        }
    }

    fn set_attributes(&mut self, object: &Arc<Object>, attributes: Vec<u8>) {
        let number = object.number();
        if !self.objects.contains_key(&number) {
            return;
        }
        if let Some(record) = self.records.get_mut(&number) {
            record.attributes = attributes;
            return;
        }
        let pending = self.changes.iter_mut().rev().find_map(|change| match change {
            Change::Object { number: other, record } if *other == number => Some(record),
            _ => None,
        });
        if let Some(record) = pending {
            record.attributes = attributes;
        } else if let Ok(Some(record)) = self.volume.record(number) {
            self.change(Change::Object { number, record: ObjectRecord { attributes, ..record } }, 0);
        }
    }

    fn committed(
        &mut self,
        object: &Arc<Object>,
        file: Arc<DataFile>,
        piece: usize,
        record: PieceRecord,
        first_of_group: bool,
    ) {
        let number = object.number();
        if first_of_group {
            let group = u32::try_from(piece / GROUP_PIECES).unwrap_or(u32::MAX);
            self.eviction.insert(object.class(), (number, group), object.is_pinned());
        }
        if !object.has(piece) {
            // Evicted or removed before its commit was heard of: the index must not name it.
            return;
        }
        if let Some(record) = self.records.remove(&number) {
            self.change(Change::Object { number, record }, 0);
        }
        if !self.to_sync.iter().any(|other| Arc::ptr_eq(other, &file)) {
            self.to_sync.push(file);
        }
        self.change(Change::Piece { number, piece, record }, object.length_of(piece));
        if !self.volume.accepts_commits() {
            object.doubt();
        }
    }

    /// Objects that have no piece yet, and those whose first piece is not in the index yet.
    fn unindexed(&self) -> Vec<Indexed> {
        let pending = self.changes.iter().filter_map(|change| match change {
            Change::Object { number, record } => Some((number, record)),
            _ => None,
        });
        let indexed = |(number, record): (&u64, &ObjectRecord)| Indexed {
            number: *number,
            key: record.key.clone(),
            class: record.class,
        };
        self.records.iter().chain(pending).map(indexed).collect()
    }

    fn change(&mut self, change: Change, bytes: usize) {
        self.changes.push(change);
        self.pending_bytes += bytes;
        self.pending_since.get_or_insert_with(Instant::now);
    }

    /// Lets go of an object that nobody can read any more; `bytes` of it are given back once nobody holds its file.
    fn removed(&mut self, object: &Arc<Object>, bytes: u64) {
        let number = object.number();
        // What was about to be punched goes with the file: its readers are only known as long as the object has the file.
        let bytes = if object.is_closing() { bytes + self.absorb(number) } else { bytes };
        let file = object.take_file();
        self.catalogue.forget(object);
        self.objects.remove(&number);
        self.records.remove(&number);
        self.pins.remove(number);
        self.change(Change::DropObject { number }, 0);
        self.after.push(After::Unlink { number, file: file.as_ref().map(Arc::downgrade), bytes });
        self.urgent = true;
    }

    fn is_due(&self) -> bool {
        self.urgent
            || self.pending_bytes >= COMMIT_BYTES
            || self.changes.len() >= COMMIT_CHANGES
            || self.pending_since.is_some_and(|since| since.elapsed() >= COMMIT_AFTER)
    }

    /// Syncs the bytes, then the index, then does what waited for it.
    fn commit(&mut self) {
        if !self.volume.accepts_commits() {
            return;
        }
        if let Err(error) = self.make_durable() {
            self.volume.fail(&error);
            return;
        }
        self.urgent = false;
        self.pending_bytes = 0;
        self.pending_since = None;
        for after in std::mem::take(&mut self.after) {
            match after {
                After::Punch { object, pieces, bytes } => {
                    self.lingering.push_back(Lingering::Pieces { object, pieces, bytes });
                }
                After::Unlink { number, file, bytes } => {
                    if let Err(error) = self.volume.unlink_data(number) {
                        tracing::warn!(%error, "unable to remove a data file");
                    }
                    match file {
                        Some(file) => self.lingering.push_back(Lingering::File { file, bytes }),
                        None => self.volume.release(bytes),
                    }
                }
                After::Answer(answer) => drop(answer.send(())),
            }
        }
    }

    fn make_durable(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.to_sync.clear();
            self.volume.apply(&self.changes, Durability::None)?;
            self.changes.clear();
            return Ok(());
        }
        if let Err(error) = self.to_sync.iter().try_for_each(|file| file.file().sync_data()) {
            self.give_up_pending();
            return Err(error);
        }
        self.to_sync.clear();
        for change in &self.changes {
            // The name of a new data file has to survive as well.
            if let Change::Object { number, .. } = change {
                self.volume.sync_shard(*number)?;
            }
        }
        if !self.changes.is_empty() {
            self.volume.apply(&self.changes, Durability::Immediate)?;
            self.changes.clear();
        }
        Ok(())
    }

    /// What was left unsynced becomes durable once, so that a store that was closed is found again.
    fn sync_at_last(&self) {
        if self.unsynced
            && let Err(error) = self.volume.apply(&[], Durability::Immediate)
        {
            tracing::warn!(%error, "what was stored without syncing is lost");
        }
    }

    /// After a sync that failed the system may have dropped what it could not write, and a later one that succeeds says
    /// nothing of that. So what it was for never enters the index, and goes.
    fn give_up_pending(&mut self) {
        let objects = &self.objects;
        let is_of_lost = |change: &Change| match change {
            Change::Piece { number, piece, .. } => Some((*number, *piece)),
            _ => None,
        };
        let lost: BTreeSet<(u64, usize)> = self.changes.iter().filter_map(is_of_lost).collect();
        self.changes.retain(|change| match change {
            Change::Piece { .. } => false,
            Change::Trust { number, piece, .. } => !lost.contains(&(*number, *piece)),
            _ => true,
        });
        for (number, piece) in lost {
            if let Some(object) = objects.get(&number) {
                object.doubt();
                object.drop_piece(piece);
            }
        }
    }

    fn remove_if_empty(&mut self, object: &Arc<Object>) {
        if object.is_idle_and_empty()
            && let Some(bytes) = object.remove()
        {
            self.removed(object, bytes);
        }
    }

    /// Lets go of files that nobody uses when many are open, and of objects that never got a piece.
    fn tidy(&mut self) {
        if self.volume.opened() > MOST_OPEN {
            let open = self.objects.values().filter(|object| !object.close_idle()).count();
            self.volume.set_opened(open);
        }
        if self.last_tidy.elapsed() >= TIDY_EVERY {
            self.last_tidy = Instant::now();
            self.eviction.forget_gone(&Objects(&self.objects));
            let empty: Vec<_> =
                self.records.keys().filter_map(|number| self.objects.get(number).cloned()).collect();
            for object in empty {
                self.remove_if_empty(&object);
            }
        }
    }

    fn probe(&mut self) {
        if self.last_probe.elapsed() >= PROBE_EVERY {
            self.last_probe = Instant::now();
            if self.volume.accepts_commits() {
                self.volume.check_place();
            } else {
                self.volume.probe();
            }
        }
    }

    fn write_times_of_use(&mut self) {
        if self.last_used_written.elapsed() < USED_EVERY || !self.volume.accepts_commits() {
            return;
        }
        self.last_used_written = Instant::now();
        let since = seconds_now().saturating_sub(USED_EVERY.as_secs() + 60);
        let used: Vec<Change> = self
            .objects
            .values()
            .filter(|object| object.last_used() >= since && !self.records.contains_key(&object.number()))
            .map(|object| Change::Used { number: object.number(), seconds: object.last_used() })
            .collect();
        for change in used {
            self.change(change, 0);
        }
    }
}

#[cfg(test)]
mod tests;
