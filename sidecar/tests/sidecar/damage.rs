//! What was damaged, half written or forged on a volume is never served.

use std::{fs, os::unix::fs::FileExt};

use crate::support::{Content, MIB, Setup, data_files, eventually};

/// The only data file of the volume.
fn data_file(setup: &Setup) -> std::path::PathBuf {
    let found = data_files(setup.folder.path());
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[tokio::test]
async fn a_flipped_bit_is_found_after_a_restart_and_fetched_again() {
    let mut setup = Setup::start_with(|config| config.storage.scrub_mib_per_second = 0).await;
    let content = Content::new(3 * MIB, 1);
    setup.origin.put("/f", &content);
    setup.get("/f", &[]).await;
    setup.wait_for_hit("/f", "Range: bytes=0-").await;
    setup.stop().await;
    let file = fs::File::options().read(true).write(true).open(data_file(&setup)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, MIB + 777).unwrap();
    file.write_all_at(&[byte[0] ^ 1], MIB + 777).unwrap();
    drop(file);
    setup.restart().await;
    setup.origin.forget();
    let reply = setup.get("/f", &[]).await;
    assert!(reply.body == content.whole(), "the flipped bit was served");
    assert_eq!(setup.origin.ranges(), ["bytes=1048576-2097151"]);
    assert_eq!(setup.metric("connectedcache_pieces_rejected_total").await, Some(1));
    // The damaged piece leaves the index first, then its bytes; after that it is stored anew by whoever asks.
    eventually("the piece is mended", || async {
        setup.get("/f", &[]).await;
        setup.origin.forget();
        setup.get("/f", &[]).await.body == content.whole() && setup.origin.seen().is_empty()
    })
    .await;
    setup.restart().await;
    assert_eq!(setup.get("/f", &[]).await.header("X-Cache"), Some("HIT"), "the piece was mended");
}

#[tokio::test]
async fn the_scrubber_finds_a_flipped_bit_that_nobody_reads() {
    let mut setup = Setup::start_with(|config| config.storage.scrub_mib_per_second = 1024).await;
    setup.origin.put("/f", &Content::new(2 * MIB, 1));
    setup.get("/f", &[]).await;
    setup.wait_for_hit("/f", "Range: bytes=0-").await;
    setup.stop().await;
    let file = fs::File::options().read(true).write(true).open(data_file(&setup)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, MIB).unwrap();
    file.write_all_at(&[byte[0] ^ 128], MIB).unwrap();
    drop(file);
    setup.restart().await;
    eventually("the damaged piece is found", || async {
        setup.metric("connectedcache_pieces_rejected_total").await == Some(1)
    })
    .await;
    eventually("the damaged piece is gone", || async {
        setup.get("/f", &["Range: bytes=1048576-1048576"]).await.header("X-Cache") == Some("MISS")
    })
    .await;
}

#[tokio::test]
async fn a_short_data_file_and_leftovers_of_a_crash_do_no_harm() {
    let mut setup = Setup::start().await;
    let content = Content::new(2 * MIB, 1);
    setup.origin.put("/f", &content);
    setup.get("/f", &[]).await;
    setup.wait_for_hit("/f", "Range: bytes=0-").await;
    setup.stop().await;
    fs::File::options().write(true).open(data_file(&setup)).unwrap().set_len(MIB + 5).unwrap();
    let leftover = setup.folder.path().join("data/07/0000000000000007");
    fs::write(&leftover, vec![1; 5000]).unwrap();
    setup.restart().await;
    assert!(setup.get("/f", &[]).await.body == content.whole());
    eventually("the leftover is removed", || async { !leftover.exists() }).await;
}

#[tokio::test]
async fn an_index_that_is_no_index_means_an_empty_volume() {
    let mut setup = Setup::start().await;
    let content = Content::new(MIB, 1);
    setup.origin.put("/f", &content);
    setup.get("/f", &[]).await;
    setup.stop().await;
    fs::write(setup.folder.path().join("index.redb"), vec![7; 100_000]).unwrap();
    setup.restart().await;
    let reply = setup.get("/f", &[]).await;
    assert_eq!(reply.header("X-Cache"), Some("MISS"));
    assert!(reply.body == content.whole());
}

#[tokio::test]
async fn a_data_file_that_vanishes_while_running_is_no_loss() {
    let setup = Setup::start().await;
    let content = Content::new(3 * MIB, 1);
    setup.origin.put("/f", &content);
    setup.get("/f", &[]).await;
    fs::remove_file(data_file(&setup)).unwrap();
    let reply = setup.get("/f", &[]).await;
    assert!(!reply.cut && reply.body == content.whole());
}
