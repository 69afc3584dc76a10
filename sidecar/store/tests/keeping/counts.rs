//! Counts by class are those of the objects, whatever happened.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use connected_cache_store::{ClassUsage, Evicted, FillError, Policy, Watcher};
use proptest::prelude::*;

use crate::support::{MIB, SMALL, Volume, by_objects, fill, has, matching, put, usage, wait};

#[derive(Clone, Debug)]
enum Step {
    /// A new generation of a content, with nothing stored.
    Create {
        content: u8,
        pieces: u64,
    },
    /// Stores a piece, if the content exists.
    Fill {
        content: u8,
        piece: usize,
    },
    /// Gives up a piece half way.
    GiveUp {
        content: u8,
        piece: usize,
    },
    DropPiece {
        content: u8,
        piece: usize,
    },
    Remove {
        content: u8,
    },
    PurgeClass {
        class: u8,
    },
    Flush,
    Restart,
}

/// Contents fall into three classes.
const CONTENTS: u8 = 12;

fn class_of(content: u8) -> u8 {
    [0, 3, 255][usize::from(content) % 3]
}

fn step() -> impl Strategy<Value = Step> {
    let content = 0..CONTENTS;
    prop_oneof![
        2 => (content.clone(), 1_u64..4).prop_map(|(content, pieces)| Step::Create { content, pieces }),
        12 => (content.clone(), 0_usize..4).prop_map(|(content, piece)| Step::Fill { content, piece }),
        1 => (content.clone(), 0_usize..4).prop_map(|(content, piece)| Step::GiveUp { content, piece }),
        2 => (content.clone(), 0_usize..4).prop_map(|(content, piece)| Step::DropPiece { content, piece }),
        1 => content.prop_map(|content| Step::Remove { content }),
        1 => (0_u8..CONTENTS).prop_map(|content| Step::PurgeClass { class: class_of(content) }),
        2 => Just(Step::Flush),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The limit leaves room for about eight pieces, so there are evictions as well.
    #[test]
    fn counts_are_those_of_the_objects_after_any_history(steps in proptest::collection::vec(step(), 1..80)) {
        let volume = Volume::new(16 * MIB);
        let mut store = volume.open(Policy { shares: [(3, 20)].into(), ..Policy::default() });
        let key = |content: u8| format!("content {content}");
        for step in steps {
            match step {
                Step::Create { content, pieces } => {
                    store.create(&key(content), class_of(content), pieces * MIB - 5, b"").unwrap();
                }
                Step::Fill { content, piece } => {
                    if let Some(object) = store.get(&key(content)) {
                        match fill(&object, &key(content), piece) {
                            Ok(()) | Err(FillError::Present | FillError::Busy | FillError::Removed | FillError::OutOfBounds) => {}
                            Err(error) => prop_assert!(false, "{error}"),
                        }
                    }
                }
                Step::GiveUp { content, piece } => {
                    if let Some(Ok(mut fill)) = store.get(&key(content)).map(|object| object.begin(piece)) {
                        fill.append(b"half").unwrap();
                    }
                }
                Step::DropPiece { content, piece } => {
                    if let Some(object) = store.get(&key(content)) {
                        object.drop_piece(piece);
                    }
                }
                Step::Remove { content } => {
                    if let Some(object) = store.get(&key(content)) {
                        store.remove(&object);
                    }
                }
                Step::PurgeClass { class } => {
                    let purged = store.purge(&matching(move |_, other| other == class));
                    prop_assert_eq!(purged.survivors, []);
                    prop_assert!(store.classes().iter().all(|usage| usage.class != class));
                }
                Step::Flush => store.flush(),
                Step::Restart => {
                    store.close();
                    drop(store);
                    store = volume.open(Policy { shares: [(3, 20)].into(), ..Policy::default() });
                }
            }
            // The keeper evicts by itself, so both sides may move between two looks.
            wait("counts are those of the objects", || store.classes() == by_objects(&store));
        }
        prop_assert_eq!(store.purge(&connected_cache_store::Filter::all()).survivors, []);
        prop_assert_eq!(store.classes(), []);
        wait("all space is given back", || usage(&store).pieces == 0);
    }
}

#[test]
fn counts_are_by_class_and_survive_a_restart() {
    let volume = Volume::new(64 * MIB);
    let expected = [
        ClassUsage { class: 2, objects: 2, bytes: SMALL + MIB + 4096 },
        ClassUsage { class: 200, objects: 1, bytes: 4096 },
    ];
    {
        let store = volume.open(Policy::default());
        assert_eq!(store.classes(), []);
        put(&store, "a", 2, SMALL);
        put(&store, "b", 2, MIB + 1);
        put(&store, "c", 200, 1);
        store.create("nothing of it is stored", 7, MIB, b"").unwrap();
        assert_eq!(store.classes(), expected);
        store.close();
    }
    assert_eq!(volume.open(Policy::default()).classes(), expected);
}

#[test]
fn evictions_are_told_with_the_last_use_of_their_object() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let watcher: Watcher = Arc::new({
        let told = told.clone();
        move |evicted: Evicted| told.lock().unwrap().push(evicted)
    });
    let volume = Volume::new(64 * MIB);
    let store = volume.open(Policy { watcher: Some(watcher), ..Policy::default() });
    for number in 0..400 {
        let object = put(&store, &format!("{number}"), 0, 2 * SMALL);
        // Later than now, so that only this says it.
        object.touch(0, 4_000_000_000 + number);
    }
    store.flush();
    let told = told.lock().unwrap();
    let bytes: u64 = told.iter().map(|evicted| evicted.bytes).sum();
    assert!(bytes > 100 * MIB && bytes == usage(&store).evicted, "{bytes} of {:?}", usage(&store));
    assert!(told.iter().all(|evicted| evicted.pieces == 1));
    let gone: BTreeSet<u64> = (0..400).filter(|number| !has(&store, &format!("{number}"))).collect();
    let last_used: BTreeSet<u64> = told.iter().map(|evicted| evicted.last_used - 4_000_000_000).collect();
    assert_eq!((last_used.len(), &last_used), (told.len(), &gone));
}
