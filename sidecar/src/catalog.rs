//! From a key to bytes: knows which objects exist and how fresh they are, opens unknown ones with their first fetch, and gives
//! out pieces from the store or from the one fetch that is under way for them.
//!
//! A piece is in exactly one of these states: stored; in transit (one [`Fill`] in the table, joined by everyone who asks);
//! neither. Fetches are tasks of their own: they go on when the client that caused them leaves, and what they bring is stored.
//! The length of an object is learned from the first piece's answer, never by a probe.

mod answer;
mod fetch;
mod fill;
mod memory;
mod object;
mod passing;
mod transit;
mod writers;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use connected_cache_core::{
    ByteRange, ContentClass, ObjectKey, PIECE_LENGTH_BYTES, PieceIndex, StaleLimits, Use,
};
use connected_cache_sendfile::stream::SMALLEST;
use connected_cache_store::{FillError, ReadError, Store, Trust};
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::{
    metrics::{Counters, Source},
    tasks::Tasks,
    upstream::{FetchTarget, Upstream, UpstreamError},
};

pub(crate) use fill::{Fill, Found};
pub(crate) use memory::Room;
pub(crate) use object::{Object, ObjectHead, now_seconds};
pub(crate) use passing::{PassedBody, Wanted};

use passing::Passing;
use transit::{LookUp, Transit};
use writers::Writers;

/// How long a piece waits for the evictor to make room for it.
const ROOM_PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of one read for readers that touch the bytes: what every slow client may hold in memory.
const MAX_COPIED_BYTES: usize = 128 << 10;
/// Pieces of one object that are fetched at once in the background.
const BACKGROUND_PIECES: usize = 4;
/// Pieces before a range that have to be here for it to look like one of a sequence.
const LEAST_RUN: u64 = 2;
/// Most pieces that are fetched before anybody asks for them.
pub(crate) const MOST_AHEAD: u64 = 8;
/// What one known object takes in memory, roughly, beside its bytes.
const OBJECT_BYTES: u64 = 1024;

type Opening = Shared<BoxFuture<'static, Result<Opened, OpenError>>>;

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
    stale: StaleLimits,
    room: Room,
    writers: Writers,
    /// Objects that were used lately, with the bytes of small ones.
    objects: quick_cache::sync::Cache<ObjectKey, Arc<Object>, ByBytes>,
    openings: Mutex<HashMap<ObjectKey, Opening>>,
    transit: Transit,
    passing: Passing,
    /// Objects that are being fetched as a whole.
    completing: Mutex<HashSet<ObjectKey>>,
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
    pub(crate) tasks: Tasks,
    pub(crate) stale: StaleLimits,
    /// Memory for hot objects and for pieces in transit, half each.
    pub(crate) memory_bytes: u64,
}

impl Catalog {
    pub(crate) fn new(parts: CatalogParts) -> Self {
        let memory = parts.memory_bytes / 2;
        let items = usize::try_from(memory / (4 * OBJECT_BYTES)).unwrap_or(usize::MAX);
        let CatalogParts { store, upstream, counters, tasks, stale, .. } = parts;
        Self {
            shared: Arc::new(CatalogState {
                store,
                upstream,
                counters,
                tasks,
                stale,
                room: Room::new(memory),
                writers: Writers::new(),
                objects: quick_cache::sync::Cache::with_weighter(items, memory, ByBytes),
                openings: Mutex::default(),
                transit: Transit::default(),
                passing: Passing::default(),
                completing: Mutex::default(),
            }),
        }
    }

