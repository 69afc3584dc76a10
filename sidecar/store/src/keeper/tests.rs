//! Moments that the keeper's own thread meets seldom, one step at a time.

use std::sync::mpsc;

use bytes::Bytes;

use super::*;
use crate::PIECE_LENGTH;
use crate::index::Trust;
use crate::volume::Opened;

const PIECE: usize = PIECE_LENGTH;

/// A volume whose keeper does only what it is told.
struct Stepwise {
    keeper: Keeper,
    volume: Arc<Volume>,
    object: Arc<Object>,
    _folder: tempfile::TempDir,
}

impl Stepwise {
    /// With one object of two groups.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sender, messages) = mpsc::channel();
        let Opened { volume, .. } = Volume::open(folder.path(), 1 << 30, 0, sender).unwrap();
        let volume = Arc::new(volume);
        let length = 66 * PIECE as u64;
        let record = ObjectRecord { key: "a".into(), class: 0, length, created: 0, attributes: Vec::new() };
        let number = volume.next_number();
        let object = Arc::new(Object::new(Arc::clone(&volume), number, 1, &record, 0, false));
        volume.tell(Message::Created { object: Arc::clone(&object), record, pin: None });
        let (catalogue, policy) = (Arc::default(), Policy::default());
        let keeper = Keeper::new(Arc::clone(&volume), catalogue, messages, Restored::default(), &policy);
        Self { keeper, volume, object, _folder: folder }
    }

    fn fill(&self, piece: usize) {
        let mut fill = self.object.begin(piece).unwrap();
        fill.append(&vec![7; PIECE]).unwrap();
        fill.commit([7; 32], Trust::Origin).unwrap();
    }

    fn evict(&mut self, group: u32) {
        let mut skipped = Vec::new();
        let bytes = self.keeper.evict_group((self.object.number(), group), &mut skipped);
        assert!(bytes > 0 && skipped.is_empty());
    }

    /// One round without eviction.
    fn round(&mut self) {
        self.keeper.drain();
        self.keeper.commit();
        self.keeper.settle();
    }

    fn is_indexed(&self, piece: usize) -> bool {
        self.volume.piece_record(self.object.number(), piece).unwrap().is_some()
    }
}

#[test]
fn a_piece_that_is_evicted_before_its_commit_is_heard_of_does_not_reach_the_index() {
    let mut steps = Stepwise::new();
    steps.fill(0);
    steps.fill(64);
    steps.round();
    assert!(steps.is_indexed(0) && steps.is_indexed(64));
    steps.fill(1);
    steps.evict(0);
    steps.round();
    assert!(!steps.is_indexed(0) && !steps.is_indexed(1), "the index names a piece that is gone");
    assert!(steps.is_indexed(64));
    assert_eq!(steps.volume.usage().pieces, PIECE as u64);
    // What is stored there later is in the index, and found by the evictor.
    steps.fill(1);
    steps.round();
    assert!(steps.is_indexed(1));
    let named = steps.keeper.eviction.victim_of(0, &Objects(&steps.keeper.objects));
    assert!(named.is_some());
}

#[test]
fn a_piece_of_an_object_that_is_removed_before_its_commit_is_heard_of_does_not_reach_the_index() {
    let mut steps = Stepwise::new();
    steps.fill(0);
    assert_eq!(steps.object.ask_removal(), Some(PIECE as u64));
    steps.round();
    assert!(!steps.is_indexed(0));
    assert_eq!(steps.volume.usage().pieces, 0);
    assert_eq!(steps.volume.keys_after(None, 10).unwrap(), []);
}

#[test]
fn bytes_of_an_evicted_group_stay_under_their_reader_when_the_rest_of_the_object_is_removed() {
    let mut steps = Stepwise::new();
    steps.fill(0);
    steps.fill(64);
    steps.round();
    let held: Bytes = steps.object.read(0, 0, PIECE).unwrap();
    steps.evict(0);
    steps.round();
    assert_eq!(steps.volume.usage().pieces, 2 * PIECE as u64, "bytes that are read are counted");
    assert_eq!(steps.object.ask_removal(), Some(PIECE as u64));
    // The keeper looks after the evicted bytes before it hears of the removal, and after.
    steps.keeper.settle();
    steps.round();
    steps.keeper.settle();
    assert!(held.iter().all(|byte| *byte == 7), "bytes changed under their reader");
    assert_eq!(steps.volume.usage().pieces, 2 * PIECE as u64);
    drop(held);
    steps.keeper.settle();
    assert_eq!(steps.volume.usage().pieces, 0);
}
