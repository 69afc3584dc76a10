//! One folder: data files, index, budget and health.
//!
//! ```text
//! <volume>/index.redb          what is committed
//! <volume>/data/<xx>/<number>  one sparse file for each object; xx = the number's last two hexadecimal digits
//! ```
//! Data files are opened below a descriptor of the folder that is kept from the start, so that a volume that was unmounted
//! under us is never mistaken for the folder that shows in its place.

mod place;
mod probe;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex, RwLock};
use redb::Durability;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, fstat, fstatvfs, fsync, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use crate::budget::Budget;
use crate::index::{self, Change, GroupRecord, Index, Indexed, Loaded, ObjectRecord, PieceRecord};
use crate::keeper::Message;
use crate::object::{FillError, Object};
use crate::tally::Tally;
use crate::{GROUP_PIECES, disk_bytes};

pub(crate) use place::{Identity, OpenError, identity, is_volume};

const INDEX: &str = "index.redb";
const DATA: &str = "data";

/// Whether a volume takes pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Healthy,
    /// It does not, for this reason; it is tried again every few seconds.
    Failed(String),
}

/// How much of a volume is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The most that the store may take, in bytes.
    pub limit: u64,
    /// The most of it that pieces may take, beside the index and what it may grow to: what shares and pins are measured by.
    pub piece_limit: u64,
    /// Stored pieces of pinned objects.
    pub pinned: u64,
    /// Pieces: stored, being stored, or removed and still read.
    pub pieces: u64,
    /// The index file.
    pub index: u64,
    /// Bytes evicted since the start.
    pub evicted: u64,
}

/// The folder of one volume.
#[derive(Debug)]
pub(crate) struct Volume {
    path: PathBuf,
    folder: OwnedFd,
    identity: Identity,
    min_free: u64,
    budget: Budget,
    tally: Tally,
    index: RwLock<Option<Index>>,
    /// The index refused something: it is to be opened anew, because a database that saw an error refuses everything.
    index_failed: AtomicBool,
    health: Mutex<Health>,
    healthy: AtomicBool,
    /// Another one is opened in its place; it is never used again.
    gone: AtomicBool,
    /// What a crash left behind is still to be removed, once it works.
    has_leftovers: AtomicBool,
    /// One try of the disk at a time.
    trying: Mutex<()>,
    opened: AtomicUsize,
    evicted: AtomicU64,
    /// 0 = its index could not be written yet.
    next: AtomicU64,
    messages: Sender<Message>,
    /// Told whenever space comes back.
    released: (Mutex<()>, Condvar),
}

/// An opened volume, and what its index holds.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) volume: Volume,
    pub(crate) loaded: Vec<Loaded>,
}

impl Volume {
    /// Opens or makes the store in a folder that exists. An index that is broken beyond repair is set aside, and the volume
    /// starts empty. Where the disk takes no writes, what it holds is read, and the volume has failed from the start.
    pub(crate) fn open(
        path: &Path,
        limit: u64,
        min_free: u64,
        messages: Sender<Message>,
    ) -> Result<Opened, OpenError> {
        let folder = place::open_folder(path)?;
        let status = fstat(&folder).map_err(|error| OpenError::Failing(error.into()))?;
        let (index, loaded, epoch, failure) = match open_for_writing(path, &folder) {
            Ok((index, loaded, epoch)) => (index, loaded, epoch, None),
            Err(error) if is_taken(&error) => return Err(OpenError::Mistake(error)),
            Err(error) => match open_frozen(path) {
                Ok((index, loaded)) => (index, loaded, 0, Some(error)),
                Err(_) => return Err(OpenError::Failing(error)),
            },
        };
        let used = loaded.iter().map(loaded_bytes).sum();
        let volume = Self {
            path: path.to_owned(),
            folder,
            identity: (status.st_dev, status.st_ino),
            min_free,
            budget: Budget::new(limit, used, 0),
            tally: Tally::default(),
            index: RwLock::new(Some(index)),
            index_failed: AtomicBool::new(false),
            health: Mutex::new(Health::Healthy),
            healthy: AtomicBool::new(true),
            gone: AtomicBool::new(false),
            has_leftovers: AtomicBool::new(failure.is_some()),
            trying: Mutex::new(()),
            opened: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            next: AtomicU64::new(epoch << 40),
            messages,
            released: (Mutex::new(()), Condvar::new()),
        };
        volume.measure_index();
        if let Some(error) = failure {
            volume.fail(&error);
        }
        Ok(Opened { volume, loaded })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn tell(&self, message: Message) {
        // The keeper ends after everybody else; a message after that has nothing left to change.
        let _ = self.messages.send(message);
    }

    /// The numbers of this run lie in it.
    pub(crate) fn epoch(&self) -> u64 {
        self.next.load(Ordering::Relaxed) >> 40
    }

    /// A number that no object of this volume ever had.
    pub(crate) fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    // --- bytes ---

    /// Takes space for a piece, or says why not.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), FillError> {
        if !self.healthy.load(Ordering::Acquire) {
            return Err(FillError::Unhealthy);
        }
        let free = self.free_bytes().map_err(|error| self.failed_write(error))?;
        if free < self.min_free.saturating_add(bytes) || !self.budget.reserve(bytes) {
            self.tell(Message::Pressure);
            return Err(FillError::Full);
        }
        if self.budget.used() > self.budget.high_water() {
            self.tell(Message::Pressure);
        }
        Ok(())
    }

