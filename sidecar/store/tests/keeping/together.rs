//! Fills, reads, evictions, shares, pins and purges all at once.

use std::sync::Arc;
use std::time::Duration;

use connected_cache_store::{FillError, Filter, Object, PinnedUntil, Policy, Store, Trust};
use sha2::{Digest as _, Sha256};

use crate::support::{MIB, Volume, by_objects, bytes_of, matching, usage, wait};

const CONTENTS: u64 = 24;
const ROUNDS: u64 = 1500;

fn key(content: u64) -> String {
    let name = if content.is_multiple_of(6) { "pinned" } else { "content" };
    format!("{name} {content}")
}

/// Bytes of one generation: those of another would show.
fn right(object: &Object, piece: usize) -> Vec<u8> {
    bytes_of(&object.number().to_string(), piece, object.length_of(piece))
}

fn store_piece(object: &Arc<Object>, piece: usize) -> Result<(), FillError> {
    let bytes = right(object, piece);
    let mut fill = object.begin(piece)?;
    for part in bytes.chunks(100_000) {
        fill.append(part)?;
    }
    fill.commit(Sha256::digest(&bytes).into(), Trust::Origin)
}

/// One client's life: asks for this and that, stores what is missing, and holds some of what it read for a while.
fn client(store: &Store, seed: u64) -> u64 {
    let (mut state, mut held, mut stored) = (seed, Vec::new(), 0);
    for round in 0..ROUNDS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (content, piece) = ((state >> 33) % CONTENTS, usize::from((state >> 50) % 2 == 0) * 64);
        let object = store.get(&key(content)).filter(|object| !object.is_removed()).unwrap_or_else(|| {
            // Two groups of which one piece each is ever stored.
            store.create(&key(content), u8::try_from(content % 3).unwrap(), 64 * MIB + 300_000, b"").unwrap()
        });
        if !object.has(piece) {
            match store_piece(&object, piece) {
                Ok(()) => stored += 1,
                Err(FillError::Full) => drop(object.wait_for_room(piece, Duration::from_secs(5))),
                // Its bytes of before are on their way out.
                Err(FillError::Busy) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => assert!(matches!(error, FillError::Present | FillError::Removed), "{error}"),
            }
        }
        if let Ok(bytes) = object.read(piece, 0, object.length_of(piece)) {
            held.push((object, piece, bytes));
        }
        if round % 5 == 4 {
            for (object, piece, bytes) in held.drain(..) {
                assert!(bytes == right(&object, piece), "bytes changed under their reader");
            }
        }
    }
    stored
}

#[test]
fn whatever_happens_together_nobody_reads_a_wrong_byte_and_every_byte_is_counted() {
    let volume = Volume::new(32 * MIB);
    let pins = |key: &str, _: u8| key.starts_with("pinned").then_some(PinnedUntil::Forever);
    let policy = Policy {
        shares: [(1, 15)].into(),
        pins: Some(Arc::new(pins)),
        protected: vec![2],
        ..Policy::default()
    };
    let store = volume.open(policy.clone());
    let stored: u64 = std::thread::scope(|scope| {
        let clients: Vec<_> = (1..4)
            .map(|seed| {
                scope.spawn({
                    let store = &store;
                    move || client(store, seed)
                })
            })
            .collect();
        let mut purges = 0;
        while !clients.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            purges += 1;
            let ending = (purges % 10).to_string();
            assert_eq!(store.purge(&matching(move |key, _| key.ends_with(&ending))).survivors, []);
            assert_eq!(
                store.purge(&Filter { key: Some(key(purges % CONTENTS)), ..Filter::all() }).survivors,
                []
            );
            store.list(&Filter::all(), None, 100).unwrap();
        }
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(stored > 100, "only {stored} pieces were stored");
    store.flush();
    wait("counts are those of the objects", || store.classes() == by_objects(&store));
    let pinned =
        store.objects().iter().filter(|object| object.is_pinned()).map(|object| object.disk_bytes()).sum();
    assert_eq!(usage(&store).pinned, pinned);
    let (classes, listed) = (store.classes(), store.list(&Filter::all(), None, 100).unwrap().entries.len());
    store.close();
    drop(store);
    // The index says the same as memory did, piece by piece.
    let store = volume.open(policy);
    assert_eq!(store.classes(), classes);
    assert_eq!(store.list(&Filter::all(), None, 100).unwrap().entries.len(), listed);
    for object in store.objects() {
        for piece in (0..object.pieces()).filter(|piece| object.has(*piece)) {
            object.check(piece).unwrap();
            assert!(object.read_copied(piece, 0, object.length_of(piece)).unwrap() == right(&object, piece));
        }
    }
    assert_eq!(store.purge(&Filter::all()).survivors, []);
    wait("all space is given back", || usage(&store).pieces == 0);
    assert_eq!((store.classes(), usage(&store).pinned), (Vec::new(), 0));
}
