//! Pieces through their life: stored, read, restarted, evicted, replaced, dropped.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

use std::sync::Arc;

use connected_cache_store::{FillError, Health, Object, PIECE_LENGTH, Store, Trust, VolumeOptions};
use sha2::{Digest as _, Sha256};

const MIB: u64 = 1 << 20;

fn options(path: &std::path::Path, limit: u64) -> VolumeOptions {
    VolumeOptions { path: path.to_owned(), limit, min_free: 0 }
}

fn bytes_of(seed: u64, piece: usize, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ piece as u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(length)
    .collect()
}

fn fill(object: &Arc<Object>, seed: u64, piece: usize) -> Result<(), FillError> {
    let bytes = bytes_of(seed, piece, object.length_of(piece));
    let mut fill = object.begin(piece)?;
    let reader = fill.reader();
    for part in bytes.chunks(300_000) {
        fill.append(part)?;
        assert_eq!(&reader.read(0, fill.written()).unwrap()[..], &bytes[..fill.written()]);
    }
    fill.commit(Sha256::digest(&bytes).into(), Trust::Origin)
}

fn check(object: &Arc<Object>, seed: u64, piece: usize) {
    let length = object.length_of(piece);
    assert!(object.read(piece, 0, length).unwrap()[..] == bytes_of(seed, piece, length)[..], "wrong bytes");
}

#[test]
fn committed_pieces_survive_a_restart_and_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = Store::open(&[options(folder.path(), 64 * MIB)], &[]).unwrap();
        let object = store.create("a", 2, 3 * MIB + 5, b"etag").unwrap();
        fill(&object, 1, 0).unwrap();
        fill(&object, 1, 3).unwrap();
        let mut unfinished = object.begin(1).unwrap();
        unfinished.append(b"half").unwrap();
        assert!(matches!(object.begin(1), Err(FillError::Busy)));
        assert!(matches!(object.begin(0), Err(FillError::Present)));
        assert!(matches!(object.begin(4), Err(FillError::OutOfBounds)));
        assert!(matches!(unfinished.commit([0; 32], Trust::Origin), Err(FillError::Incomplete(_))));
        assert!(object.read(1, 0, 1).is_err());
        store.flush();
    }
    let store = Store::open(&[options(folder.path(), 64 * MIB)], &[]).unwrap();
    let object = store.get("a").unwrap();
    assert_eq!((object.length(), object.class(), object.committed()), (3 * MIB + 5, 2, 2));
    assert_eq!(object.record().unwrap().unwrap().attributes, b"etag");
    check(&object, 1, 0);
    check(&object, 1, 3);
    assert!(!object.has(1));
    let record = object.piece_record(3).unwrap().unwrap();
    assert_eq!(record.sha256[..], Sha256::digest(bytes_of(1, 3, 5))[..]);
    fill(&object, 1, 1).unwrap();
    check(&object, 1, 1);
    assert_eq!(store.remove_orphans().unwrap(), 0);
}

#[test]
fn the_limit_holds_while_old_content_makes_room_for_new() {
    let folder = tempfile::tempdir().unwrap();
    let limit = 40 * MIB;
    let store = Store::open(&[options(folder.path(), limit)], &[]).unwrap();
    let mut stored = 0;
    for number in 0..200_u64 {
        let object = store.create(&format!("object {number}"), 0, 2 * MIB, b"").unwrap();
        for piece in 0..2 {
            match fill(&object, number, piece) {
                Ok(()) => stored += 1,
                Err(FillError::Full) => {}
                Err(error) => panic!("{error}"),
            }
            let (_, health, usage) = store.volumes().remove(0);
            assert_eq!(health, Health::Healthy);
            assert!(usage.pieces + usage.index <= limit, "{usage:?}");
            assert!(disk_usage(folder.path()) <= limit, "{} on disk", disk_usage(folder.path()));
        }
        if number % 10 == 9 {
            store.flush();
        }
    }
    assert!(stored > 100, "only {stored} of 400 pieces found room");
    store.flush();
    for object in store.objects() {
        let key = object.record().ok().flatten().map(|record| record.key);
        for piece in (0..2).filter(|piece| object.has(*piece)) {
            let Some(key) = &key else { continue };
            let seed = key.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap();
            if let Ok(bytes) = object.read(piece, 0, PIECE_LENGTH) {
                assert!(bytes[..] == bytes_of(seed, piece, PIECE_LENGTH)[..], "{key} piece {piece} is wrong");
            }
        }
    }
}

