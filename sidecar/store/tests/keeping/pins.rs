//! Pinned objects stay, as long as their pin and their half of the volume last.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use connected_cache_store::{PinnedUntil, Policy, Store};

use crate::support::{MIB, SMALL, Volume, has, matching, put, usage, wait};

/// Keys that begin so are pinned.
fn pinning(until: PinnedUntil) -> Policy {
    let pins = move |key: &str, _: u8| key.starts_with("pinned").then_some(until);
    Policy { pins: Some(Arc::new(pins)), ..Policy::default() }
}

fn scan(store: &Store, name: &str, bytes: u64) {
    for number in 0..bytes / SMALL {
        put(store, &format!("{name} {number}"), 0, SMALL);
    }
    store.flush();
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn pinned_objects_survive_a_scan_that_fills_the_volume_many_times_also_after_a_restart() {
    let volume = Volume::new(32 * MIB);
    let keys: Vec<String> = (0..20).map(|number| format!("pinned {number}")).collect();
    {
        let store = volume.open(pinning(PinnedUntil::Forever));
        for key in &keys {
            put(&store, key, 0, SMALL);
        }
        assert_eq!(usage(&store).pinned, 20 * SMALL);
        scan(&store, "scan", 100 * MIB);
        assert!(keys.iter().all(|key| has(&store, key)));
        store.close();
    }
    let store = volume.open(pinning(PinnedUntil::Forever));
    assert_eq!(usage(&store).pinned, 20 * SMALL);
    assert!(store.get("pinned 3").unwrap().is_pinned());
    scan(&store, "scan again", 100 * MIB);
    assert!(keys.iter().all(|key| has(&store, key)));
}

#[test]
fn without_a_pin_the_same_objects_go() {
    let volume = Volume::new(32 * MIB);
    let store = volume.open(Policy::default());
    for number in 0..20 {
        put(&store, &format!("pinned {number}"), 0, SMALL);
    }
    scan(&store, "scan", 100 * MIB);
    assert!((0..20).all(|number| !has(&store, &format!("pinned {number}"))));
}

#[test]
fn a_pin_that_is_over_protects_no_more() {
    let volume = Volume::new(32 * MIB);
    let end = now() + 3;
    let store = volume.open(pinning(PinnedUntil::Second(end)));
    for number in 0..20 {
        put(&store, &format!("pinned {number}"), 0, SMALL);
    }
    scan(&store, "scan", 40 * MIB);
    let kept = (0..20).filter(|number| has(&store, &format!("pinned {number}"))).count();
    if now() < end {
        assert_eq!(kept, 20, "they are pinned yet");
    }
    wait("the pins are over", || usage(&store).pinned == 0);
    assert!(now() >= end);
    assert!(store.objects().iter().all(|object| !object.is_pinned()));
    scan(&store, "scan again", 100 * MIB);
    assert!((0..20).all(|number| !has(&store, &format!("pinned {number}"))));
    // A pin whose time is over already is none.
    assert!(!put(&store, "pinned late", 0, SMALL).is_pinned());
}

#[test]
fn pins_take_no_more_than_half_of_the_volume_and_the_oldest_stay() {
    let volume = Volume::new(32 * MIB);
    let store = volume.open(pinning(PinnedUntil::Forever));
    // More than the whole volume.
    let keys: Vec<String> = (0..160).map(|number| format!("pinned {number}")).collect();
    for key in &keys {
        put(&store, key, 0, SMALL);
    }
    scan(&store, "scan", 60 * MIB);
    let kept: Vec<bool> = keys.iter().map(|key| has(&store, key)).collect();
    let bytes = kept.iter().filter(|kept| **kept).count() as u64 * SMALL;
    assert_eq!(usage(&store).pinned, bytes);
    // As the last that went was above the half.
    let half = usage(&store).piece_limit / 2;
    assert!(bytes + 2 * SMALL > half, "{bytes} of {half}");
    assert!(kept[..(half / SMALL) as usize - 2].iter().all(|kept| *kept), "an old one went: {kept:?}");
    // What nobody pinned found room beside them.
    assert!(usage(&store).pieces < usage(&store).piece_limit);
}

#[test]
fn beyond_their_half_pinned_objects_go_only_after_everything_else() {
    let volume = Volume::new(32 * MIB);
    let store = volume.open(Policy { protected: vec![9], ..pinning(PinnedUntil::Forever) });
    let half = usage(&store).piece_limit / 2;
    for number in 0..8 {
        put(&store, &format!("protected {number}"), 9, SMALL);
    }
    let keys: Vec<String> = (0..half / SMALL + 8).map(|number| format!("pinned {number}")).collect();
    for key in &keys {
        put(&store, key, 0, SMALL);
    }
    scan(&store, "scan", 60 * MIB);
    assert!(usage(&store).pinned > half);
    assert!(keys.iter().all(|key| has(&store, key)));
    assert!((0..8).all(|number| has(&store, &format!("protected {number}"))));
}

#[test]
fn a_share_spares_pinned_objects_and_a_purge_does_not() {
    let volume = Volume::new(64 * MIB);
    let policy = Policy { shares: [(1, 10)].into(), ..pinning(PinnedUntil::Forever) };
    let store = volume.open(policy);
    for number in 0..40 {
        put(&store, &format!("pinned {number}"), 1, SMALL);
        put(&store, &format!("other {number}"), 1, SMALL);
    }
    store.flush();
    let kept = |name: &str| (0..40).filter(|number| has(&store, &format!("{name} {number}"))).count();
    assert_eq!((kept("pinned"), kept("other")), (40, 0), "10 MiB of pinned ones alone are above the share");
    let purged = store.purge(&matching(|key, _| key.starts_with("pinned 1")));
    assert_eq!((purged.objects, purged.bytes), (11, 11 * SMALL));
    assert_eq!(kept("pinned"), 29);
    assert_eq!(usage(&store).pinned, 29 * SMALL);
}
