//! From a key to bytes: knows which objects exist and how fresh they are, opens unknown ones with their first fetch, and gives
//! out pieces from the store or from the one fetch that is under way for them.
//!
//! A piece is in exactly one of these states: stored; in transit (one [`Fill`] in the table, joined by everyone who asks);
//! neither. Fetches are tasks of their own: they go on when the client that caused them leaves, and what they bring is stored.
//! The length of an object is learned from the first piece's answer, never by a probe.

mod answer;
mod fetch;
mod fill;
mod home;
mod keeping;
mod known;
mod memory;
mod object;
mod opening;
mod passing;
mod purge;
mod reading;
mod remembered;
pub(crate) mod siblings;
mod taking_over;
mod transit;
mod verification;
mod verify;
mod whole;
mod writers;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use connected_cache_core::{ByteRange, ContentClass, ObjectKey, PIECE_LENGTH_BYTES, PieceIndex};
use connected_cache_store::Store;
use futures::StreamExt;
use parking_lot::Mutex;

use crate::{
    control_plane::ControlPlane,
    metrics::{Counters, Source},
    settings::RulesByClass,
    sharing::Sharing,
    tasks::Tasks,
    upstream::{FetchTarget, Upstream, UpstreamError},
};

pub(crate) use fill::{Fill, Found};
pub(crate) use home::Inquiry;
pub(crate) use memory::Room;
pub(crate) use object::{Object, ObjectHead, is_metadata, now_seconds};
pub(crate) use passing::{PassedBody, Wanted};
pub(crate) use verification::{Comparisons, Verdict};
pub(crate) use whole::Whole;

use opening::Openings;
use remembered::Remembered;
use transit::{LookUp, Transit};
use verify::Checked;
use writers::Writers;

/// Pieces of one object that are fetched at once in the background.
const BACKGROUND_PIECES: usize = 4;
/// Pieces before a range that have to be here for it to look like one of a sequence.
const LEAST_RUN: u64 = 2;
/// Most pieces that are fetched before anybody asks for them.
pub(crate) const MOST_AHEAD: u64 = 8;
/// How long a key is remembered as one that is not shared.
const NOT_SHARED: Duration = Duration::from_mins(1);
/// How long the parent is not asked for content of which it gave a bad piece.
const DOUBTFUL: Duration = Duration::from_mins(15);
/// How long other pods are not asked for content that changed at its origin.
const JUST_CHANGED: Duration = Duration::from_secs(10);
/// What one known object takes in memory, roughly, beside its bytes.
const OBJECT_BYTES: u64 = 1024;

/// Why an object can't be opened.
#[derive(Clone, Debug)]
pub(crate) enum OpenError {
    /// The origin gave no usable bytes.
    Upstream(UpstreamError),
    /// What the origin gives is for this one client, or can't be told from another state of itself: each request is passed to
    /// the origin by itself.
    NotShared,
}

impl From<UpstreamError> for OpenError {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

/// Where the bytes of a piece come from.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// On a volume.
    Stored,
    /// In transit.
    Filling(Arc<Fill>, Source),
}

/// How the origin was asked about an object that was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshly {
    /// It was not.
    NotAsked,
    /// It said that it is still the same.
    Validated,
    /// It failed, or is being asked: what is known is used although it has been stale for so long.
    Stale {
        /// Seconds since it was fresh.
        seconds: u64,
    },
}

/// An object and, if opening it meant fetching, the piece that came with it.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) object: Arc<Object>,
    pub(crate) first: Option<(PieceIndex, Arc<Fill>)>,
    /// Whether this caller waited for somebody else's fetch.
    pub(crate) collapsed: bool,
    pub(crate) freshly: Freshly,
}

/// What is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct OpenRequest<'a> {
    pub(crate) key: &'a ObjectKey,
    pub(crate) class: ContentClass,
    pub(crate) target: &'a FetchTarget,
    /// Where the first asked byte probably is.
    pub(crate) offset: u64,
}

/// Objects and pieces of one sidecar.
#[derive(Clone)]
pub(crate) struct Catalog {
    shared: Arc<CatalogState>,
}

