//! A volume that is not there any more.

use crate::cache::{Cache, OBJECT_BYTES, Place, left_out};

/// The volume is mounted again, and what it held before is served from it without a restart.
async fn is_served_again_once_mounted(place: &mut Place, cache: &Cache) {
    place.mount_anew();
    cache.wait_until_said(false).await;
    assert!(cache.comes_from_disk(0..3).await, "what the volume holds is not served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn a_disk_that_dies_under_its_mount_costs_no_client_a_byte_and_serves_again_after_a_restart() {
    if left_out(&[]) {
        return;
    }
    let mut place = Place::new();
    let mut cache = Cache::start(&place.path()).await;
    cache.wait_until_stored(0..3).await;
    cache.restart().await;
    place.disk.kill().unwrap();
    cache.download(3..9).await;
    cache.wait_until_said(true).await;
    cache.download(0..6).await;
    place.mount_anew();
    cache.restart().await;
    assert!(cache.comes_from_disk(0..3).await, "what was stored before the disk died is gone");
    cache.wait_until_said(false).await;
    cache.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn a_volume_that_is_unmounted_is_never_mistaken_for_the_folder_that_shows_in_its_place() {
    if left_out(&[]) {
        return;
    }
    let place = Place::new();
    let cache = Cache::start(&place.path()).await;
    cache.wait_until_stored(0..3).await;
    place.disk.detach().unwrap();
    cache.download(3..9).await;
    cache.wait_until_said(true).await;
    cache.download(0..12).await;
    cache.end().await;
    let found = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(found, 0, "something was written to the disk of the node");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn a_volume_that_is_mounted_anew_serves_what_it_holds_without_a_restart() {
    if left_out(&[]) {
        return;
    }
    let mut place = Place::new();
    let mut cache = Cache::start(&place.path()).await;
    cache.wait_until_stored(0..3).await;
    cache.restart().await;
    place.disk.detach().unwrap();
    cache.wait_until_said(true).await;
    cache.download(0..6).await;
    is_served_again_once_mounted(&mut place, &cache).await;
    cache.wait_until_stored(3..6).await;
    let pieces = async |cache: &Cache| cache.storage_bytes("used").await - cache.storage_bytes("index").await;
    let used = pieces(&cache).await;
    cache.restart().await;
    assert_eq!(pieces(&cache).await, used, "the bytes were counted wrong");
    assert!(cache.comes_from_disk(0..6).await, "what was stored is gone after a restart");
    cache.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn a_disk_that_died_is_used_again_once_it_is_mounted_anew() {
    if left_out(&[]) {
        return;
    }
    let mut place = Place::new();
    let cache = Cache::start(&place.path()).await;
    cache.wait_until_stored(0..3).await;
    // On the disk, not only committed in memory: the disk is dead from now on.
    let mut cache = cache;
    cache.restart().await;
    place.disk.kill().unwrap();
    cache.download(0..6).await;
    cache.wait_until_said(true).await;
    is_served_again_once_mounted(&mut place, &cache).await;
    cache.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn another_disk_in_the_place_of_a_volume_is_used_and_what_it_does_not_hold_is_forgotten() {
    if left_out(&[]) {
        return;
    }
    let mut place = Place::new();
    let cache = Cache::start(&place.path()).await;
    cache.wait_until_stored(0..6).await;
    place.disk.detach().unwrap();
    cache.wait_until_said(true).await;
    place.mount_another();
    cache.wait_until_said(false).await;
    let pieces = async || cache.storage_bytes("used").await - cache.storage_bytes("index").await;
    assert_eq!(pieces().await, 0, "bytes of the other disk are counted");
    cache.download(0..3).await;
    cache.wait_until_stored(0..3).await;
    assert_eq!(pieces().await, 3 * OBJECT_BYTES.next_multiple_of(4096));
    cache.end().await;
}