    /// The object of a key, as fresh as it has to be. An unknown one is opened by fetching the piece at the offset, once for all
    /// who ask meanwhile.
    pub(crate) async fn open(&self, request: &OpenRequest<'_>) -> Result<Opened, OpenError> {
        if self.shared.passing.holds(request.key) {
            return Err(OpenError::NotShared);
        }
        let Some(object) = self.known(request.key).await else {
            return self.open_by_fetch(request, None).await;
        };
        let as_it_is = |freshly| Opened { object: object.clone(), first: None, collapsed: false, freshly };
        let (now, freshness) = (now_seconds(), object.head().freshness);
        let seconds = freshness.age_seconds(now).saturating_sub(freshness.lifetime_seconds);
        let stale = Freshly::Stale { seconds };
        match freshness.use_at(now, self.shared.stale) {
            Use::Fresh => Ok(as_it_is(Freshly::NotAsked)),
            Use::StaleWhileRevalidate => {
                // Runs by itself; whoever comes meanwhile joins it or takes the stale one too.
                drop(self.opening(request, Some(&object)));
                Ok(as_it_is(stale))
            }
            Use::Revalidate { if_error: true } if object.was_silent(now) => {
                drop(self.opening(request, Some(&object)));
                Ok(as_it_is(stale))
            }
            Use::Revalidate { if_error: true } => match self.validate_in_time(request, &object).await {
                Err(OpenError::Upstream(error)) if error.says_nothing_of(request.target) => {
                    tracing::info!(object = %object.key(), %error, "the origin fails, a stale object is used");
                    Ok(as_it_is(stale))
                }
                other => other,
            },
            Use::Revalidate { if_error: false } => self.open_by_fetch(request, Some(&object)).await,
        }
    }

    /// Asks about an object that may be used stale if need be, and leaves the client time to get it so. The question itself
    /// goes on, for those who come later.
    async fn validate_in_time(
        &self,
        request: &OpenRequest<'_>,
        object: &Arc<Object>,
    ) -> Result<Opened, OpenError> {
        let patience = self.shared.upstream.first_byte_budget() / 2;
        let validated = tokio::time::timeout(patience, self.open_by_fetch(request, Some(object))).await;
        let outcome = validated.unwrap_or(Err(OpenError::Upstream(UpstreamError::TimedOut)));
        if matches!(outcome, Err(OpenError::Upstream(UpstreamError::TimedOut))) {
            object.note_silence(now_seconds());
        }
        outcome
    }

    /// Opens by a fetch of its own or by one that is under way. Whoever joined one that failed for what was its starter's alone,
    /// bytes beyond the end or a bad signature, tries again.
    async fn open_by_fetch(
        &self,
        request: &OpenRequest<'_>,
        known: Option<&Arc<Object>>,
    ) -> Result<Opened, OpenError> {
        loop {
            let (opening, collapsed) = self.opening(request, known.filter(|known| !known.is_removed()));
            match opening.await {
                Err(OpenError::Upstream(UpstreamError::OutsideContent { total }))
                    if collapsed && request.offset < total => {}
                Err(OpenError::Upstream(error))
                    if collapsed && error.is_about_signature_of(request.target) => {}
                outcome => return outcome.map(|opened| Opened { collapsed, ..opened }),
            }
        }
    }

    /// The opening of this key, and whether it was under way before.
    fn opening(&self, request: &OpenRequest<'_>, known: Option<&Arc<Object>>) -> (Opening, bool) {
        let mut openings = self.shared.openings.lock();
        if let Some(opening) = openings.get(request.key) {
            return (opening.clone(), true);
        }
        let opening = self.start_opening(request, known.cloned());
        openings.insert(request.key.clone(), opening.clone());
        (opening, false)
    }

    fn start_opening(&self, request: &OpenRequest<'_>, known: Option<Arc<Object>>) -> Opening {
        let catalog = self.clone();
        let (key, class, target) = (request.key.clone(), request.class, request.target.clone());
        let asked = request.offset / PIECE_LENGTH_BYTES;
        // What is known is asked for by bytes that it has, so that a request beyond its end doesn't make it seem changed.
        let is_beyond = known.as_ref().is_some_and(|known| asked >= known.layout().piece_count());
        let piece_number = if is_beyond { 0 } else { asked };
        // A task of its own, so that it ends well even if every asker leaves.
        let task = self.shared.tasks.spawn(async move {
            let result = catalog.fetch_head(&key, class, &target, piece_number, known).await;
            catalog.shared.openings.lock().remove(&key);
            result
        });
        let flattened = async move {
            let interrupted =
                || Err(UpstreamError::Unreachable { reason: "the sidecar is ending".into() }.into());
            task.await.ok().flatten().unwrap_or_else(interrupted)
        };
        flattened.boxed().shared()
    }

