//! The table of pieces in transit, and of origins' streams that carry several of them.
//!
//! A finished fill leaves the table only after its piece is stored, and all questions are answered under one lock, so that a
//! piece is never fetched twice because somebody asked in between.

use std::{collections::HashMap, sync::Arc};

use connected_cache_core::PieceIndex;
use parking_lot::Mutex;

use super::{Fill, Object};

/// The table.
#[derive(Debug, Default)]
pub(super) struct Transit {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Whether every piece is hashed as it comes, because others are told of its hash.
    hashes: bool,
    fills: HashMap<(usize, PieceIndex), Entry>,
    /// By object: number of the piece that its stream delivers next.
    streams: HashMap<usize, u64>,
}

#[derive(Debug)]
struct Entry {
    /// Keeps the object's address, which is part of the table's key, from being used again.
    _object: Arc<Object>,
    fill: Arc<Fill>,
    /// Delivered by the object's stream, not by a fetch of its own.
    from_stream: bool,
}

/// What is known about a piece.
pub(super) enum LookUp {
    /// It is on a volume.
    Stored,
    /// Somebody fetches it.
    Joined(Arc<Fill>),
    /// A stream that is under way will come to it.
    Awaited(Arc<Fill>),
    /// Nothing was known; the asker fetches it into this fill.
    Missing(Arc<Fill>),
}

/// What to do with a body that is the whole object, for one of its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamRole {
    /// Deliver every piece from it.
    Carry,
    /// Drop it: another one is on its way to the piece.
    Wait,
    /// Use it for this piece only: another one has passed the piece.
    Alone,
}

impl Transit {
    /// `hashes` = every piece is hashed as it comes.
    pub(super) fn new(hashes: bool) -> Self {
        Self { table: Mutex::new(Table { hashes, ..Table::default() }) }
    }

    /// `anew` = what is stored can't be read.
    pub(super) fn look_up(&self, object: &Arc<Object>, piece: PieceIndex, anew: bool) -> LookUp {
        let mut table = self.table.lock();
        if let Some(entry) = table.fills.get(&(address(object), piece)) {
            return LookUp::Joined(entry.fill.clone());
        }
        if object.has(piece) && !anew {
            return LookUp::Stored;
        }
        let is_coming = table.streams.get(&address(object)).is_some_and(|next| *next <= piece.number());
        let fill = table.register(object, piece, is_coming);
        if is_coming { LookUp::Awaited(fill) } else { LookUp::Missing(fill) }
    }

    /// Whether the piece is stored or in transit.
    pub(super) fn is_known(&self, object: &Arc<Object>, piece: PieceIndex) -> bool {
        let table = self.table.lock();
        object.has(piece)
            || table.fills.contains_key(&(address(object), piece))
            || table.streams.contains_key(&address(object))
    }

    /// Whether the piece can be served without waiting for an origin: stored, or complete and about to be.
    pub(super) fn is_here(&self, object: &Arc<Object>, piece: PieceIndex) -> bool {
        let table = self.table.lock();
        let is_complete = |entry: &Entry| entry.fill.is_complete();
        object.has(piece) || table.fills.get(&(address(object), piece)).is_some_and(is_complete)
    }

    /// A fill for a piece that is in no state; `None` = it is stored or in transit.
    pub(super) fn register_if_missing(&self, object: &Arc<Object>, piece: PieceIndex) -> Option<Arc<Fill>> {
        let mut table = self.table.lock();
        let is_missing = !table.fills.contains_key(&(address(object), piece)) && !object.has(piece);
        is_missing.then(|| table.register(object, piece, false))
    }

    /// Fills for the missing pieces from `first` on, at most `count`, up to the first that is stored or in transit: what one
    /// request to the origin can bring.
    pub(super) fn register_run(
        &self,
        object: &Arc<Object>,
        first: PieceIndex,
        count: u64,
    ) -> Vec<(PieceIndex, Arc<Fill>)> {
        let mut table = self.table.lock();
        // A stream that is under way brings them anyway.
        if table.streams.contains_key(&address(object)) {
            return Vec::new();
        }
        let numbers = first.number()..first.number().saturating_add(count);
        numbers
            .map_while(|number| object.layout().piece(number))
            .map_while(|piece| {
                let is_missing = !table.fills.contains_key(&(address(object), piece)) && !object.has(piece);
                is_missing.then(|| (piece, table.register(object, piece, false)))
            })
            .collect()
    }

