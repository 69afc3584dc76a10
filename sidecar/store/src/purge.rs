//! Removing what matches, for good.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::index::Indexed;
use crate::keeper::Message;
use crate::listing::{Filter, read_batch};
use crate::store::{Store, StoreError};
use crate::volume::{Health, Volume};

/// What a purge did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Objects that were removed, those without a stored piece among them.
    pub objects: u64,
    /// Bytes that their pieces took on disk.
    pub bytes: u64,
    /// Volumes on which something may be left, or may come back; empty = all is done.
    pub survivors: Vec<Survivor>,
}

/// A volume that could not be purged as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Its folder.
    pub volume: PathBuf,
    /// What is left to fear.
    pub reason: String,
}

/// While it lives no object moves to another volume, which may have been looked through already.
struct NoMoves<'a>(&'a Store);

impl<'a> NoMoves<'a> {
    fn during(store: &'a Store) -> Self {
        *store.purges.write() += 1;
        Self(store)
    }
}

impl Drop for NoMoves<'_> {
    fn drop(&mut self) {
        *self.0.purges.write() -= 1;
    }
}

/// A purge under way.
struct Purge<'a> {
    store: &'a Store,
    filter: &'a Filter,
    purged: Purged,
    /// Folders of the volumes whose indexes have to forget something.
    touched: BTreeSet<PathBuf>,
}

impl Store {
    /// Removes every object that is meant: it can't be read or added to from then on, also not by a fill that has begun.
    /// Bytes that somebody holds stay as they are until they are let go. Returns once the removal is on disk, so that no
    /// crash brings an object back, or says on which volume it is not. Blocks.
    pub fn purge(&self, filter: &Filter) -> Purged {
        let _no_moves = NoMoves::during(self);
        let mut purge = Purge { store: self, filter, purged: Purged::default(), touched: BTreeSet::new() };
        // Those that were open all the time are the same at the end.
        let volumes: Vec<_> = self.volumes.iter().map(|mount| mount.loaded_volume()).collect();
        if let Some(key) = &filter.key {
            purge.remove(key);
        }
        let outcomes: Vec<_> = volumes.iter().map(|volume| purge.volume(volume.as_ref())).collect();
        // What had this key may have been removed by somebody else, and not on disk yet.
        if !purge.touched.is_empty() || filter.key.is_some() {
            self.flush();
        }
        let Purge { mut purged, touched, .. } = purge;
        for ((mount, volume), outcome) in self.volumes.iter().zip(volumes).zip(outcomes) {
            let is_touched = touched.contains(mount.path());
            let comes_back = || volume.as_ref().ok().and_then(|volume| may_come_back(volume, is_touched));
            let reason = outcome.err().or_else(comes_back);
            purged
                .survivors
                .extend(reason.map(|reason| Survivor { volume: mount.path().to_owned(), reason }));
        }
        purged
    }
}

impl Purge<'_> {
    /// Removes what is known under a key, if it is meant. Whatever it is: another object may have come in the place of the one
    /// that an index names.
    fn remove(&mut self, key: &str) {
        while let Some(object) =
            self.store.get(key).filter(|object| (self.filter.matches)(key, object.class()))
        {
            if let Some(bytes) = self.store.remove(&object) {
                self.purged.objects += 1;
                self.purged.bytes += bytes;
                self.touch(object.volume_path());
            }
        }
    }

    fn touch(&mut self, folder: &Path) {
        if !self.touched.contains(folder) {
            self.touched.insert(folder.to_owned());
        }
    }

    fn volume(&mut self, volume: Result<&Arc<Volume>, &String>) -> Result<(), String> {
        let volume = volume.map_err(|reason| {
            format!("it is not open ({reason}): what is stored there is found again once it works; purge again then")
        })?;
        if self.filter.key.is_some() && volume.is_healthy() {
            // Its objects are all in memory, where the key was looked up.
            return Ok(());
        }
        self.search(volume).map_err(|error| format!("{error}; purge again then"))
    }

    fn search(&mut self, volume: &Arc<Volume>) -> Result<(), StoreError> {
        // Asked before the index is read: whatever is not in the index by then is in this answer.
        for indexed in unindexed(volume) {
            self.consider(volume, &indexed);
        }
        let mut number = None;
        loop {
            let batch = read_batch(volume, number)?;
            for indexed in &batch {
                self.consider(volume, indexed);
            }
            match batch.last() {
                Some(last) => number = Some(last.number),
                None => return Ok(()),
            }
        }
    }

    fn consider(&mut self, volume: &Volume, indexed: &Indexed) {
        if self.filter.is_met(&indexed.key, indexed.class) {
            // Also for an object that was removed before: that may not be on disk yet.
            self.touch(volume.path());
            self.remove(&indexed.key);
        }
    }
}

/// What the keeper knows beyond the index.
fn unindexed(volume: &Volume) -> Vec<Indexed> {
    let (answer, answered) = mpsc::sync_channel(1);
    volume.tell(Message::Unindexed(answer));
    loop {
        match answered.recv_timeout(Duration::from_secs(1)) {
            Ok(found) => return found,
            Err(RecvTimeoutError::Timeout) => {}
            // The store is closing, and the keeper with it.
            Err(RecvTimeoutError::Disconnected) => return Vec::new(),
        }
    }
}

fn may_come_back(volume: &Volume, is_touched: bool) -> Option<String> {
    if volume.is_gone() {
        return Some("another one is in its place: purge again once that works".to_owned());
    }
    let Health::Failed(reason) = volume.health() else { return None };
    is_touched.then(|| {
        format!("it fails ({reason}): what was removed there comes back if this process ends before it works again; purge again then")
    })
}
