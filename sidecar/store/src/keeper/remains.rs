//! Letting go of a volume that is gone.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use connected_cache_sendfile::DataFile;

use super::{After, Keeper, Lingering};
use crate::index::Change;

/// What is left of a volume that is gone.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// Data files that somebody still reads: their bytes must not change until then, whoever opens the volume anew.
    pub(crate) files: Vec<Weak<DataFile>>,
    /// Objects that were removed, which its index may still name.
    pub(crate) removed: BTreeSet<u64>,
    /// Epoch of the numbers of its objects.
    pub(crate) epoch: u64,
    pub(crate) evicted: u64,
}

impl Keeper {
    /// Forgets everything without touching the volume.
    pub(super) fn abandon(mut self) -> Remains {
        self.volume.close_index();
        while let Ok(message) = self.messages.try_recv() {
            self.take(message);
        }
        let pending = self.changes.iter().filter_map(|change| match change {
            Change::DropObject { number } => Some(*number),
            _ => None,
        });
        let mut removed: BTreeSet<u64> = pending.collect();
        let mut files = Vec::new();
        for object in self.objects.values() {
            self.catalogue.forget(object);
            if object.remove().is_none() {
                // By somebody else, in this moment.
                removed.insert(object.number());
            }
            files.extend(object.take_file().as_ref().map(Arc::downgrade));
        }
        files.extend(self.after.into_iter().filter_map(|after| match after {
            After::Unlink { file, .. } => file,
            After::Punch { .. } | After::Answer(_) => None,
        }));
        files.extend(self.lingering.into_iter().filter_map(|lingering| match lingering {
            Lingering::File { file, .. } => Some(file),
            Lingering::Discarded { file, .. } => Some(Arc::downgrade(&file)),
            Lingering::Pieces { .. } => None,
        }));
        Remains { files, removed, epoch: self.volume.epoch(), evicted: self.volume.usage().evicted }
    }
}