    pub(crate) fn release(&self, bytes: u64) {
        self.budget.release(bytes);
        self.released.1.notify_all();
    }

    /// Waits until the budget has room for so many bytes; `false` = not in time. Blocks.
    pub(crate) fn wait_for_room(&self, bytes: u64, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut waiting = self.released.0.lock();
        loop {
            if self.budget.used().saturating_add(bytes) <= self.budget.piece_limit() {
                return true;
            }
            self.tell(Message::Pressure);
            if self.released.1.wait_until(&mut waiting, deadline).timed_out() {
                return false;
            }
        }
    }

    /// Bytes that are to be evicted: above the high-water mark, or below the free space to keep.
    pub(crate) fn excess(&self) -> u64 {
        let over = self.budget.used().saturating_sub(self.budget.high_water());
        let floor = self.min_free.saturating_add((self.min_free / 8).max(1 << 20));
        let short = self.free_bytes().map_or(0, |free| floor.saturating_sub(free));
        over.max(short.min(self.budget.used()))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let status = fstatvfs(&self.folder)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage {
            limit: self.budget.limit(),
            piece_limit: self.budget.piece_limit(),
            pieces: self.budget.used(),
            pinned: self.tally.pinned(),
            index: self.budget.index(),
            evicted: self.evicted.load(Ordering::Relaxed),
        }
    }

    /// Share of the budget that is free, in millionths: where a new object goes best.
    pub(crate) fn free_share(&self) -> u64 {
        let limit = self.budget.piece_limit().max(1);
        limit.saturating_sub(self.budget.used()).saturating_mul(1_000_000) / limit
    }

    /// What is stored, by class.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The most bytes that a class with this share may take.
    pub(crate) fn share_bytes(&self, percent: u8) -> u64 {
        self.budget.piece_limit() / 100 * u64::from(percent)
    }

    /// Whether more is pinned than may be kept whatever comes.
    pub(crate) fn has_pinned_surplus(&self) -> bool {
        self.tally.pinned() > self.budget.piece_limit() / 2
    }

