//! Lists: complete, in pages, without what is gone.

use std::collections::BTreeSet;

use connected_cache_store::{Entry, Filter, Policy, Store};

use crate::support::{MIB, SMALL, Volume, fill, matching, put};

fn whole(store: &Store, filter: &Filter, limit: usize) -> Vec<Entry> {
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(filter, after, limit).unwrap();
        assert!(page.entries.len() <= limit);
        assert!(page.next.is_none() || page.entries.len() == limit, "a short page that is not the last");
        entries.extend(page.entries);
        match page.next {
            // As a client carries it.
            Some(next) => after = Some(next.to_string().parse().unwrap()),
            None => return entries,
        }
    }
}

#[test]
fn every_stored_object_is_on_exactly_one_page_whatever_the_limit() {
    let (first, second) = (Volume::new(256 * MIB), Volume::new(256 * MIB));
    let store = Store::open_with(&[first.options(), second.options()], Policy::default()).unwrap();
    // More than are read from an index at once.
    let keys: BTreeSet<String> = (0..700).map(|number| format!("key {number}")).collect();
    for (number, key) in keys.iter().enumerate() {
        put(&store, key, u8::try_from(number % 2).unwrap(), 10);
    }
    store.create("nothing of it is stored", 0, SMALL, b"").unwrap();
    for limit in [1, 7, 256, 699, 700, 1000] {
        let entries = whole(&store, &Filter::all(), limit);
        assert_eq!(entries.len(), 700, "limit {limit}");
        let found: BTreeSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        assert_eq!(found, keys, "limit {limit}");
        let volumes: BTreeSet<_> = entries.iter().map(|entry| entry.volume.clone()).collect();
        assert_eq!(volumes, [first.path().to_owned(), second.path().to_owned()].into());
    }
    let chosen = matching(|key, class| class == 1 && key.ends_with('7'));
    let found: Vec<String> = whole(&store, &chosen, 3).into_iter().map(|entry| entry.key).collect();
    assert!(!found.is_empty() && found.iter().all(|key| key.ends_with('7')));
    assert_eq!(found.len(), keys.iter().skip(1).step_by(2).filter(|key| key.ends_with('7')).count());
}

#[test]
fn an_entry_says_what_is_stored_of_an_object() {
    let volume = Volume::new(64 * MIB);
    let store = volume.open(Policy::default());
    let object = store.create("http://a/b", 4, 3 * MIB + 1, b"").unwrap();
    fill(&object, "http://a/b", 3).unwrap();
    fill(&object, "http://a/b", 1).unwrap();
    object.touch(1, 4_000_000_000);
    let expected = Entry {
        key: "http://a/b".into(),
        class: 4,
        length: 3 * MIB + 1,
        stored_bytes: MIB + 4096,
        stored_pieces: 2,
        authenticated_pieces: 0,
        pieces: 4,
        last_used: 4_000_000_000,
        pinned: false,
        volume: volume.path().to_owned(),
    };
    let by_key = |key: &str| Filter { key: Some(key.into()), ..Filter::all() };
    for filter in [Filter::all(), by_key("http://a/b")] {
        assert_eq!(store.list(&filter, None, 10).unwrap().entries, std::slice::from_ref(&expected));
    }
    assert_eq!(store.list(&by_key("http://a/c"), None, 10).unwrap().entries, []);
}

#[test]
fn what_is_replaced_or_removed_between_two_pages_is_not_on_the_second() {
    let volume = Volume::new(64 * MIB);
    let store = volume.open(Policy::default());
    for key in ["a", "b", "c", "d"] {
        put(&store, key, 0, 10);
    }
    let first = store.list(&Filter::all(), None, 1).unwrap();
    assert_eq!(first.entries[0].key, "a");
    store.remove(&store.get("b").unwrap());
    let new = put(&store, "c", 0, 20);
    let rest = store.list(&Filter::all(), first.next, 10).unwrap().entries;
    let mut found: Vec<(&str, u64)> = rest.iter().map(|entry| (entry.key.as_str(), entry.length)).collect();
    found.sort_unstable();
    // The new generation is on it only if it reached the index by then.
    assert!(found == [("d", 10)] || found == [("c", 20), ("d", 10)], "{found:?}");
    drop(new);
    let all = store.list(&Filter::all(), None, 10).unwrap().entries;
    let mut found: Vec<(&str, u64)> = all.iter().map(|entry| (entry.key.as_str(), entry.length)).collect();
    found.sort_unstable();
    assert_eq!(found, [("a", 10), ("c", 20), ("d", 10)]);
}
