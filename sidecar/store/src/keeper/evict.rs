//! Eviction: which groups go, and taking them out of sight.

use super::{After, Keeper, Objects};
use crate::index::Change;

impl Keeper {
    /// Takes victims out of sight until the volume is below its high-water mark.
    pub(super) fn evict(&mut self) {
        let pending: u64 = self
            .after
            .iter()
            .map(|after| match after {
                After::Punch { bytes, .. } | After::Unlink { bytes, .. } => *bytes,
                After::Answer(_) => 0,
            })
            .sum();
        let mut excess = self.volume.excess().saturating_sub(pending + self.lingering_bytes());
        let mut skipped = Vec::new();
        while excess > 0 {
            let Some(name) = self.eviction.victim(&Objects(&self.objects)) else { break };
            let Some(object) = self.objects.get(&name.0).cloned() else { continue };
            let Some(closed) = object.close_group(name.1) else {
                skipped.push((object.class(), name));
                continue;
            };
            excess = excess.saturating_sub(closed.bytes);
            self.volume.count_eviction(closed.bytes, object.last_used());
            if closed.object_is_empty {
                // The bytes of this last group go with the file.
                self.remove_with(&object, closed.bytes);
            } else {
                self.change(Change::DropGroup { number: name.0, group: name.1 }, 0);
                self.after.push(After::Punch { object, pieces: closed.pieces, bytes: closed.bytes });
                self.urgent = true;
            }
        }
        for (class, name) in skipped {
            self.eviction.insert(class, name);
        }
    }
}
