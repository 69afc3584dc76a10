//! Volumes that come and go under a running store, and two copies of one content on different ones.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use connected_cache_store::{
    FillError, Filter, Health, Object, PIECE_LENGTH, PinnedUntil, Policy, ReadError, Store, Trust,
    VolumeOptions,
};
use sha2::{Digest as _, Sha256};

const MIB: u64 = 1 << 20;

fn open(paths: &[&Path]) -> Store {
    let options = |path: &&Path| VolumeOptions { path: path.to_path_buf(), limit: 64 * MIB, min_free: 0 };
    Store::open(&paths.iter().map(options).collect::<Vec<_>>(), &[]).unwrap()
}

fn bytes(seed: u8, object: &Object, piece: usize) -> Vec<u8> {
    (seed..=250).cycle().take(object.length_of(piece)).collect()
}

fn fill(object: &Arc<Object>, seed: u8, piece: usize) -> Result<(), FillError> {
    let bytes = bytes(seed, object, piece);
    let mut fill = object.begin(piece)?;
    fill.append(&bytes)?;
    fill.commit(Sha256::digest(&bytes).into(), Trust::Origin)
}

/// Reads as a server does: what lay on the disk is checked first.
fn check(object: &Arc<Object>, seed: u8, piece: usize) {
    let length = object.length_of(piece);
    object.make_ready(piece, 0, length).unwrap();
    assert!(object.read(piece, 0, length).unwrap()[..] == bytes(seed, object, piece)[..], "wrong bytes");
}

fn wait(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_mins(1), "never happened: {what}");
        std::thread::yield_now();
    }
}

fn works(store: &Store) -> bool {
    store.volumes()[0].1 == Health::Healthy
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn another_folder_in_the_place_of_a_volume_is_opened_once_nobody_reads_the_old_one() {
    let around = tempfile::tempdir().unwrap();
    let of = |name: &str| around.path().join(name);
    fs::create_dir(of("volume")).unwrap();
    let store = open(&[&of("volume")]);
    for (key, seed) in [("kept", 1), ("removed", 2)] {
        let object = store.create(key, 0, 2 * MIB, b"").unwrap();
        fill(&object, seed, 0).unwrap();
        fill(&object, seed, 1).unwrap();
    }
    store.flush();
    copy(&of("volume"), &of("copy"));
    let later = store.create("later", 0, MIB, b"").unwrap();
    fill(&later, 3, 0).unwrap();
    fs::rename(of("volume"), of("away")).unwrap();
    wait("the volume fails", || !works(&store));
    let kept = store.get("kept").unwrap();
    check(&kept, 1, 1);
    store.remove(&store.get("removed").unwrap());

    // An empty folder, as it shows where a disk was unmounted, is not the volume.
    fs::create_dir(of("volume")).unwrap();
    wait(
        "it is said what is to be done",
        || matches!(&store.volumes()[0].1, Health::Failed(reason) if reason.contains("mount")),
    );
    assert_eq!(fs::read_dir(of("volume")).unwrap().count(), 0, "something was written into it");
    fs::remove_dir(of("volume")).unwrap();

    let held = kept.read(1, 0, PIECE_LENGTH).unwrap();
    fs::rename(of("copy"), of("volume")).unwrap();
    wait("the old one is forgotten", || store.get("kept").is_none());
    assert!(kept.is_removed() && matches!(kept.begin(0), Err(FillError::Removed)));
    assert!(!works(&store), "it was opened while somebody read the old one");
    assert!(held[..] == bytes(1, &kept, 1)[..]);
    drop(held);
    wait("the new one is opened", || works(&store));
    let found = store.get("kept").unwrap();
    check(&found, 1, 0);
    check(&found, 1, 1);
    assert!(store.get("later").is_none(), "the new folder does not hold it");
    assert!(store.get("removed").is_none(), "what was removed came back");
    wait("only what is there is counted", || store.volumes()[0].2.pieces == 2 * MIB);
    fill(&store.create("new", 0, MIB, b"").unwrap(), 4, 0).unwrap();
    drop((found, kept, store));
    let store = open(&[&of("volume")]);
    check(&store.get("new").unwrap(), 4, 0);
    assert_eq!(store.volumes()[0].2.pieces, 3 * MIB);
}

#[test]
fn what_is_counted_and_pinned_goes_with_its_volume_and_a_purge_that_misses_one_says_so() {
    let around = tempfile::tempdir().unwrap();
    let of = |name: &str| around.path().join(name);
    fs::create_dir(of("volume")).unwrap();
    let options = VolumeOptions { path: of("volume"), limit: 64 * MIB, min_free: 0 };
    let pins = |key: &str, _: u8| (key == "pinned").then_some(PinnedUntil::Forever);
    let policy = Policy { pins: Some(Arc::new(pins)), ..Policy::default() };
    let store = Store::open_with(std::slice::from_ref(&options), policy.clone()).unwrap();
    for (key, class) in [("pinned", 1), ("purged", 2), ("removed", 3)] {
        fill(&store.create(key, class, MIB, b"").unwrap(), 1, 0).unwrap();
    }
    store.flush();
    copy(&of("volume"), &of("copy"));
    let only = |key: &str| Filter { key: Some(key.to_owned()), ..Filter::all() };
    let failures = |filter: &Filter| {
        let survivors = store.purge(filter).survivors;
        assert!(survivors.iter().all(|survivor| survivor.volume == of("volume")), "{survivors:?}");
        survivors.len()
    };
    let classes = |store: &Store| -> Vec<_> {
        store.classes().iter().map(|usage| (usage.class, usage.objects, usage.bytes)).collect()
    };

    fs::rename(of("volume"), of("away")).unwrap();
    wait("the volume fails", || !works(&store));
    assert_eq!(classes(&store), [(1, 1, MIB), (2, 1, MIB), (3, 1, MIB)]);
    // Its index can be read, and names what memory does not know any more.
    assert_eq!(store.remove(&store.get("removed").unwrap()), Some(MIB));
    assert_eq!((failures(&only("removed")), failures(&only("unknown"))), (1, 0));
    assert_eq!(classes(&store), [(1, 1, MIB), (2, 1, MIB)]);

    let held = store.get("pinned").unwrap().read(0, 0, PIECE_LENGTH).unwrap();
    fs::rename(of("copy"), of("volume")).unwrap();
    wait("the old one is forgotten", || store.get("pinned").is_none());
    wait("it is not open", || store.volumes()[0].2.pieces == 0);
    assert_eq!((classes(&store), store.volumes()[0].2.pinned), (vec![], 0));
    assert_eq!(store.list(&Filter::all(), None, 10).unwrap().entries, []);
    assert_eq!((failures(&only("purged")), failures(&Filter::all())), (1, 1));

    drop(held);
    wait("the new one is opened", || works(&store));
    assert_eq!(
        classes(&store),
        [(1, 1, MIB), (2, 1, MIB)],
        "with what was said to be there, and not removed"
    );
    assert_eq!(store.volumes()[0].2.pinned, MIB);
    assert_eq!((failures(&only("purged")), classes(&store)), (0, vec![(1, 1, MIB)]));
    drop(store);
    let store = Store::open_with(&[options], policy).unwrap();
    assert_eq!((classes(&store), store.volumes()[0].2.pinned), (vec![(1, 1, MIB)], MIB));
}

#[test]
fn a_store_ends_while_a_volume_is_away() {
    let around = tempfile::tempdir().unwrap();
    let volume = around.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let store = open(&[&volume]);
    fs::rename(&volume, around.path().join("away")).unwrap();
    wait("the volume fails", || !works(&store));
    store.close();
    drop(store);
    assert!(!volume.exists());
}

#[test]
fn the_younger_of_two_copies_counts_whatever_the_order_of_the_volumes() {
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for is_reversed in [false, true] {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fill(&open(&[first.path()]).create("a", 0, MIB, b"1").unwrap(), 1, 0).unwrap();
        let created = seconds();
        wait("a second has passed", || seconds() > created);
        fill(&open(&[second.path()]).create("a", 0, MIB, b"2").unwrap(), 2, 0).unwrap();
        let mut paths = [first.path(), second.path()];
        if is_reversed {
            paths.reverse();
        }
        let store = open(&paths);
        check(&store.get("a").unwrap(), 2, 0);
        store.flush();
        drop(store);
        assert!(open(&[first.path()]).get("a").is_none(), "the older copy is still there");
        check(&open(&[second.path()]).get("a").unwrap(), 2, 0);
    }
}

#[test]
fn an_object_moves_only_while_it_is_the_current_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&[folder.path()]);
    let old = store.create("a", 3, MIB, b"1").unwrap();
    fill(&old, 1, 0).unwrap();
    let moved = store.move_away(&old, "a", b"1").unwrap();
    assert_eq!((moved.class(), moved.length(), moved.committed()), (3, MIB, 0));
    assert!(Arc::ptr_eq(&store.get("a").unwrap(), &moved));
    assert!(store.move_away(&old, "a", b"1").is_err(), "it was moved already");
    assert!(Arc::ptr_eq(&store.get("a").unwrap(), &moved));
    fill(&moved, 1, 0).unwrap();
    store.flush();
    wait("the old copy is gone", || store.volumes()[0].2.pieces == MIB);
    drop((old, moved, store));
    check(&open(&[folder.path()]).get("a").unwrap(), 1, 0);
}

