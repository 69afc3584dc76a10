//! From a key to bytes: knows which objects exist, opens unknown ones with their first fetch, and gives out pieces from the
//! store or from the one fetch that is under way for them.
//!
//! A piece is in exactly one of these states: stored; in transit (one [`Fill`] in the table, joined by everyone who asks);
//! neither. Fetches are tasks of their own: they go on when the client that caused them leaves, and what they bring is stored.
//! The length of an object is learned from the first piece's answer, never by a probe.

mod fetch;
mod fill;
mod transit;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use connected_cache_core::{ByteRange, ObjectKey, PIECE_LENGTH_BYTES, PieceIndex};
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;

use crate::{
    metrics::{Counters, Source},
    store::{Object, Store},
    tasks::Tasks,
    upstream::{FetchTarget, Upstream, UpstreamError},
};

pub(crate) use fill::Fill;
use transit::{LookUp, Transit};

/// Pieces of one object that are fetched at once in the background.
const BACKGROUND_PIECES: usize = 4;

type Opening = Shared<BoxFuture<'static, Result<Opened, UpstreamError>>>;

/// Where the bytes of a piece come from.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// On a volume.
    Stored,
    /// In transit.
    Filling(Arc<Fill>, Source),
}

/// An object and, if opening it meant fetching, the piece that came with it.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) object: Arc<Object>,
    pub(crate) first: Option<(PieceIndex, Arc<Fill>)>,
    /// Whether this caller waited for somebody else's fetch.
    pub(crate) collapsed: bool,
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
    openings: Mutex<HashMap<ObjectKey, Opening>>,
    transit: Transit,
}

impl Catalog {
    pub(crate) fn new(store: Arc<Store>, upstream: Upstream, counters: Arc<Counters>, tasks: Tasks) -> Self {
        let (openings, transit) = (Mutex::default(), Transit::default());
        Self { shared: Arc::new(CatalogState { store, upstream, counters, tasks, openings, transit }) }
    }

    /// The object of a key. An unknown one is opened by fetching the piece at `offset`, once for all who ask meanwhile.
    pub(crate) async fn open(
        &self,
        key: &ObjectKey,
        target: &FetchTarget,
        offset: u64,
    ) -> Result<Opened, UpstreamError> {
        if let Some(object) = self.shared.store.object(key) {
            return Ok(Opened { object, first: None, collapsed: false });
        }
        let (opening, collapsed) = {
            let mut openings = self.shared.openings.lock();
            if let Some(opening) = openings.get(key) {
                (opening.clone(), true)
            } else {
                let opening = self.start_opening(key.clone(), target.clone(), offset / PIECE_LENGTH_BYTES);
                openings.insert(key.clone(), opening.clone());
                (opening, false)
            }
        };
        let opened = opening.await?;
        Ok(Opened { collapsed, ..opened })
    }

    fn start_opening(&self, key: ObjectKey, target: FetchTarget, piece_number: u64) -> Opening {
        let catalog = self.clone();
        // A task of its own, so that it ends well even if every asker leaves.
        let task = self.shared.tasks.spawn(async move {
            let result = catalog.fetch_unknown(&key, &target, piece_number).await;
            catalog.shared.openings.lock().remove(&key);
            result
        });
        let flattened = async move {
            let interrupted = || Err(UpstreamError::Unreachable { reason: "the sidecar is ending".into() });
            task.await.ok().flatten().unwrap_or_else(interrupted)
        };
        flattened.boxed().shared()
    }

    /// A piece of a known object. Whoever finds it in no state starts its fetch.
    pub(crate) fn piece(&self, object: &Arc<Object>, piece: PieceIndex, target: &FetchTarget) -> Piece {
        let fill = match self.shared.transit.look_up(object, piece) {
            LookUp::Stored => return Piece::Stored,
            LookUp::Joined(fill) => return Piece::Filling(fill, Source::Memory),
            LookUp::Awaited(fill) => return Piece::Filling(fill, Source::Origin),
            LookUp::Missing(fill) => fill,
        };
        let (catalog, task_fill) = (self.clone(), fill.clone());
        let (object, target) = (object.clone(), target.clone());
        self.shared.tasks.spawn(async move { catalog.fetch_piece(&object, piece, &target, task_fill).await });
        Piece::Filling(fill, Source::Origin)
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
        let complete = result.is_ok() && fill.received() == object.layout().range_of(piece).length();
        fill.finish(result);
        if complete {
            let chunks = fill.chunks();
            let sha256 = crate::store::sha256_of(&chunks);
            let outcome = self.shared.store.write(object, piece, chunks, sha256).await;
            if let crate::store::WriteOutcome::PassedThrough { reason } = outcome {
                self.shared.counters.pieces_passed_through.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(object = %object.key(), piece = piece.number(), reason, "a piece was passed through");
            }
        }
        self.shared.transit.remove(object, piece);
    }

    /// Fetches everything that is missing of an object, a few pieces at a time, whoever asked for what.
    pub(crate) fn complete_in_background(&self, object: &Arc<Object>, target: &FetchTarget) {
        let layout = object.layout();
        let missing: Vec<PieceIndex> = (0..layout.piece_count())
            .filter_map(|number| layout.piece(number))
            .filter(|piece| !object.has(*piece))
            .collect();
        if missing.is_empty() {
            return;
        }
        let (catalog, object, target) = (self.clone(), object.clone(), target.clone());
        self.shared.tasks.spawn(async move {
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
        });
    }

    /// Stored bytes; `None` if they are gone meanwhile.
    pub(crate) async fn read(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        within: ByteRange,
    ) -> Option<Bytes> {
        self.shared.store.read(object, piece, within).await
    }
}