struct CatalogState {
    store: Arc<Store>,
    upstream: Upstream,
    counters: Arc<Counters>,
    tasks: Tasks,
    inquiries: Tasks,
    rules: RulesByClass,
    room: Room,
    writers: Writers,
    /// Objects that were used lately, with the bytes of small ones.
    objects: quick_cache::sync::Cache<ObjectKey, Arc<Object>, ByBytes>,
    openings: Openings,
    transit: Transit,
    /// Keys that were found not to be shared, so that requests for them don't wait for each other.
    passing: Remembered,
    /// Keys of which the parent gave a bad piece, so that it is not asked for them.
    doubtful: Remembered,
    /// Keys whose content changed at its origin just now: other pods may still have it as it was.
    changed: Remembered,
    /// Objects that are being fetched as a whole.
    completing: Mutex<HashSet<ObjectKey>>,
    /// `None` = no piece is checked against hashes.
    control_plane: Option<ControlPlane>,
    /// `None` = this pod is a cache of its own.
    sharing: Option<Arc<Sharing>>,
}

#[derive(Clone)]
struct ByBytes;

impl quick_cache::Weighter<ObjectKey, Arc<Object>> for ByBytes {
    fn weight(&self, _: &ObjectKey, object: &Arc<Object>) -> u64 {
        let small = if object.is_small() { object.generation().content_length_bytes } else { 0 };
        OBJECT_BYTES + small
    }
}

/// What a catalog works with.
pub(crate) struct CatalogParts {
    pub(crate) store: Arc<Store>,
    pub(crate) upstream: Upstream,
    pub(crate) counters: Arc<Counters>,
    /// Fetches, which have a moment to end.
    pub(crate) tasks: Tasks,
    /// Questions to the control plane, which need none.
    pub(crate) inquiries: Tasks,
    pub(crate) rules: RulesByClass,
    /// `None` = no piece is checked against hashes.
    pub(crate) control_plane: Option<ControlPlane>,
    /// `None` = this pod is a cache of its own.
    pub(crate) sharing: Option<Arc<Sharing>>,
    /// Memory for hot objects and for pieces in transit, half each.
    pub(crate) memory_bytes: u64,
}

impl Catalog {
    pub(crate) fn new(parts: CatalogParts) -> Self {
        let memory = parts.memory_bytes / 2;
        let items = usize::try_from(memory / (4 * OBJECT_BYTES)).unwrap_or(usize::MAX);
        let CatalogParts {
            store, upstream, counters, tasks, inquiries, rules, control_plane, sharing, ..
        } = parts;
        Self {
            shared: Arc::new(CatalogState {
                store,
                upstream,
                counters,
                tasks,
                inquiries,
                rules,
                room: Room::new(memory),
                writers: Writers::new(),
                objects: quick_cache::sync::Cache::with_weighter(items, memory, ByBytes),
                openings: Openings::default(),
                transit: Transit::new(sharing.is_some()),
                passing: Remembered::for_some(NOT_SHARED),
                doubtful: Remembered::for_some(DOUBTFUL),
                changed: Remembered::for_some(JUST_CHANGED),
                completing: Mutex::default(),
                control_plane,
                sharing,
            }),
        }
    }

    /// A piece of a known object. Whoever finds it in no state starts its fetch.
    pub(crate) fn piece(&self, object: &Arc<Object>, piece: PieceIndex, target: &FetchTarget) -> Piece {
        self.piece_or_anew(object, piece, target, false)
    }

    /// As [`Self::piece`], for a piece whose stored bytes can't be read.
    pub(crate) fn piece_anew(&self, object: &Arc<Object>, piece: PieceIndex, target: &FetchTarget) -> Piece {
        self.piece_or_anew(object, piece, target, true)
    }

    fn piece_or_anew(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        target: &FetchTarget,
        anew: bool,
    ) -> Piece {
        if anew || !object.has(piece) {
            self.ask_if_due(object, target, Instant::now());
        }
        let fill = match self.shared.transit.look_up(object, piece, anew) {
            LookUp::Stored => return Piece::Stored,
            LookUp::Joined(fill) => return Piece::Filling(fill, Source::Memory),
            LookUp::Awaited(fill) => return Piece::Filling(fill, Source::Origin),
            LookUp::Missing(fill) => fill,
        };
        let (catalog, run) = (self.clone(), vec![(piece, fill.clone())]);
        let (object, target) = (object.clone(), target.clone());
        self.shared.tasks.spawn(async move {
            match catalog.shared.room.wait(object.layout().range_of(piece).length()).await {
                Some(room) => {
                    run[0].1.keep_room(room);
                    catalog.fetch_run(&object, &target, run).await;
                }
                None => catalog.fail_run(&object, &run, &UpstreamError::NoRoom),
            }
        });
        Piece::Filling(fill, Source::Origin)
    }

