//! A class takes no more of a volume than its share.

use connected_cache_store::Policy;

use crate::support::{MIB, SMALL, Volume, bytes_of_class, has, put, usage};

#[test]
fn a_class_never_stays_above_its_share_and_others_keep_what_they_have() {
    let volume = Volume::new(64 * MIB);
    let store = volume.open(Policy { shares: [(1, 10)].into(), ..Policy::default() });
    for number in 0..20 {
        put(&store, &format!("other {number}"), 0, SMALL);
    }
    for number in 0..200 {
        put(&store, &format!("bounded {number}"), 1, SMALL);
        // Taken before: the limit of pieces only falls while the index grows.
        let share = usage(&store).piece_limit / 10;
        store.flush();
        assert!(bytes_of_class(&store, 1) <= share, "{} of {share}", bytes_of_class(&store, 1));
    }
    // Far from full, so the rest was let alone, and the share is used.
    let share = usage(&store).piece_limit / 10;
    assert!(bytes_of_class(&store, 1) + 2 * SMALL > share, "{} of {share}", bytes_of_class(&store, 1));
    assert_eq!(bytes_of_class(&store, 0), 20 * SMALL);
    assert!(has(&store, "bounded 199") && !has(&store, "bounded 0"));
}

#[test]
fn a_share_bounds_a_protected_class_too() {
    let volume = Volume::new(64 * MIB);
    let store = volume.open(Policy { protected: vec![1], shares: [(1, 20)].into(), ..Policy::default() });
    for number in 0..100 {
        put(&store, &format!("{number}"), 1, SMALL);
    }
    let share = usage(&store).piece_limit / 5;
    store.flush();
    assert!(bytes_of_class(&store, 1) <= share, "{} of {share}", bytes_of_class(&store, 1));
    // Within its share it still goes last.
    let kept = bytes_of_class(&store, 1);
    for number in 0..400 {
        put(&store, &format!("scan {number}"), 0, SMALL);
    }
    store.flush();
    assert!(usage(&store).evicted > 40 * MIB, "the volume was never full: {:?}", usage(&store));
    assert!(kept - bytes_of_class(&store, 1) <= 2 * SMALL, "{kept} became {}", bytes_of_class(&store, 1));
}

#[test]
fn what_was_stored_before_a_share_was_set_goes_after_the_start() {
    let volume = Volume::new(64 * MIB);
    {
        let store = volume.open(Policy::default());
        for number in 0..80 {
            put(&store, &format!("{number}"), 1, SMALL);
        }
        store.close();
    }
    let store = volume.open(Policy { shares: [(1, 5)].into(), ..Policy::default() });
    let share = usage(&store).piece_limit / 20;
    store.flush();
    assert!(bytes_of_class(&store, 1) <= share, "{} of {share}", bytes_of_class(&store, 1));
    assert!(bytes_of_class(&store, 1) > 0);
}
