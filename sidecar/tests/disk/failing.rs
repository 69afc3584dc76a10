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
    // Stored bytes that the kernel was told to send from the disk end early when it can't, and the client goes on from there.
    // New content is stored a moment before it has been sent.
    let downloads = async {
        tokio::join!(cache.download_cut(0..3), cache.download_cut(31..40), cache.download_cut(40..46))
    };
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
        // Nothing of these can be on the disk.
        tokio::join!(cache.download(46..53), cache.download(53..60));
    };
    tokio::join!(downloads, dying);
    cache.wait_until_said(true).await;
    cache.download(0..3).await;
    recovers(&place, cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn a_disk_that_fails_for_a_while_loses_nothing_of_what_it_holds() {
    let Some((place, mut cache)) = started().await else { return };
    // After a restart nothing is known to be right: the index is needed for each first read.
    cache.restart().await;
    let faults = Faults::none().failing_reads(Errno::IO).failing_writes(Errno::IO).failing_syncs(Errno::IO);
    place.disk.set_faults(faults).unwrap();
    place.disk.drop_caches().unwrap();
    // New content makes the index fail a write, after which it refuses to be read.
    cache.download(3..9).await;
    cache.wait_until_said(true).await;
    cache.download(0..3).await;
    cache.download(0..3).await;
    place.disk.set_faults(Faults::none()).unwrap();
    cache.wait_until_said(false).await;
    assert!(cache.comes_from_disk(0..3).await, "something that was stored had to be fetched again");
    cache.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn a_read_only_volume_serves_what_was_not_read_since_the_start() {
    let Some((place, mut cache)) = started().await else { return };
    cache.restart().await;
    place.disk.set_faults(Faults::read_only()).unwrap();
    // The index fails a write and refuses to be read until it is opened anew, for reading only.
    cache.download(3..9).await;
    cache.wait_until_said(true).await;
    crate::cache::eventually("what was stored is served", async || cache.comes_from_disk(0..3).await).await;
    recovers(&place, cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn a_bad_sector_costs_its_piece_and_not_the_volume() {
    let Some((place, mut cache)) = started().await else { return };
    // In the third piece of every object, and beyond the end of the index.
    let place_of_it = (2 << 20) + 6000;
    assert!(cache.storage_bytes("index").await < place_of_it, "the index is hit, too");
    cache
        .restart_after(|config| {
            config.storage.scrub_mib_per_second = 1024;
            place.disk.set_faults(Faults::none().bad_place(place_of_it)).unwrap();
            place.disk.drop_caches().unwrap();
        })
        .await;
    crate::cache::eventually("the scrubber found the pieces", async || {
        cache.metric("connectedcache_pieces_rejected_total").await >= 3
    })
    .await;
    cache.wait_until_said(false).await;
    assert_eq!(cache.metric("connectedcache_pieces_rejected_total").await, 3, "other pieces went as well");
    place.disk.set_faults(Faults::none()).unwrap();
    cache.wait_until_stored(0..3).await;
    cache.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn what_a_failed_sync_lost_is_never_served() {
    let Some((place, cache)) = started().await else { return };
    let before = place.data_files();
    place.disk.set_faults(Faults::none().failing_syncs(Errno::IO)).unwrap();
    cache.download(3..9).await;
    cache.wait_until_said(true).await;
    // The disk never got what was written last, and the system has forgotten it.
    let lost: Vec<_> = place.data_files().into_iter().filter(|file| !before.contains(file)).collect();
    assert!(!lost.is_empty(), "nothing was written");
    for file in lost {
        let file = std::fs::File::options().write(true).open(file).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(0).unwrap();
        file.set_len(length).unwrap();
    }
    place.disk.drop_caches().unwrap();
    cache.download(3..9).await;
    place.disk.set_faults(Faults::none()).unwrap();
    cache.wait_until_said(false).await;
    cache.download(3..9).await;
    recovers(&place, cache).await;
}
