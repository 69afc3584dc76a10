//! What the store is made to do: a seeded mix of everything that changes the disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use connected_cache_faulty_disk::{FaultyDisk, Random};
use connected_cache_store::{FillError, Object, PIECE_LENGTH, Store};

use crate::contents::{fill, generation};
use crate::history::{Checkpoint, Piece};

const STEPS: usize = 140;
const KEYS: usize = 14;

pub(crate) struct Workload<'a> {
    disk: &'a FaultyDisk,
    store: Option<Store>,
    random: Random,
    next_generation: u64,
    /// Key and generation of each object by its number: the index learns them only with the first piece.
    known: BTreeMap<u64, (String, u64)>,
    /// How often each piece was stored in this life.
    times: BTreeMap<(String, u64, usize), u32>,
    /// Slices that somebody still reads.
    held: VecDeque<Bytes>,
    checkpoints: Vec<Checkpoint>,
}

impl<'a> Workload<'a> {
    /// Opens the store on the disk. `survivors` must still be there.
    pub(crate) fn begin(disk: &'a FaultyDisk, life: u64, survivors: Vec<Piece>, random: Random) -> Self {
        let begin = disk.position().unwrap();
        // Stored before this life: for the zeroth time, as far as this life knows.
        let present = survivors.into_iter().map(|piece| Piece { times: 0, ..piece }).collect();
        let mut workload = Self {
            disk,
            store: None,
            random,
            next_generation: life * 1_000_000,
            known: BTreeMap::new(),
            times: BTreeMap::new(),
            held: VecDeque::new(),
            checkpoints: vec![Checkpoint { looked: begin, present, flushed: begin }],
        };
        workload.open();
        workload
    }

    pub(crate) fn run(&mut self) {
        for _ in 0..STEPS {
            match self.random.below(20) {
                0..=8 => self.fill_some(),
                9..=11 => self.replace(),
                12 => self.remove(),
                13 => self.abandon(),
                14 => self.drop_piece(),
                15 => self.hold(),
                16 => self.change_attributes(),
                17 if self.random.chance(1, 3) => self.restart(),
                _ => self.checkpoint(),
            }
        }
    }

    /// Ends the store; the last checkpoint says what was there.
    pub(crate) fn end(mut self) -> Vec<Checkpoint> {
        self.checkpoint();
        self.checkpoints
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn any_key(&mut self) -> String {
        format!("key {}", self.random.below(KEYS))
    }

    fn object(&mut self, key: &str) -> Arc<Object> {
        self.store().get(key).unwrap_or_else(|| self.create(key))
    }

    fn create(&mut self, key: &str) -> Arc<Object> {
        self.next_generation += 1;
        let length = match self.random.below(6) {
            // One piece, smaller than one, a few, and more than a group of 64.
            0 => PIECE_LENGTH,
            1 | 2 => 1 + self.random.below(20_000),
            3 | 4 => 2 * PIECE_LENGTH + 77_777,
            _ => 65 * PIECE_LENGTH + 4096 * 3 + 1,
        };
        let attributes = self.next_generation.to_string();
        let object = self.store().create(key, 0, length as u64, attributes.as_bytes()).unwrap();
        self.known.insert(object.number(), (key.to_owned(), self.next_generation));
        object
    }

    fn fill_some(&mut self) {
        let key = self.any_key();
        let object = self.object(&key);
        for _ in 0..=self.random.below(2) {
            self.fill_one(&key, &object);
        }
    }

    fn fill_one(&mut self, key: &str, object: &Arc<Object>) {
        let piece = self.any_piece(object);
        let generation = self.known[&object.number()].1;
        let part = 4096 + self.random.below(400_000);
        match fill(object, key, generation, piece, part) {
            Ok(()) => *self.times.entry((key.to_owned(), generation, piece)).or_default() += 1,
            Err(FillError::Present | FillError::Busy | FillError::Full | FillError::Removed) => {}
            Err(error) => unreachable!("{error}"),
        }
    }

    /// Of a large object only a few at both ends, so that it is cheap and still has two groups.
    fn any_piece(&mut self, object: &Object) -> usize {
        let pieces = object.pieces();
        let piece = self.random.below(pieces.min(4));
        if self.random.chance(1, 2) { piece } else { pieces - 1 - piece }
    }

    fn replace(&mut self) {
        let key = self.any_key();
        let object = self.create(&key);
        self.fill_one(&key, &object);
    }

    fn remove(&mut self) {
        let key = self.any_key();
        if let Some(object) = self.store().get(&key) {
            self.store().remove(&object);
        }
    }

    fn abandon(&mut self) {
        let key = self.any_key();
        let object = self.object(&key);
        let piece = self.any_piece(&object);
        if let Ok(mut fill) = object.begin(piece) {
            let length = object.length_of(piece);
            fill.append(&vec![0xee; length - length / 3]).unwrap();
        }
    }

    fn drop_piece(&mut self) {
        let key = self.any_key();
        if let Some(object) = self.store().get(&key) {
            let piece = self.any_piece(&object);
            object.drop_piece(piece);
        }
    }

    fn change_attributes(&mut self) {
        let key = self.any_key();
        if let Some(object) = self.store().get(&key) {
            let generation = self.known[&object.number()].1;
            let more = "x".repeat(self.random.below(10_000));
            object.set_attributes(format!("{generation} {more}").into_bytes());
        }
    }

    /// Somebody reads slowly: what is removed meanwhile can't be given back before they are done.
    fn hold(&mut self) {
        let key = self.any_key();
        if let Some(object) = self.store().get(&key) {
            let piece = self.any_piece(&object);
            if let Ok(bytes) = object.read(piece, 0, object.length_of(piece)) {
                self.held.push_back(bytes);
            }
        }
        if self.held.len() > 2 {
            self.held.pop_front();
        }
    }

    fn restart(&mut self) {
        self.held.clear();
        self.store = None;
        self.open();
    }

    fn open(&mut self) {
        let store = crate::open(self.disk.path());
        store.remove_orphans().unwrap();
        self.known = store
            .objects()
            .iter()
            .map(|object| {
                let key = object.record().unwrap().unwrap().key;
                (object.number(), (key, generation(object).unwrap()))
            })
            .collect();
        self.store = Some(store);
    }

    fn checkpoint(&mut self) {
        let looked = self.disk.position().unwrap();
        let present = self.present();
        self.store().flush();
        let flushed = self.disk.position().unwrap();
        self.checkpoints.push(Checkpoint { looked, present, flushed });
    }

    fn present(&self) -> BTreeSet<Piece> {
        let mut present = BTreeSet::new();
        for object in self.store().objects() {
            let (key, generation) = &self.known[&object.number()];
            for index in (0..object.pieces()).filter(|piece| object.has(*piece)) {
                let times = self.times.get(&(key.clone(), *generation, index)).copied().unwrap_or(0);
                present.insert(Piece { key: key.clone(), generation: *generation, index, times });
            }
        }
        present
    }
}
