//! Removing what matches, for good.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::index::Indexed;
use crate::keeper::Message;
use crate::listing::{Filter, read_batch};
use crate::object::Object;
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

impl Store {
    /// Removes every object that is meant: it can't be read or added to from then on, also not by a fill that has begun.
    /// Bytes that somebody holds stay as they are until they are let go. Returns once the removal is on disk, so that no
    /// crash brings an object back, or says on which volume it is not. Blocks.
    pub fn purge(&self, filter: &Filter) -> Purged {
        let (mut purged, mut touched) = (Purged::default(), BTreeSet::new());
        let mut purge = |object: &Arc<Object>| {
            if let Some(bytes) = self.remove(object) {
                purged.objects += 1;
                purged.bytes += bytes;
                if !touched.contains(object.volume_path()) {
                    touched.insert(object.volume_path().to_owned());
                }
            }
        };
        let mut survivors = Vec::new();
        if let Some(key) = &filter.key {
            if let Some(object) = self.get(key)
                && (filter.matches)(key, object.class())
            {
                purge(&object);
            }
        } else {
            for volume in &self.volumes {
                if let Err(error) = self.purge_volume(volume, filter, &mut purge) {
                    let reason = format!("{error}; purge again then");
                    survivors.push(Survivor { volume: volume.path().to_owned(), reason });
                }
            }
        }
        purged.survivors = survivors;
        if purged.objects > 0 {
            self.flush();
            let touched = self.volumes.iter().filter(|volume| touched.contains(volume.path()));
            purged.survivors.extend(touched.filter_map(|volume| may_come_back(volume)));
        }
        purged
    }

    fn purge_volume(
        &self,
        volume: &Arc<Volume>,
        filter: &Filter,
        purge: &mut impl FnMut(&Arc<Object>),
    ) -> Result<(), StoreError> {
        let mut consider = |indexed: &Indexed| {
            if (filter.matches)(&indexed.key, indexed.class)
                && let Some(object) = self.current(volume, indexed)
            {
                purge(&object);
            }
        };
        // Asked before the index is read: whatever is not in the index by then is in this answer.
        unindexed(volume).iter().for_each(&mut consider);
        let mut number = None;
        loop {
            let batch = read_batch(volume, number)?;
            batch.iter().for_each(&mut consider);
            match batch.last() {
                Some(last) => number = Some(last.number),
                None => return Ok(()),
            }
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

fn may_come_back(volume: &Volume) -> Option<Survivor> {
    let Health::Failed(reason) = volume.health() else { return None };
    let reason = format!(
        "it fails ({reason}): what was removed there comes back if this process ends before it works again; purge again then"
    );
    Some(Survivor { volume: volume.path().to_owned(), reason })
}