    /// The current generation of a key, from memory or from the store.
    async fn known(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        if let Some(object) = self.shared.objects.get(key) {
            // One that no volume took is asked for again once a volume may.
            let can_be_stored = object.stored().is_some()
                || object.generation().content_length_bytes == 0
                || !self.shared.store.takes_pieces();
            if !object.is_removed() && can_be_stored {
                return Some(object);
            }
            self.shared.objects.remove(key);
        }
        let stored = self.shared.store.get(key.as_str())?;
        let reading = stored.clone();
        let record = tokio::task::spawn_blocking(move || reading.record()).await;
        let head = record.ok()?.ok()??;
        let Some(head) = ObjectHead::decode(&head.attributes, stored.length()) else {
            self.shared.store.remove(&stored);
            return None;
        };
        let object = Arc::new(Object::new(key.clone(), head, Some(stored)));
        self.shared.objects.insert(key.clone(), object.clone());
        Some(object)
    }

    /// Makes this head the current generation of its key. An object that agrees with it stays as it is; one that does not goes
    /// with its pieces, because bytes of two generations are never mixed.
    fn admit(
        &self,
        key: &ObjectKey,
        class: ContentClass,
        head: ObjectHead,
        known: Option<&Arc<Object>>,
    ) -> Arc<Object> {
        if let Some(known) = known.filter(|known| !known.is_removed())
            && known.generation().agrees_with(&head.generation)
        {
            known.refresh(head.freshness, head.headers);
            return known.clone();
        }
        let length = head.generation.content_length_bytes;
        let stored = match self.shared.store.create(key.as_str(), class.number(), length, &head.encode()) {
            Ok(stored) => Some(stored),
            Err(error) => {
                tracing::debug!(object = %key, %error, "an object can't be kept");
                if let Some(old) = self.shared.store.get(key.as_str()) {
                    self.shared.store.remove(&old);
                }
                None
            }
        };
        let object = Arc::new(Object::new(key.clone(), head, stored));
        self.shared.objects.insert(key.clone(), object.clone());
        object
    }

