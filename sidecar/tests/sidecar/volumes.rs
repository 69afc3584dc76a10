//! Volumes that can't be used, at the start and later.

use std::fs;

use connected_cache_config::{ByteSize, Volume};
use connected_cache_sidecar::Sidecar;

use crate::support::{Content, HOST, MIB, Origin, Setup, config, eventually, used_bytes};

#[tokio::test]
async fn a_missing_volume_and_one_that_is_a_file_end_the_start_with_words() {
    let (origin, folder) = (Origin::start().await, tempfile::tempdir().unwrap());
    fs::write(folder.path().join("file"), b"").unwrap();
    for (name, words) in [("missing", "No such file or directory"), ("file", "Not a directory")] {
        let mut config = config(&origin, folder.path());
        config.storage.volumes[0].path = folder.path().join(name);
        let error = Sidecar::start(config).await.unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(name), "{error}");
        assert!(error.contains("it must be a folder, mounted and writable"), "{error}");
    }
}

#[tokio::test]
async fn a_volume_that_fails_while_running_is_passed_by_and_clients_notice_nothing() {
    let setup = Setup::start().await;
    let content = Content::new(3 * MIB, 1);
    setup.origin.put("/f", &content);
    setup.origin.put("/stored", &content);
    setup.get("/stored", &[]).await;
    // Every data file is made below this folder; a file in its place makes that fail, for root too.
    fs::rename(setup.folder.path().join("data"), setup.folder.path().join("away")).unwrap();
    fs::write(setup.folder.path().join("data"), b"").unwrap();
    for _ in 0..2 {
        let reply = setup.get("/f", &[]).await;
        assert_eq!((reply.status, reply.header("X-Cache")), (200, Some("MISS")));
        assert!(!reply.cut && reply.body == content.whole());
    }
    assert_eq!(setup.get("/stored", &[]).await.header("X-Cache"), Some("HIT"), "reading still works");
    let ready = setup.admin("/readyz").await;
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("fails and is passed by"), "{}", ready.text());
    let volume = setup.folder.path().display();
    assert_eq!(
        setup.metric(&format!("connectedcache_storage_healthy{{volume=\"{volume}\"}}")).await,
        Some(0)
    );
    // As soon as it can be written to, it is used again.
    fs::remove_file(setup.folder.path().join("data")).unwrap();
    fs::rename(setup.folder.path().join("away"), setup.folder.path().join("data")).unwrap();
    eventually("content is stored again", || async {
        setup.get("/f", &[]).await.header("X-Cache") == Some("HIT")
    })
    .await;
}

#[tokio::test]
async fn a_slow_client_costs_one_copy_although_nothing_can_be_kept() {
    let setup =
        Setup::start_with(|config| config.storage.min_free = ByteSize::from_bytes(u64::MAX / 2)).await;
    let content = Content::new(24 * MIB, 1);
    setup.origin.put("/f", &content);
    let mut connection = setup.connect().await;
    connection.request("GET", &format!("/f?cacheHostOrigin={HOST}"), &[]).await;
    connection.head().await;
    // Pieces that were fetched ahead are complete, and no volume takes them, before anybody reads them.
    let passed = "connectedcache_pieces_passed_through_total";
    eventually("pieces are passed through", || async { setup.metric(passed).await >= Some(6) }).await;
    let length = usize::try_from(content.length).unwrap();
    assert!(connection.wait_for_body(length).await[..length] == content.whole());
    assert_eq!(setup.sidecar().origin_bytes(), content.length);
}

#[tokio::test]
async fn objects_spread_over_volumes_and_all_are_found_after_a_restart() {
    let second = tempfile::tempdir().unwrap();
    let mut setup = Setup::start_with(|config| {
        config
            .storage
            .volumes
            .push(Volume { path: second.path().to_owned(), limit: ByteSize::from_gibibytes(1) });
    })
    .await;
    for number in 0..6 {
        setup.origin.put(&format!("/{number}"), &Content::new(MIB, number));
        setup.get(&format!("/{number}"), &[]).await;
    }
    assert!(used_bytes(&setup.folder.path().join("data")) > 0);
    assert!(used_bytes(&second.path().join("data")) > 0);
    setup.restart().await;
    for number in 0..6 {
        assert_eq!(setup.get(&format!("/{number}"), &[]).await.header("X-Cache"), Some("HIT"), "{number}");
    }
}
