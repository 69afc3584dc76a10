//! A volume that is not there any more.

use crate::cache::{Cache, Place, left_out};

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
