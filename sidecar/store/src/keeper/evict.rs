//! Eviction: which groups go, and taking them out of sight.

use super::{After, Keeper, Objects};
use crate::eviction::Name;
use crate::index::Change;
use crate::policy::Evicted;

impl Keeper {
    /// Takes victims out of sight until every class is within its share and the volume is below its high-water mark.
    pub(super) fn evict(&mut self) {
        if !self.volume.accepts_commits() {
            // Nothing could be given back, and what is there may still be read.
            return;
        }
        let mut skipped = Vec::new();
        self.evict_by_share(&mut skipped);
        self.evict_by_need(&mut skipped);
        for name in skipped {
            if let Some(object) = self.objects.get(&name.0) {
                self.eviction.insert(object.class(), name, object.is_pinned());
            }
        }
    }

    fn evict_by_share(&mut self, skipped: &mut Vec<Name>) {
        for (class, percent) in self.shares.clone() {
            let share = self.volume.share_bytes(percent);
            while self.volume.tally().bytes_of(class) > share {
                let groups = Objects(&self.objects);
                let name = self.eviction.victim_of(class, &groups);
                let surplus = || self.eviction.pinned_victim(Some(class), &groups);
                let name = name.or_else(|| self.volume.has_pinned_surplus().then(surplus).flatten());
                let Some(name) = name else { break };
                self.evict_group(name, skipped);
            }
        }
    }

    fn evict_by_need(&mut self, skipped: &mut Vec<Name>) {
        let pending: u64 = self
            .after
            .iter()
            .map(|after| match after {
                After::Punch { bytes, .. } | After::Unlink { bytes, .. } => *bytes,
                After::Answer(_) => 0,
            })
            .sum();
        let mut excess = self.volume.excess().saturating_sub(pending + self.lingering_bytes());
        while excess > 0 {
            let groups = Objects(&self.objects);
            let name = self.eviction.victim(&groups);
            let surplus = || self.eviction.pinned_victim(None, &groups);
            let name = name.or_else(|| self.volume.has_pinned_surplus().then(surplus).flatten());
            let Some(name) = name else { break };
            excess = excess.saturating_sub(self.evict_group(name, skipped));
        }
    }

    /// Takes one group out of sight. Gives its bytes: 0 = it is being filled and was skipped, or is gone.
    pub(super) fn evict_group(&mut self, name: Name, skipped: &mut Vec<Name>) -> u64 {
        let Some(object) = self.objects.get(&name.0).cloned() else { return 0 };
        let Some(closed) = object.close_group(name.1) else {
            skipped.push(name);
            return 0;
        };
        self.volume.count_eviction(closed.bytes);
        if let Some(watcher) = &self.watcher {
            let (pieces, last_used) = (closed.pieces.len(), object.last_used());
            watcher(Evicted { pieces, bytes: closed.bytes, last_used });
        }
        let removed = if closed.object_is_empty { object.remove() } else { None };
        if let Some(bytes) = removed {
            // The bytes of this last group go with the file.
            self.removed(&object, bytes + closed.bytes);
        } else {
            self.change(Change::DropGroup { number: name.0, group: name.1 }, 0);
            self.after.push(After::Punch { object, pieces: closed.pieces, bytes: closed.bytes });
            self.urgent = true;
        }
        closed.bytes
    }
}
