//! A real file system that has less room than the limit says.

use connected_cache_faulty_disk::LoopDisk;

use crate::cache::{Cache, OBJECT_BYTES, OBJECTS, left_out};

const MIB: u64 = 1 << 20;
/// Somebody else's file, which goes later.
const BALLAST: u64 = 24 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and loop devices"]
async fn a_disk_that_fills_up_costs_no_client_a_byte_and_takes_content_again_when_it_has_room() {
    if left_out(&LoopDisk::PROGRAMS) {
        return;
    }
    let disk = LoopDisk::start(64 * MIB).unwrap();
    let (volume, ballast) = (disk.path().join("volume"), disk.path().join("ballast"));
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(&ballast, vec![1; usize::try_from(BALLAST).unwrap()]).unwrap();
    let cache = Cache::start(&volume).await;
    let mut least_free = u64::MAX;
    // Three times what there is room for. Several at a time, so that many meet the full disk at once.
    let last = OBJECTS - 6;
    for first in (0..last).step_by(6) {
        cache.download(first..first + 6).await;
        least_free = least_free.min(disk.free_bytes().unwrap());
    }
    let room = 64 * MIB - BALLAST;
    assert!(last as u64 * OBJECT_BYTES > 2 * room, "too little was downloaded to fill the disk");
    assert!(least_free < 4 * MIB, "the disk was never full, {least_free} bytes were always free");
    let used = cache.storage_bytes("used").await;
    assert!(used < room, "{used} bytes are said to be on a disk with room for {room}");

    std::fs::remove_file(&ballast).unwrap();
    cache.wait_until_stored(last..last + 1).await;
    cache.wait_until_stored(last..OBJECTS).await;
    cache.wait_until_said(false).await;
    // What is stored now has to be there after a restart: it is on the disk and not only in memory.
    let mut cache = cache;
    cache.restart().await;
    assert!(cache.comes_from_disk(last..OBJECTS).await, "what was stored after the disk had room is gone");
    cache.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and loop devices"]
async fn a_disk_that_is_full_at_the_start_is_passed_by_until_it_has_room() {
    if left_out(&LoopDisk::PROGRAMS) {
        return;
    }
    let disk = LoopDisk::start(32 * MIB).unwrap();
    let (volume, ballast) = (disk.path().join("volume"), disk.path().join("ballast"));
    std::fs::create_dir(&volume).unwrap();
    let mut file = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    drop(file);
    let cache = Cache::start(&volume).await;
    cache.wait_until_said(true).await;
    cache.download(0..3).await;
    std::fs::remove_file(&ballast).unwrap();
    cache.wait_until_said(false).await;
    cache.wait_until_stored(0..3).await;
    let mut cache = cache;
    cache.restart().await;
    assert!(cache.comes_from_disk(0..3).await, "what was stored after the disk had room is gone");
    cache.end().await;
}