    pub(super) fn remove(&self, object: &Arc<Object>, piece: PieceIndex) {
        self.table.lock().fills.remove(&(address(object), piece));
    }

    /// The pieces of an object that are in transit.
    pub(super) fn fills_of(&self, object: &Arc<Object>) -> Vec<Arc<Fill>> {
        let table = self.table.lock();
        let own = table.fills.iter().filter(|((owner, _), _)| *owner == address(object));
        own.map(|(_, entry)| entry.fill.clone()).collect()
    }

    /// A piece is fetched by itself from now on, whatever stream it came from.
    pub(super) fn detach(&self, object: &Arc<Object>, piece: PieceIndex) {
        if let Some(entry) = self.table.lock().fills.get_mut(&(address(object), piece)) {
            entry.from_stream = false;
        }
    }

    /// For the owner of a fill whose fetch brought the whole object.
    pub(super) fn join_stream(&self, object: &Arc<Object>, piece: PieceIndex) -> StreamRole {
        let mut table = self.table.lock();
        let role = match table.streams.get(&address(object)) {
            None => StreamRole::Carry,
            Some(next) if *next <= piece.number() => StreamRole::Wait,
            Some(_) => StreamRole::Alone,
        };
        if role == StreamRole::Carry {
            table.streams.insert(address(object), 0);
        }
        if role != StreamRole::Alone
            && let Some(entry) = table.fills.get_mut(&(address(object), piece))
        {
            entry.from_stream = true;
        }
        role
    }

    /// The stream is at this piece. The fill it delivers to; `None` = the piece is stored, or fetched by itself.
    pub(super) fn advance_stream(&self, object: &Arc<Object>, piece: PieceIndex) -> Option<Arc<Fill>> {
        let mut table = self.table.lock();
        table.streams.insert(address(object), piece.number() + 1);
        match table.fills.get(&(address(object), piece)) {
            Some(entry) => entry.from_stream.then(|| entry.fill.clone()),
            None if object.has(piece) => None,
            None => Some(table.register(object, piece, true)),
        }
    }

    /// Ends the stream if nobody waits for it.
    pub(super) fn end_idle_stream(&self, object: &Arc<Object>) -> bool {
        let mut table = self.table.lock();
        let is_idle =
            !table.fills.iter().any(|((owner, _), entry)| *owner == address(object) && entry.from_stream);
        if is_idle {
            table.streams.remove(&address(object));
        }
        is_idle
    }

    /// Ends the stream; those fills were waiting for it.
    pub(super) fn end_stream(&self, object: &Arc<Object>) -> Vec<(PieceIndex, Arc<Fill>)> {
        let mut table = self.table.lock();
        table.streams.remove(&address(object));
        let waiting =
            table.fills.iter().filter(|((owner, _), entry)| *owner == address(object) && entry.from_stream);
        waiting.map(|((_, piece), entry)| (*piece, entry.fill.clone())).collect()
    }
}

impl Table {
    fn register(&mut self, object: &Arc<Object>, piece: PieceIndex, from_stream: bool) -> Arc<Fill> {
        let length = object.layout().range_of(piece).length();
        // Asked under the lock: whoever changes it looks at all fills afterwards.
        let fill = if object.shows_at_once() { Fill::new(length) } else { Fill::held_back(length) };
        let fill = if self.hashes || object.verification().is_some() { fill.hashed() } else { fill };
        let fill = Arc::new(fill);
        let entry = Entry { _object: object.clone(), fill: fill.clone(), from_stream };
        self.fills.insert((address(object), piece), entry);
        fill
    }
}

fn address(object: &Arc<Object>) -> usize {
    Arc::as_ptr(object).addr()
}