    /// Evictions are counted on when a volume is opened anew.
    pub(crate) fn set_evicted(&self, bytes: u64) {
        self.evicted.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn count_eviction(&self, bytes: u64) {
        self.evicted.fetch_add(bytes, Ordering::Relaxed);
    }

    // --- data files ---

    /// Opens the data file of an object, or makes it.
    pub(crate) fn open_data(&self, number: u64) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        match openat(&self.folder, data_path(number), flags, mode) {
            // On a read-only file system what is there can still be served.
            Err(Errno::ROFS | Errno::ACCESS) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                Ok(openat(&self.folder, data_path(number), flags, Mode::empty())?.into())
            }
            outcome => Ok(outcome?.into()),
        }
    }

    /// Syncs the folder that names the data file of an object.
    pub(crate) fn sync_shard(&self, number: u64) -> io::Result<()> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = openat(&self.folder, shard_path(number), flags, Mode::empty())?;
        Ok(fsync(&folder)?)
    }

    pub(crate) fn unlink_data(&self, number: u64) -> io::Result<()> {
        match unlinkat(&self.folder, data_path(number), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn count_open(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    pub(crate) fn set_opened(&self, count: usize) {
        self.opened.store(count, Ordering::Relaxed);
    }

    /// Removes data files that the index does not name: those of earlier runs only, by their epoch.
    pub(crate) fn remove_orphans(&self, is_known: impl Fn(u64) -> bool) -> io::Result<usize> {
        let first = self.next.load(Ordering::Relaxed) >> 40 << 40;
        let mut removed = 0;
        for shard in 0..=0xff_u64 {
            let folder = self.path.join(DATA).join(format!("{shard:02x}"));
            for entry in std::fs::read_dir(folder)? {
                let name = entry?.file_name();
                let number = name.to_str().and_then(|name| u64::from_str_radix(name, 16).ok());
                if let Some(number) = number.filter(|number| *number < first && !is_known(*number)) {
                    self.unlink_data(number)?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// As [`crate::Store::remove_orphans`], for one volume with these objects.
    pub(crate) fn remove_leftovers(&self, objects: &BTreeMap<u64, Arc<Object>>) -> io::Result<usize> {
        for object in objects.values() {
            if let Err(error) = object.give_back_leftovers() {
                tracing::warn!(%error, object = object.number(), "unable to give back what a crash left");
            }
        }
        self.remove_orphans(|number| objects.contains_key(&number))
    }

    // --- index ---

    pub(crate) fn apply(&self, changes: &[Change], durability: Durability) -> io::Result<()> {
        self.with_index(|index| index.apply_as(changes, durability))?;
        self.measure_index();
        Ok(())
    }

    pub(crate) fn record(&self, number: u64) -> io::Result<Option<ObjectRecord>> {
        self.with_index(|index| index.record(number)).inspect_err(|error| self.fail_unless_closed(error))
    }

    /// Keys, classes and numbers of up to `most` objects in the index whose numbers are above `after`, by number.
    pub(crate) fn keys_after(&self, after: Option<u64>, most: usize) -> io::Result<Vec<Indexed>> {
        // The lock is held for one batch only, so that whoever replaces the index does not wait for a whole list.
        let found = self.with_index(|index| index.keys_after(after, most));
        found.inspect_err(|error| self.fail_unless_closed(error))
    }

    pub(crate) fn piece_record(&self, number: u64, piece: usize) -> io::Result<Option<PieceRecord>> {
        let group = u32::try_from(piece / GROUP_PIECES).unwrap_or(u32::MAX);
        Ok(self.group(number, group)?.get(piece % GROUP_PIECES))
    }

    /// What the index says of the pieces of a group.
    pub(crate) fn group(&self, number: u64, group: u32) -> io::Result<GroupRecord> {
        let found = self.with_index(|index| index.group(number, group));
        found.inspect_err(|error| self.fail_unless_closed(error))
    }

    fn with_index<T>(&self, work: impl FnOnce(&Index) -> index::Result<T>) -> io::Result<T> {
        let index = self.index.read();
        let index = index.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        work(index).map_err(|error| {
            self.index_failed.store(true, Ordering::Release);
            io::Error::other(error)
        })
    }

    fn fail_unless_closed(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotConnected {
            self.fail(error);
        }
    }

    /// Gives the index file free for another process or another store.
    pub(crate) fn close_index(&self) {
        *self.index.write() = None;
    }

    fn measure_index(&self) {
        if let Ok(metadata) = self.path.join(INDEX).metadata() {
            self.budget.measured_index(metadata.len());
        }
    }

    // --- health ---

    pub(crate) fn health(&self) -> Health {
        self.health.lock().clone()
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    pub(crate) fn accepts_commits(&self) -> bool {
        self.is_healthy()
    }

    /// A write failed. A full file system is no failure of the volume; everything else is.
    pub(crate) fn failed_write(&self, error: io::Error) -> FillError {
        if is_full(&error) {
            self.tell(Message::Pressure);
            return FillError::Full;
        }
        self.fail(&error);
        FillError::Io(error)
    }

    /// Takes the volume out of use until a probe succeeds.
    pub(crate) fn fail(&self, error: &io::Error) {
        let mut health = self.health.lock();
        if *health == Health::Healthy {
            tracing::error!(volume = %self.path.display(), %error, "volume failed: content passes through until it works again");
        }
        *health = Health::Failed(error.to_string());
        self.healthy.store(false, Ordering::Release);
    }

    /// Whether it is never used again, because another one is opened in its place.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Notes that what a crash left behind could not be looked for, or is to be looked for at once.
    pub(crate) fn note_leftovers(&self) {
        self.has_leftovers.store(true, Ordering::Release);
    }

    /// Whether what a crash left behind is to be removed now.
    pub(crate) fn take_leftovers(&self) -> bool {
        self.is_healthy() && self.has_leftovers.swap(false, Ordering::AcqRel)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Seconds since 1970.
pub(crate) fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn loaded_bytes(object: &Loaded) -> u64 {
    let last = object.record.length.div_ceil(crate::PIECE_LENGTH as u64).saturating_sub(1);
    object
        .groups
        .iter()
        .map(|(group, bitmaps)| {
            let bitmap = bitmaps.committed;
            let whole = u64::from(bitmap.count_ones()) * crate::PIECE_LENGTH as u64;
            let (last_group, last_bit) = (last / GROUP_PIECES as u64, last % GROUP_PIECES as u64);
            if u64::from(*group) == last_group && bitmap & 1 << last_bit != 0 {
                let length = object.record.length - last * crate::PIECE_LENGTH as u64;
                whole - crate::PIECE_LENGTH as u64 + disk_bytes(usize::try_from(length).unwrap_or(usize::MAX))
            } else {
                whole
            }
        })
        .sum()
}

fn data_path(number: u64) -> String {
    format!("{}/{number:016x}", shard_path(number))
}

fn shard_path(number: u64) -> String {
    format!("{DATA}/{:02x}", number & 0xff)
}

fn make_folders(folder: &OwnedFd) -> io::Result<()> {
    let make = |name: &str| match mkdirat(folder, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(io::Error::from(error)),
    };
    make(DATA)?;
    (0..=0xff).try_for_each(|shard| make(&format!("{DATA}/{shard:02x}")))?;
    // A data file is found after a power cut only if every folder above it is.
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(fsync(openat(folder, DATA, flags, Mode::empty())?)?)
}

fn open_for_writing(path: &Path, folder: &OwnedFd) -> io::Result<(Index, Vec<Loaded>, u64)> {
    make_folders(folder)?;
    let (index, loaded) = open_index(path)?;
    // The name of the index has to survive as well, and what was set aside must not come back. Each time, because a name
    // that is there may be an earlier run's that was never synced.
    fsync(folder)?;
    let epoch = index.next_epoch().map_err(io::Error::other)?;
    Ok((index, loaded, epoch))
}

fn open_frozen(path: &Path) -> index::Result<(Index, Vec<Loaded>)> {
    let index = Index::open_frozen(&path.join(INDEX))?;
    let mut loaded = Vec::new();
    index.load(|object| loaded.push(object))?;
    Ok((index, loaded))
}

/// Whether an error of [`open_for_writing`] says that another store has the index.
fn is_taken(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Box<redb::Error>>());
    cause.is_some_and(|cause| index::is_taken(cause))
}

/// The index and what it holds. One that is broken is set aside and the volume starts empty; one that can't be read for another
/// reason (the disk fails, another process has it) is nothing to be thrown away.
fn open_index(path: &Path) -> io::Result<(Index, Vec<Loaded>)> {
    let file = path.join(INDEX);
    let read = || -> index::Result<_> {
        let index = Index::open(&file)?;
        let mut loaded = Vec::new();
        index.load(|object| loaded.push(object))?;
        Ok((index, loaded))
    };
    match read() {
        Ok(found) => Ok(found),
        Err(error) if index::is_broken(&error) => {
            let aside = path.join(format!("{INDEX}.broken"));
            tracing::error!(volume = %path.display(), %error, "the index is broken: the volume starts empty");
            std::fs::rename(&file, &aside)?;
            let found = read().map_err(io::Error::other)?;
            std::fs::remove_file(&aside)?;
            Ok(found)
        }
        Err(error) => Err(io::Error::other(error)),
    }
}
