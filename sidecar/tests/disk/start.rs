//! A disk that fails already when the sidecar starts.

use connected_cache_faulty_disk::Faults;
use rustix::io::Errno;

use crate::cache::{Cache, Place, left_out};

/// Three objects are stored, then the sidecar is started anew while the disk has these faults.
async fn started_with(faults: Faults) -> Option<(Place, Cache)> {
    if left_out(&[]) {
        return None;
    }
    let place = Place::new();
    let mut cache = Cache::start(&place.path()).await;
    cache.wait_until_stored(0..3).await;
    cache
        .restart_after(|_| {
            place.disk.set_faults(faults).unwrap();
            place.disk.drop_caches().unwrap();
        })
        .await;
    cache.wait_until_said(true).await;
    Some((place, cache))
}

/// The fault is over: what lay there is served and new content is stored, now and after a restart.
async fn recovers(place: &Place, mut cache: Cache) {
    place.disk.set_faults(Faults::none()).unwrap();
    cache.wait_until_said(false).await;
    assert!(cache.comes_from_disk(0..3).await, "what was stored before is gone");
    cache.wait_until_stored(20..26).await;
    let used = cache.storage_bytes("used").await - cache.storage_bytes("index").await;
    cache.restart().await;
    assert_eq!(cache.storage_bytes("used").await - cache.storage_bytes("index").await, used);
    assert!(cache.comes_from_disk(0..3).await, "what was stored before the fault is gone after a restart");
    assert!(cache.comes_from_disk(20..26).await, "what was stored after the fault is gone after a restart");
    cache.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn a_volume_that_is_read_only_at_the_start_serves_what_it_has() {
    let Some((place, cache)) = started_with(Faults::read_only()).await else { return };
    assert!(cache.comes_from_disk(0..3).await, "what was stored is served");
    cache.download(3..9).await;
    assert!(cache.comes_from_disk(0..3).await, "what was stored is served again");
    recovers(&place, cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn a_volume_whose_writes_fail_at_the_start_serves_what_it_has() {
    let faults = Faults::none().failing_writes(Errno::IO);
    let Some((place, cache)) = started_with(faults).await else { return };
    assert!(cache.comes_from_disk(0..3).await, "what was stored is served");
    cache.download(3..9).await;
    recovers(&place, cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn a_volume_where_everything_fails_at_the_start_is_passed_by() {
    let faults = Faults::none().failing_reads(Errno::IO).failing_writes(Errno::IO).failing_syncs(Errno::IO);
    let Some((place, cache)) = started_with(faults).await else { return };
    cache.download(0..6).await;
    recovers(&place, cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn an_empty_volume_that_fails_at_the_start_is_used_as_soon_as_it_works() {
    if left_out(&[]) {
        return;
    }
    let place = Place::new();
    place.disk.set_faults(Faults::read_only()).unwrap();
    let cache = Cache::start(&place.path()).await;
    cache.wait_until_said(true).await;
    cache.download(0..3).await;
    place.disk.set_faults(Faults::none()).unwrap();
    cache.wait_until_said(false).await;
    cache.wait_until_stored(0..3).await;
    recovers(&place, cache).await;
}