#[test]
fn a_new_generation_replaces_the_old_one_and_readers_of_the_old_keep_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&[options(folder.path(), 64 * MIB)], &[]).unwrap();
    let old = store.create("a", 0, MIB, b"1").unwrap();
    fill(&old, 1, 0).unwrap();
    let held = old.read(0, 0, PIECE_LENGTH).unwrap();
    let new = store.create("a", 0, MIB, b"2").unwrap();
    fill(&new, 2, 0).unwrap();
    store.flush();
    assert!(held[..] == bytes_of(1, 0, PIECE_LENGTH)[..]);
    check(&store.get("a").unwrap(), 2, 0);
    assert!(matches!(old.begin(0), Err(FillError::Removed)));
    assert_eq!(store.volumes()[0].2.pieces, 2 * MIB, "bytes that are still read are counted");
    drop((held, old));
    wait(|| store.volumes()[0].2.pieces == MIB);
    drop((store, new));
    let store = Store::open(&[options(folder.path(), 64 * MIB)], &[]).unwrap();
    assert_eq!(store.objects().len(), 1);
    check(&store.get("a").unwrap(), 2, 0);
}

#[test]
fn a_piece_found_wrong_is_dropped_and_stored_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&[options(folder.path(), 64 * MIB)], &[]).unwrap();
    let object = store.create("a", 0, 2 * MIB, b"").unwrap();
    fill(&object, 1, 0).unwrap();
    fill(&object, 1, 1).unwrap();
    store.flush();
    object.drop_piece(0);
    wait(|| !object.has(0) && !matches!(object.begin(0), Err(FillError::Busy)));
    assert!(object.has(1));
    assert_eq!(object.piece_record(0).unwrap(), None);
    wait(|| fill(&object, 7, 0).is_ok());
    store.flush();
    check(&object, 7, 0);
    check(&object, 1, 1);
}

#[test]
fn objects_without_pieces_and_wrong_sizes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&[options(folder.path(), 64 * MIB)], &[]).unwrap();
    assert!(store.create("empty", 0, 0, b"").is_err());
    assert!(store.create(&"k".repeat(20_000), 0, 1, b"").is_err());
    assert!(Store::open(&[], &[]).is_err());
    assert!(Store::open(&[options(&folder.path().join("missing"), MIB)], &[]).is_err());
}

fn wait(holds: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !holds() {
        assert!(started.elapsed().as_secs() < 30, "it did not happen within 30 s");
        std::thread::yield_now();
    }
}

/// Bytes that the file system says it gave to the folder, the 256 folders themselves left out.
fn disk_usage(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => sum += disk_usage(&entry.path()),
            Ok(metadata) => sum += metadata.blocks() * 512,
            Err(_) => {}
        }
    }
    sum
}

#[test]
fn a_volume_that_another_store_has_is_refused_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = [options(folder.path(), 64 * MIB)];
    let store = Store::open(&options, &[]).unwrap();
    let object = store.create("kept", 0, 5, b"").unwrap();
    let mut fill = object.begin(0).unwrap();
    fill.append(b"bytes").unwrap();
    fill.commit([7; 32], Trust::Origin).unwrap();
    store.flush();
    let error = Store::open(&options, &[]).unwrap_err().to_string();
    assert!(error.contains("already open"), "{error}");
    drop((object, store));
    let store = Store::open(&options, &[]).unwrap();
    assert!(store.get("kept").is_some_and(|object| object.has(0)), "the first one's content is gone");
}
