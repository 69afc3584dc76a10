//! Before a pod that was scaled away ends, it hands over what it holds: it tells the pods that become the homes of its pieces, and
//! they take what they have not got. Bounded in time; what was used last goes first.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use connected_cache_core::{GroupHash, ObjectKey, PIECES_OF_A_GROUP};
use connected_cache_store::{Cursor, Filter, Object as Stored, Store};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::{Sharing, members::Member};

/// Where pods are told of what is handed over.
pub(crate) const HANDOVER_PATH: &str = "/v1/handover";

/// Objects that are handed over at most; each takes its key in memory meanwhile.
const MOST_OBJECTS: usize = 100_000;
/// Entries of one page of the list.
const PAGE: usize = 1000;
/// Pods and objects that are told at a time.
const AT_ONCE: usize = 4;

/// Pieces of an object that a leaving pod has, for the pod that is their home from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Handover {
    /// Name of the leaving pod.
    pub(crate) from: String,
    pub(crate) key: String,
    pub(crate) class: u8,
    pub(crate) content_length_bytes: u64,
    /// As the store keeps them.
    pub(crate) attributes: String,
    /// First and last piece of each run.
    pub(crate) runs: Vec<(u64, u64)>,
}

/// What the other pod took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Taken {
    /// Pieces that it had not got.
    pub(crate) pieces: u64,
    pub(crate) bytes: u64,
}

/// What came of handing over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HandedOver {
    /// Objects whose new homes answered.
    pub(crate) objects: u64,
    /// Pieces that were taken.
    pub(crate) pieces: u64,
    pub(crate) bytes: u64,
    /// Objects whose new homes did not answer.
    pub(crate) failed: u64,
    /// The time was over before everything was told.
    pub(crate) is_cut: bool,
}

impl Sharing {
    /// Hands over what is stored, for at most so long.
    pub(crate) async fn hand_over(self: &Arc<Self>, store: Arc<Store>, limit: Duration) -> HandedOver {
        let mut outcome = HandedOver::default();
        if limit.is_zero() {
            return outcome;
        }
        let deadline = tokio::time::Instant::now() + limit;
        let listing = store.clone();
        let keys = tokio::task::spawn_blocking(move || keys_by_use(&listing)).await.unwrap_or_default();
        let telling = stream::iter(keys)
            .then(|key| {
                let (sharing, store) = (self.clone(), store.clone());
                async move {
                    let reading = tokio::task::spawn_blocking(move || sharing.handovers_of(&store, &key));
                    stream::iter(reading.await.unwrap_or_default())
                }
            })
            .flatten()
            .map(|(member, handover)| async move { self.link.hand_over(&member, &handover).await })
            .buffer_unordered(AT_ONCE);
        tokio::pin!(telling);
        loop {
            match tokio::time::timeout_at(deadline, telling.next()).await {
                Err(_) => {
                    outcome.is_cut = true;
                    return outcome;
                }
                Ok(None) => return outcome,
                Ok(Some(Ok(taken))) => {
                    outcome.objects += 1;
                    outcome.pieces += taken.pieces;
                    outcome.bytes += taken.bytes;
                }
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "another pod took nothing over");
                    outcome.failed += 1;
                }
            }
        }
    }

    /// What is told of one object, by the pods that it is told to. Blocks.
    fn handovers_of(&self, store: &Store, key: &str) -> Vec<(Member, Handover)> {
        let Some(stored) = store.get(key).filter(|stored| !stored.is_removed()) else { return Vec::new() };
        let Some(attributes) = stored.record().ok().flatten().map(|record| record.attributes) else {
            return Vec::new();
        };
        let Ok(attributes) = String::from_utf8(attributes) else { return Vec::new() };
        let (view, placement) = self.placement();
        let object = ObjectKey::from_stored(key.to_owned());
        let mut runs: BTreeMap<usize, Vec<(u64, u64)>> = BTreeMap::new();
        for (first, last) in runs_of(&stored) {
            let group = GroupHash::numbered(&object, first / PIECES_OF_A_GROUP);
            if let Some(home) = placement.ranked(group).first() {
                runs.entry(*home).or_default().push((first, last));
            }
        }
        let told = |(home, runs): (usize, Vec<(u64, u64)>)| {
            let handover = Handover {
                from: view.me.clone(),
                key: key.to_owned(),
                class: stored.class(),
                content_length_bytes: stored.length(),
                attributes: attributes.clone(),
                runs,
            };
            (view.members[home].clone(), handover)
        };
        runs.into_iter().map(told).filter(|(member, _)| member.peers.is_some()).collect()
    }
}

/// Keys of what is stored, those that were used last first. Blocks.
fn keys_by_use(store: &Store) -> Vec<String> {
    let (mut keys, mut after): (Vec<(Reverse<u64>, String)>, Option<Cursor>) = (Vec::new(), None);
    while let Ok(page) = store.list(&Filter::all(), after, PAGE) {
        keys.extend(page.entries.into_iter().map(|entry| (Reverse(entry.last_used), entry.key)));
        after = page.next;
        if after.is_none() || keys.len() >= MOST_OBJECTS {
            break;
        }
    }
    keys.sort_unstable();
    keys.into_iter().map(|(_, key)| key).collect()
}

/// Runs of stored pieces, none of which crosses a border between groups.
fn runs_of(stored: &Stored) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in (0..stored.pieces()).filter(|number| stored.has(*number)).map(|number| number as u64) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number && number % PIECES_OF_A_GROUP != 0 => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}