    /// Fetches what is missing from `first` to `last` before anybody waits for it, neighbours by one request. Gives what
    /// is fetched for this; `None` = there is no memory to spare for more now.
    pub(crate) fn fetch_ahead(
        &self,
        object: &Arc<Object>,
        first: PieceIndex,
        last: PieceIndex,
        target: &FetchTarget,
    ) -> Option<Vec<(PieceIndex, Arc<Fill>)>> {
        let layout = object.layout();
        let most = self.shared.upstream.most_pieces_ahead();
        let last = layout.piece(first.number().saturating_add(most - 1)).map_or(last, |most| most.min(last));
        let (mut number, mut fetched) = (first.number(), Vec::new());
        while let Some(piece) = layout.piece(number).filter(|piece| *piece <= last) {
            if self.shared.transit.is_known(object, piece) {
                number += 1;
                continue;
            }
            let count = last.number() - number + 1;
            let length =
                count.saturating_mul(PIECE_LENGTH_BYTES).min(object.generation().content_length_bytes);
            let mut room = self.shared.room.spare(length)?;
            self.ask_if_due(object, target, Instant::now());
            let run = self.shared.transit.register_run(object, piece, count);
            if run.is_empty() {
                break;
            }
            number += run.len() as u64;
            fetched.extend(run.iter().cloned());
            for (piece, fill) in &run {
                if let Some(part) = room.split(Room::units(layout.range_of(*piece).length())) {
                    fill.keep_room(part);
                }
            }
            let (catalog, object, target) = (self.clone(), object.clone(), target.clone());
            self.shared.tasks.spawn(async move { catalog.fetch_run(&object, &target, run).await });
        }
        Some(fetched)
    }

    /// Fetches on behind a range whose predecessors are here: somebody reads the object piece by piece, as Windows clients do,
    /// each by a request of its own. The longer the run before it, the further, and always several pieces by one request.
    pub(crate) fn fetch_on(&self, object: &Arc<Object>, range: ByteRange, target: &FetchTarget) {
        let layout = object.layout();
        let (Some(first), Some(last)) = (layout.piece_at(range.first), layout.piece_at(range.last)) else {
            return;
        };
        // Most requests are for what is stored, and need no more than this.
        let Some(next) = layout.piece(last.number() + 1).filter(|next| !object.has(*next)) else { return };
        let known = |number: u64| {
            layout.piece(number).is_some_and(|piece| self.shared.transit.is_known(object, piece))
        };
        let run = (1..=MOST_AHEAD).take_while(|back| first.number() >= *back && known(first.number() - back));
        let ahead = run.count() as u64;
        let coming =
            (next.number()..).take_while(|number| *number - last.number() <= ahead && known(*number));
        let coming = coming.count() as u64;
        let end = layout.piece((last.number() + ahead).min(layout.piece_count() - 1));
        if let (Some(from), Some(end)) = (layout.piece(next.number() + coming), end)
            && ahead >= LEAST_RUN
            && coming <= ahead / 2
            && from <= end
        {
            self.fetch_ahead(object, from, end, target);
        }
    }

    /// Fetches everything that is missing of an object, a few pieces at a time, whoever asked for what.
    pub(crate) fn complete_in_background(&self, object: &Arc<Object>, target: &FetchTarget) {
        if !self.shared.completing.lock().insert(object.key().clone()) {
            return;
        }
        let (catalog, object, target) = (self.clone(), object.clone(), target.clone());
        self.shared.tasks.spawn(async move {
            let layout = object.layout();
            let missing = (0..layout.piece_count())
                // Nothing of an object that was purged or replaced meanwhile would be kept.
                .take_while(|_| !object.is_removed())
                .filter_map(|number| layout.piece(number))
                .filter(|piece| !object.has(*piece));
            futures::stream::iter(missing)
                .for_each_concurrent(BACKGROUND_PIECES, |piece| {
                    let state = catalog.piece(&object, piece, &target);
                    async move {
                        if let Piece::Filling(fill, _) = state {
                            fill.done().await;
                        }
                    }
                })
                .await;
            catalog.shared.completing.lock().remove(object.key());
        });
    }

    /// Whether the piece can be served without waiting for an origin.
    pub(crate) fn is_here(&self, object: &Arc<Object>, piece: PieceIndex) -> bool {
        self.shared.transit.is_here(object, piece)
    }
}
