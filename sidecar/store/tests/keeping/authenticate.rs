//! Hashes that come later than the pieces.

use std::sync::Arc;
use std::sync::mpsc;

use connected_cache_store::{Authenticated, Digests, Object, Policy, Store, Trust};
use sha2::{Digest as _, Sha256};

use crate::support::{MIB, Volume, bytes_of, fill};

const KEY: &str = "example.com/f";
/// More than a group, and a short last piece.
const LENGTH: u64 = 66 * MIB + 5;

fn digest(object: &Object, piece: usize) -> [u8; 32] {
    Sha256::digest(bytes_of(KEY, piece, object.length_of(piece))).into()
}

/// The right hashes of the object, but for these pieces.
fn digests(object: &Arc<Object>, wrong: &'static [usize]) -> Digests {
    let object = Arc::clone(object);
    Box::new(move |piece| Some(if wrong.contains(&piece) { [0; 32] } else { digest(&object, piece) }))
}

fn authenticate(object: &Arc<Object>, digests: Digests) -> Authenticated {
    let (answer, answered) = mpsc::channel();
    object.authenticate(digests, Box::new(move |outcome| answer.send(outcome).unwrap()));
    answered.recv().unwrap()
}

fn stored(store: &Store, pieces: &[usize]) -> Arc<Object> {
    let object = store.create(KEY, 0, LENGTH, b"").unwrap();
    for piece in pieces {
        fill(&object, KEY, *piece).unwrap();
    }
    object
}

#[test]
fn stored_pieces_are_upgraded_or_dropped_by_hashes_that_come_late() {
    let volume = Volume::new(200 * MIB);
    {
        let store = volume.open(Policy::default());
        let object = stored(&store, &[0, 1, 65, 66]);
        assert_eq!((object.committed(), object.authenticated()), (4, 0));
        let outcome = authenticate(&object, digests(&object, &[1, 65]));
        assert_eq!(outcome, Authenticated { right: 2, upgraded: 2, dropped: vec![1, 65] });
        assert_eq!((object.committed(), object.authenticated()), (2, 2));
        assert!(object.has(0) && !object.has(1) && !object.has(65) && object.has(66));
        // Nothing is left to be done.
        let nothing = Authenticated { right: 2, ..Authenticated::default() };
        assert_eq!(authenticate(&object, digests(&object, &[])), nothing);
        store.flush();
        assert_eq!(object.piece_record(0).unwrap().unwrap().trust, Trust::Authenticated);
        assert_eq!(object.piece_record(1).unwrap(), None);
    }
    let store = volume.open(Policy::default());
    let object = store.get(KEY).unwrap();
    assert_eq!((object.committed(), object.authenticated()), (2, 2), "after a restart");
}

#[test]
fn a_wrong_piece_goes_at_once_although_its_neighbours_are_being_filled_and_it_is_being_read() {
    let volume = Volume::new(200 * MIB);
    let store = volume.open(Policy::default());
    let object = stored(&store, &[0, 1, 2]);
    let mut neighbour = object.begin(3).unwrap();
    let read = object.read(1, 0, 4096).unwrap();
    let outcome = authenticate(&object, digests(&object, &[1, 2]));
    assert_eq!(outcome.dropped, [1, 2]);
    assert!(!object.has(1) && !object.has(2));
    // Its reader keeps what it has; the neighbour is stored as if nothing had been.
    assert!(read == bytes_of(KEY, 1, 4096));
    neighbour.append(&bytes_of(KEY, 3, object.length_of(3))).unwrap();
    neighbour.commit(digest(&object, 3), Trust::Authenticated).unwrap();
    assert_eq!((object.committed(), object.authenticated()), (2, 2));
    drop(read);
    // Room for the piece comes back as soon as nobody reads it, and it can be stored anew.
    for piece in [1, 2] {
        while let Err(error) = fill(&object, KEY, piece) {
            assert!(matches!(error, connected_cache_store::FillError::Busy), "{error}");
            std::thread::yield_now();
        }
    }
    store.flush();
    assert_eq!(object.read_copied(1, 0, 4096).unwrap(), bytes_of(KEY, 1, 4096));
    assert_eq!((object.committed(), object.authenticated()), (4, 2), "the new ones came from an origin");
    assert_eq!(store.volumes()[0].2.pieces, 4 * MIB);
}
