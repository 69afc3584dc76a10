//! Reading the index back at the start: folders and file names are all there is to it.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use connected_cache_core::ObjectKey;

use super::{
    Store, file_name_of,
    object::{Object, PieceRecord, piece_cost_bytes},
    volume::{OBJECT_OVERHEAD_BYTES, Volume},
};

/// Describes an object in its folder.
pub(super) const DESCRIPTION_FILE: &str = "object.json";

struct Found {
    object: Object,
    changed_at: SystemTime,
    folder: PathBuf,
    cost_bytes: u64,
}

impl Store {
    /// Takes in what is on the volumes; what is damaged, half there or in doubt is removed.
    pub(super) fn scan(&self) {
        for (index, volume) in self.volumes.iter().enumerate() {
            let mut found = objects_on(volume);
            // Oldest first, so that the order of use is roughly what it was.
            found.sort_by_key(|found| found.changed_at);
            let mut newest: HashMap<ObjectKey, usize> = HashMap::new();
            for (position, found) in found.iter().enumerate() {
                newest.insert(found.object.key().clone(), position);
            }
            let (mut objects, mut pieces) = (0_u64, 0_u64);
            for (position, found) in found.into_iter().enumerate() {
                let is_current = newest.get(found.object.key()) == Some(&position)
                    && !self.objects.lock().contains_key(found.object.key());
                if !is_current {
                    remove(&found.folder);
                    continue;
                }
                volume.add_found(found.cost_bytes);
                objects += 1;
                pieces += found.object.piece_count();
                let object = Arc::new(found.object);
                object.set_volume(index);
                self.touch(&object);
                self.objects.lock().insert(object.key().clone(), object);
            }
            self.shrink_to_limit(index, volume);
            tracing::info!(path = %volume.path().display(), objects, pieces, used_bytes = volume.usage().used_bytes, "volume opened");
        }
    }

    /// The limit may be lower than it was when the pieces were stored.
    fn shrink_to_limit(&self, index: usize, volume: &Volume) {
        while volume.is_over_limit() {
            let oldest = {
                let objects = self.objects.lock();
                objects
                    .values()
                    .filter(|object| object.volume() == Some(index))
                    .min_by_key(|o| o.last_used())
                    .cloned()
            };
            let Some(oldest) = oldest else { return };
            self.forget(&oldest);
            self.remove_files_blocking(&oldest);
        }
    }
}

fn objects_on(volume: &Volume) -> Vec<Found> {
    let entries = match fs::read_dir(volume.objects_folder()) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(path = %volume.path().display(), %error, "unable to list the volume, it counts as empty");
            return Vec::new();
        }
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let folder = entry.path();
            let found = object_in(&folder);
            if found.is_none() {
                remove(&folder);
            }
            found
        })
        .collect()
}

fn object_in(folder: &Path) -> Option<Found> {
    let description = fs::read(folder.join(DESCRIPTION_FILE)).ok()?;
    let object = Object::from_description(&description, file_name_of(folder))?;
    let changed_at = fs::metadata(folder).and_then(|metadata| metadata.modified()).ok()?;
    let mut cost_bytes = OBJECT_OVERHEAD_BYTES;
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if file_name_of(&path) == DESCRIPTION_FILE {
            continue;
        }
        match take_in(&object, &path) {
            Some(cost) => cost_bytes += cost,
            None => remove(&path),
        }
    }
    (cost_bytes > OBJECT_OVERHEAD_BYTES).then(|| Found {
        object,
        changed_at,
        folder: folder.to_owned(),
        cost_bytes,
    })
}

/// Cost of a piece file that fits its object.
fn take_in(object: &Object, path: &Path) -> Option<u64> {
    let (number, sha256) = file_name_of(path).split_once('.')?;
    let piece = object.layout().piece(number.parse().ok()?)?;
    let mut digest = [0; 32];
    hex::decode_to_slice(sha256, &mut digest).ok()?;
    let length = object.layout().range_of(piece).length();
    let metadata = fs::symlink_metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() != length || object.has(piece) {
        return None;
    }
    object.insert_record(piece, PieceRecord::found(digest));
    Some(piece_cost_bytes(length))
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Ok(()) => tracing::warn!(path = %path.display(), "removed what was damaged or outdated"),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "unable to remove what is damaged or outdated");
        }
    }
}
