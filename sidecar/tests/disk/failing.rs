//! A disk that refuses writes, reads or syncs for a while, or becomes read-only.

use connected_cache_faulty_disk::Faults;
use rustix::io::Errno;

use crate::cache::{Cache, Place, left_out};

/// A cache on a disk that works, with three objects stored on it.
async fn started() -> Option<(Place, Cache)> {
    if left_out(&[]) {
        return None;
    }
    let place = Place::new();
    let cache = Cache::start(&place.path()).await;
    cache.wait_until_stored(0..3).await;
    cache.wait_until_said(false).await;
    Some((place, cache))
}

/// The fault is over: the same sidecar stores again, on the disk.
async fn recovers(place: &Place, mut cache: Cache) {
    place.disk.set_faults(Faults::none()).unwrap();
    cache.wait_until_stored(20..26).await;
    cache.wait_until_said(false).await;
    cache.restart().await;
    assert!(cache.comes_from_disk(20..26).await, "what was stored after the fault is gone after a restart");
    cache.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn while_writes_fail_content_passes_through_and_what_is_stored_is_still_served() {
    let Some((place, cache)) = started().await else { return };
    place.disk.set_faults(Faults::none().failing_writes(Errno::IO)).unwrap();
    cache.download(3..9).await;
    cache.wait_until_said(true).await;
    cache.download(6..12).await;
    assert!(cache.comes_from_disk(0..3).await, "reading works");
    recovers(&place, cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn while_reads_fail_stored_content_is_fetched_again() {
    let Some((place, cache)) = started().await else { return };
    place.disk.set_faults(Faults::none().failing_reads(Errno::IO)).unwrap();
    place.disk.drop_caches().unwrap();
    cache.download(0..3).await;
    cache.wait_until_said(true).await;
    place.disk.drop_caches().unwrap();
    cache.download(0..6).await;
    recovers(&place, cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn while_syncs_fail_content_passes_through() {
    let Some((place, cache)) = started().await else { return };
    place.disk.set_faults(Faults::none().failing_syncs(Errno::IO)).unwrap();
    cache.download(3..9).await;
    cache.wait_until_said(true).await;
    cache.download(6..12).await;
    recovers(&place, cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn a_read_only_volume_serves_what_it_has_and_passes_the_rest_through() {
    let Some((place, cache)) = started().await else { return };
    place.disk.set_faults(Faults::read_only()).unwrap();
    cache.download(3..9).await;
    cache.wait_until_said(true).await;
    assert!(cache.comes_from_disk(0..3).await, "what was stored is served");
    cache.download(6..12).await;
    recovers(&place, cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn a_disk_that_dies_in_the_middle_of_a_download_sends_no_wrong_byte_and_new_content_does_not_even_pause()
 {
    let Some((place, cache)) = started().await else { return };
    // Stored and new content at once, while everything begins to fail.
    // Stored bytes that the kernel was told to send from the disk end early when it can't; the client goes on from there.
    let downloads =
        async { tokio::join!(cache.download_cut(0..3), cache.download(31..40), cache.download(40..46)) };
    let faults = Faults::none().failing_reads(Errno::IO).failing_writes(Errno::IO).failing_syncs(Errno::IO);
    let disk = &place.disk;
    let dying = async {
        // As soon as something of the new content has arrived.
        let before = cache.storage_bytes("used").await;
        crate::cache::eventually("new content is being stored", async || {
            cache.storage_bytes("used").await > before
        })
        .await;
        disk.set_faults(faults).unwrap();
        disk.drop_caches().unwrap();
    };
    tokio::join!(downloads, dying);
    cache.wait_until_said(true).await;
    cache.download(0..3).await;
    recovers(&place, cache).await;
}