#[test]
fn no_object_moves_to_a_volume_that_a_purge_may_have_looked_through() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&[folder.path()]));
    let old = store.create("a", 0, MIB, b"").unwrap();
    fill(&old, 1, 0).unwrap();
    let (purging, moving) = (Arc::clone(&store), Arc::clone(&old));
    // Asked in the middle of the purge.
    let matches = move |key: &str, _| {
        assert!(purging.move_away(&moving, key, b"").is_err(), "it moved");
        true
    };
    assert_eq!(store.purge(&Filter { key: None, matches: Box::new(matches) }).objects, 1);
    assert!(store.get("a").is_none());
    let next = store.create("a", 0, MIB, b"").unwrap();
    assert!(store.move_away(&next, "a", b"").is_ok(), "the purge is over");
}

#[test]
fn of_a_file_that_was_cut_only_what_is_missing_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let number = {
        let store = open(&[folder.path()]);
        let object = store.create("a", 0, 2 * MIB, b"").unwrap();
        fill(&object, 1, 0).unwrap();
        fill(&object, 1, 1).unwrap();
        object.number()
    };
    let file = folder.path().join(format!("data/{:02x}/{number:016x}", number & 0xff));
    fs::File::options().write(true).open(file).unwrap().set_len(MIB + 5).unwrap();
    let store = open(&[folder.path()]);
    let object = store.get("a").unwrap();
    check(&object, 1, 0);
    assert!(matches!(object.check(1), Err(ReadError::Damaged(1))));
    assert!(works(&store));
    wait("the piece is stored anew", || fill(&object, 1, 1).is_ok());
    check(&object, 1, 1);
    check(&object, 1, 0);
}
