//! The volume's limit holds at every instant, and what does not fit is served all the same.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use connected_cache_config::ByteSize;

use crate::support::{Content, MIB, Setup, eventually, files, used_bytes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_is_never_exceeded_while_many_objects_come_and_go() {
    const LIMIT: u64 = 12 * MIB;
    let setup = Arc::new(
        Setup::start_with(|config| config.storage.volumes[0].limit = ByteSize::from_bytes(LIMIT)).await,
    );
    let done = Arc::new(AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let (done, folder) = (done.clone(), setup.folder.path().to_owned());
        move || {
            let (mut highest, mut before) = (0, BTreeMap::<PathBuf, u64>::new());
            while !done.load(Ordering::Acquire) {
                let now: BTreeMap<_, _> = files(&folder).into_iter().collect();
                // A listing takes time, and files come and go meanwhile. What stands in two in a row was there all the time
                // between them, so that this sum was really on the volume at one instant.
                let both = now.iter().filter_map(|(path, size)| Some((*before.get(path)?).min(*size)));
                highest = highest.max(both.sum());
                before = now;
            }
            highest
        }
    });
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..6_u64 {
        let setup = setup.clone();
        clients.spawn(async move {
            for round in 0..6_u64 {
                let content = Content::new(2 * MIB + client * 1000 + round, client * 100 + round);
                let path = format!("/f{client}-{round}");
                setup.origin.put(&path, &content);
                let reply = setup.get(&path, &[]).await;
                assert!(reply.status == 200 && reply.body == content.whole(), "{path}");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    done.store(true, Ordering::Release);
    let highest: u64 = watcher.join().unwrap();
    assert!(highest <= LIMIT, "{highest} bytes were on the volume");
    assert!(highest > LIMIT / 2, "only {highest} bytes were ever used, this test would show nothing");
    let volume = setup.folder.path().display();
    let evicted = format!("connectedcache_evicted_bytes_total{{volume=\"{volume}\"}}");
    assert!(setup.metric(&evicted).await.unwrap() > 0);
    // All of it within the hour, and no piece is larger than its length.
    let pieces = setup.metric("connectedcache_evicted_age_seconds_count").await.unwrap();
    let young = setup.metric("connectedcache_evicted_age_seconds_bucket{le=\"3600\"}").await.unwrap();
    assert!(young == pieces && pieces * MIB >= setup.metric(&evicted).await.unwrap(), "{young} of {pieces}");
}

#[tokio::test]
async fn what_is_asked_for_again_outlives_what_passes_once() {
    let setup =
        Setup::start_with(|config| config.storage.volumes[0].limit = ByteSize::from_mebibytes(12)).await;
    setup.origin.put("/kept", &Content::new(2 * MIB, 99));
    setup.get("/kept", &[]).await;
    setup.wait_for_hit("/kept", "Range: bytes=0-").await;
    for number in 0..8 {
        let path = format!("/scan-{number}");
        setup.origin.put(&path, &Content::new(2 * MIB, number));
        setup.get(&path, &[]).await;
        assert_eq!(setup.get("/kept", &[]).await.header("X-Cache"), Some("HIT"), "after {number}");
    }
    assert_eq!(setup.get("/scan-0", &[]).await.header("X-Cache"), Some("MISS"));
}

#[tokio::test]
async fn an_object_larger_than_the_volume_is_served_whole() {
    let setup =
        Setup::start_with(|config| config.storage.volumes[0].limit = ByteSize::from_mebibytes(8)).await;
    let content = Content::new(11 * MIB + 3, 1);
    setup.origin.put("/f", &content);
    for _ in 0..2 {
        let reply = setup.get("/f", &[]).await;
        assert!(reply.status == 200 && reply.body == content.whole());
    }
    let used = used_bytes(setup.folder.path());
    assert!(used <= 8 * MIB, "{used}");
}

#[tokio::test]
async fn the_free_space_floor_is_kept_by_passing_through() {
    let setup =
        Setup::start_with(|config| config.storage.min_free = ByteSize::from_bytes(u64::MAX / 2)).await;
    let content = Content::new(2 * MIB, 1);
    setup.origin.put("/f", &content);
    for round in 1..3 {
        let reply = setup.get("/f", &[]).await;
        assert!(reply.status == 200 && reply.body == content.whole());
        assert_eq!(reply.header("X-Cache"), Some("MISS"));
        eventually("both pieces were passed through", || async {
            setup.metric("connectedcache_pieces_passed_through_total").await == Some(2 * round)
        })
        .await;
    }
    assert_eq!(used_bytes(&setup.folder.path().join("data")), 0);
}

#[tokio::test]
async fn a_lower_limit_after_a_restart_is_kept_too() {
    let mut setup = Setup::start().await;
    for number in 0..4 {
        setup.origin.put(&format!("/{number}"), &Content::new(2 * MIB, number));
        setup.get(&format!("/{number}"), &[]).await;
    }
    setup.config.storage.volumes[0].limit = ByteSize::from_mebibytes(7);
    setup.restart().await;
    eventually("the volume is below its new limit", || async { used_bytes(setup.folder.path()) <= 7 * MIB })
        .await;
    assert_eq!(setup.get("/3", &[]).await.header("X-Cache"), Some("HIT"), "the youngest stays");
}
