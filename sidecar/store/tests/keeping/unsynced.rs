//! A store that is never synced still closes in order.

use connected_cache_store::Policy;

use crate::support::{MIB, SMALL, Volume, has, put};

#[test]
fn what_was_stored_without_syncing_is_there_after_a_close() {
    let volume = Volume::new(32 * MIB);
    let unsynced = || Policy { unsynced: true, ..Policy::default() };
    let keys: Vec<String> = (0..20).map(|number| format!("key {number}")).collect();
    {
        let store = volume.open(unsynced());
        for key in &keys {
            put(&store, key, 0, SMALL);
        }
        store.flush();
        store.close();
    }
    let store = volume.open(unsynced());
    assert!(keys.iter().all(|key| has(&store, key)));
}
