//! Purges: at once, for good, and without a wrong byte for those who read.

use connected_cache_store::{FillError, Filter, Policy, Purged, Trust};
use sha2::{Digest as _, Sha256};

use crate::support::{MIB, SMALL, Volume, bytes_of, fill, has, matching, put, usage, wait};

#[test]
fn what_matches_goes_and_does_not_come_back_and_the_rest_stays() {
    let volume = Volume::new(128 * MIB);
    {
        let store = volume.open(Policy::default());
        for number in 0..300 {
            put(&store, &format!("a/{number}"), 0, 10);
            put(&store, &format!("b/{number}"), 0, 10);
        }
        let purged = store.purge(&matching(|key, _| key.starts_with("a/")));
        assert_eq!(purged, Purged { objects: 300, bytes: 300 * 4096, survivors: Vec::new() });
        assert!(store.get("a/7").is_none() && has(&store, "b/7"));
        let again = store.purge(&matching(|key, _| key.starts_with("a/")));
        assert_eq!(again, Purged::default());
        // No end in order: what is not on disk by now is lost.
        std::fs::create_dir(volume.path().join("copy")).unwrap();
        std::fs::copy(volume.path().join("index.redb"), volume.path().join("copy/index.redb")).unwrap();
    }
    let copy = connected_cache_store::VolumeOptions { path: volume.path().join("copy"), ..volume.options() };
    let store = connected_cache_store::Store::open(&[copy], &[]).unwrap();
    assert!((0..300).all(|number| store.get(&format!("a/{number}")).is_none()), "a purged object came back");
    assert_eq!(store.objects().len(), 300);
}

#[test]
fn one_key_is_purged_without_its_neighbours_and_only_if_the_rest_of_the_filter_agrees() {
    let volume = Volume::new(64 * MIB);
    let store = volume.open(Policy::default());
    for key in ["a", "ab"] {
        put(&store, key, 1, SMALL);
    }
    let only =
        |class: u8| Filter { key: Some("a".into()), matches: Box::new(move |_, found| found == class) };
    assert_eq!(store.purge(&only(2)).objects, 0);
    let purged = store.purge(&only(1));
    assert_eq!((purged.objects, purged.bytes), (1, SMALL));
    assert!(!has(&store, "a") && has(&store, "ab"));
}

#[test]
fn a_fill_that_began_before_a_purge_puts_nothing_back() {
    let volume = Volume::new(64 * MIB);
    let store = volume.open(Policy::default());
    let object = store.create("a", 0, 2 * MIB, b"").unwrap();
    fill(&object, "a", 0).unwrap();
    let mut begun = object.begin(1).unwrap();
    let bytes = bytes_of("a", 1, object.length_of(1));
    begun.append(&bytes[..1000]).unwrap();
    // Another object has no committed piece at all: no index knows it.
    let unknown = store.create("b", 0, MIB, b"").unwrap();
    let mut other = unknown.begin(0).unwrap();
    let purged = store.purge(&matching(|_, _| true));
    assert_eq!((purged.objects, purged.bytes), (2, MIB));
    begun.append(&bytes[1000..]).unwrap();
    assert!(
        begun.reader().read(0, 1000).is_ok_and(|read| read == bytes[..1000]),
        "whoever follows it reads on"
    );
    assert!(matches!(begun.commit(Sha256::digest(&bytes).into(), Trust::Origin), Err(FillError::Removed)));
    other.append(&bytes).unwrap();
    assert!(matches!(other.commit(Sha256::digest(&bytes).into(), Trust::Origin), Err(FillError::Removed)));
    assert!(matches!(object.begin(0), Err(FillError::Removed)));
    assert!(store.get("a").is_none() && store.get("b").is_none());
    store.flush();
    assert_eq!(store.list(&Filter::all(), None, 10).unwrap().entries, []);
    drop((object, unknown));
    wait("all space is given back", || usage(&store).pieces == 0);
}

#[test]
fn bytes_that_somebody_holds_stay_as_they_are_while_their_object_is_evicted_and_purged() {
    let volume = Volume::new(64 * MIB);
    let store = volume.open(Policy { shares: [(1, 5)].into(), ..Policy::default() });
    assert!((3 * MIB..4 * MIB).contains(&(usage(&store).piece_limit / 20)), "{:?}", usage(&store));
    // Two groups of two pieces: the share evicts the first while its bytes are held, then the purge takes the second.
    let object = store.create("a", 1, 66 * MIB, b"").unwrap();
    fill(&object, "a", 0).unwrap();
    let held = object.read(0, 0, 1 << 20).unwrap();
    for piece in [1, 64, 65] {
        fill(&object, "a", piece).unwrap();
    }
    store.flush();
    assert_eq!((object.has(0), object.committed()), (false, 2));
    let purged = store.purge(&Filter::all());
    assert_eq!((purged.objects, purged.bytes), (1, 2 * MIB));
    for number in 0..40 {
        put(&store, &format!("{number}"), 0, MIB);
    }
    store.flush();
    assert!(held[..] == bytes_of("a", 0, 1 << 20)[..], "bytes changed under their reader");
    assert!(usage(&store).pieces >= 41 * MIB, "bytes that are still read are counted");
    drop((held, object));
    assert_eq!(store.purge(&Filter::all()).survivors, []);
    wait("all space is given back", || usage(&store).pieces == 0);
}
