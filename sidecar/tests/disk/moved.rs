//! Content of a volume that fails while another one works.

use connected_cache_config::{ByteSize, Volume};
use connected_cache_faulty_disk::Faults;
use rustix::io::Errno;

use crate::cache::{Cache, OBJECT_BYTES, Place, eventually, left_out};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and /dev/fuse"]
async fn content_of_a_failing_volume_moves_to_one_that_works_and_the_older_copy_goes_in_the_end() {
    if left_out(&[]) {
        return;
    }
    let (place, second) = (Place::new(), tempfile::tempdir().unwrap());
    let mut cache = Cache::start(&place.path()).await;
    cache.wait_until_stored(0..3).await;
    let faults = Faults::none().failing_reads(Errno::IO).failing_writes(Errno::IO).failing_syncs(Errno::IO);
    cache
        .restart_after(|config| {
            let path = second.path().to_owned();
            config.storage.volumes.push(Volume { path, limit: ByteSize::from_gibibytes(1) });
        })
        .await;
    cache.wait_until_said(false).await;
    let pieces = async |cache: &Cache| cache.storage_bytes("used").await - cache.storage_bytes("index").await;
    assert!(pieces(&cache).await >= 3 * OBJECT_BYTES);

    place.disk.set_faults(faults).unwrap();
    place.disk.drop_caches().unwrap();
    cache.download(0..3).await;
    cache.wait_until_said(true).await;
    // By another volume than the one that still fails.
    cache.wait_until_stored(0..3).await;
    cache.wait_until_said(true).await;

    place.disk.set_faults(Faults::none()).unwrap();
    cache.wait_until_said(false).await;
    eventually("the older copies are gone", async || pieces(&cache).await == 0).await;
    assert!(cache.comes_from_disk(0..3).await, "the younger copies are gone");
    cache.restart().await;
    assert_eq!(pieces(&cache).await, 0, "an older copy came back");
    assert!(cache.comes_from_disk(0..3).await, "the younger copies are gone after a restart");
    cache.end().await;
}