    /// Forgets an object, if it still is the current one of its key.
    fn forget(&self, object: &Arc<Object>) {
        if self.shared.objects.get(object.key()).is_some_and(|current| Arc::ptr_eq(&current, object)) {
            self.shared.objects.remove(object.key());
        }
        if let Some(stored) = object.stored() {
            self.shared.store.remove(stored);
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

    /// Ends a fill: stores what is complete, then lets go of it.
    async fn settle(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        fill: &Arc<Fill>,
        result: Result<(), UpstreamError>,
    ) {
        let complete = result.is_ok() && fill.is_complete();
        if !complete {
            // Gone first, so that whoever tries again begins anew.
            self.shared.transit.remove(object, piece);
            fill.finish(result);
            return;
        }
        fill.finish(Ok(()));
        match self.keep(object, piece, fill).await {
            // Who still reads along goes on from the store, and could fetch the piece again if it were evicted by then.
            Ok(()) if object.generation().is_named() => fill.release(),
            // Content without a validator can't be continued by another fetch, and what was in the store all the time may be
            // just what could not be read: these bytes stay with their readers.
            Ok(()) | Err(FillError::Present) => {}
            Err(error) => {
                self.shared.counters.pieces_passed_through.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(object = %object.key(), piece = piece.number(), %error, "a piece was passed through");
            }
        }
        self.shared.transit.remove(object, piece);
    }

    /// Stores a complete piece; waits a moment for room.
    async fn keep(&self, object: &Arc<Object>, piece: PieceIndex, fill: &Arc<Fill>) -> Result<(), FillError> {
        let Some(stored) = object.stored().cloned() else { return Err(FillError::Unhealthy) };
        let chunks = fill.chunks();
        if object.is_small() {
            object.keep_small(Bytes::from(chunks.concat()));
        }
        let number = object::index(piece);
        let mut outcome = self.write(&stored, number, &chunks).await;
        if matches!(outcome, Err(FillError::Full)) {
            let waiting = stored.clone();
            let room = tokio::task::spawn_blocking(move || waiting.wait_for_room(number, ROOM_PATIENCE));
            if room.await.unwrap_or(false) {
                outcome = self.write(&stored, number, &chunks).await;
            }
        }
        outcome
    }

    async fn write(
        &self,
        stored: &Arc<connected_cache_store::Object>,
        piece: usize,
        chunks: &[Bytes],
    ) -> Result<(), FillError> {
        let (number, stored, chunks) = (stored.number(), stored.clone(), chunks.to_vec());
        let work = move || {
            let mut writing = stored.begin(piece)?;
            writing.append_all(&chunks)?;
            let mut hasher = Sha256::new();
            for chunk in &chunks {
                hasher.update(chunk);
            }
            writing.commit(hasher.finalize().into(), Trust::Origin)
        };
        self.shared.writers.run(number, work).await.unwrap_or(Err(FillError::Unhealthy))
    }

    /// The whole of a stored piece in hand, so that it can't be evicted under the one who reads it; `None` = it can't be read, and
    /// the object is forgotten. For content without a validator, which no other fetch can continue; it has one piece.
    pub(crate) async fn hold(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        mapped: bool,
    ) -> Option<Arc<Fill>> {
        let length = object.layout().range_of(piece).length();
        let fill = Fill::new(length);
        let mut first = 0;
        while first < length {
            let within = ByteRange { first, last: length - 1 };
            let Some(bytes) =
                self.read(object, piece, within, mapped).await.filter(|bytes| !bytes.is_empty())
            else {
                self.forget(object);
                return None;
            };
            first += bytes.len() as u64;
            fill.push(bytes).ok()?;
        }
        fill.finish(Ok(()));
        Some(Arc::new(fill))
    }

    /// Stored bytes from the beginning of a range of a piece, all or as many as one read gives; `None` if they can't be read
    /// (gone, damaged, or the disk fails). `mapped` = the reader only hands them to the kernel, so they need not be copied.
    pub(crate) async fn read(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        within: ByteRange,
        mapped: bool,
    ) -> Option<Bytes> {
        let stored = object.stored()?;
        let number = object::index(piece);
        let offset = usize::try_from(within.first).ok()?;
        let length = usize::try_from(within.length()).ok()?;
        if let Some(bytes) = object.small() {
            return Some(bytes.slice(offset..offset + length));
        }
        if !stored.is_ready(number, offset, length) {
            let loading = stored.clone();
            let loaded =
                tokio::task::spawn_blocking(move || loading.make_ready(number, offset, length)).await;
            if let Err(error) = loaded.ok()? {
                if matches!(error, ReadError::Damaged(_)) {
                    self.shared.counters.pieces_rejected.fetch_add(1, Ordering::Relaxed);
                }
                tracing::warn!(object = %object.key(), piece = piece.number(), %error, "a stored piece can't be read");
                stored.drop_piece(number);
                return None;
            }
        }
        if object.is_small() {
            let whole = stored.read_copied(number, 0, stored.length_of(number)).ok()?;
            object.keep_small(whole.clone());
            return Some(whole.slice(offset..offset + length));
        }
        // Short slices are copied by the socket anyway.
        if mapped && length >= SMALLEST {
            return stored.read(number, offset, length).ok();
        }
        let length = length.min(MAX_COPIED_BYTES);
        if length < SMALLEST {
            return stored.read_copied(number, offset, length).ok();
        }
        let reading = stored.clone();
        tokio::task::spawn_blocking(move || reading.read_copied(number, offset, length)).await.ok()?.ok()
    }
}
