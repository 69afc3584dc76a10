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

use crate::support::{Content, MIB, Setup, files};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_is_never_exceeded_while_many_objects_come_and_go() {
    const LIMIT: u64 = 8 * MIB;
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
    assert!(setup.metric("connectedcache_evictions_total").await.unwrap() > 0);
}

#[tokio::test]
async fn the_least_recently_used_object_goes_first() {
    let setup =
        Setup::start_with(|config| config.storage.volumes[0].limit = ByteSize::from_mebibytes(6)).await;
    for (path, seed) in [("/a", 1), ("/b", 2), ("/c", 3)] {
        setup.origin.put(path, &Content::new(2 * MIB, seed));
    }
    setup.get("/a", &[]).await;
    setup.get("/b", &[]).await;
    assert_eq!(setup.get("/a", &[]).await.header("X-Cache"), Some("HIT"));
    setup.get("/c", &[]).await;
    assert_eq!(setup.get("/a", &[]).await.header("X-Cache"), Some("HIT"), "used after /b");
    assert_eq!(setup.get("/c", &[]).await.header("X-Cache"), Some("HIT"));
    assert_eq!(setup.get("/b", &[]).await.header("X-Cache"), Some("MISS"));
}

#[tokio::test]
async fn an_object_larger_than_the_volume_is_served_whole() {
    let setup =
        Setup::start_with(|config| config.storage.volumes[0].limit = ByteSize::from_mebibytes(4)).await;
    let content = Content::new(11 * MIB + 3, 1);
    setup.origin.put("/f", &content);
    for _ in 0..2 {
        let reply = setup.get("/f", &[]).await;
        assert!(reply.status == 200 && reply.body == content.whole());
    }
    let used: u64 = files(setup.folder.path()).iter().map(|(_, size)| size).sum();
    assert!(used > MIB && used <= 4 * MIB, "{used}");
}

#[tokio::test]
async fn the_free_space_floor_is_kept_by_passing_through() {
    let setup =
        Setup::start_with(|config| config.storage.min_free = ByteSize::from_bytes(u64::MAX / 2)).await;
    let content = Content::new(2 * MIB, 1);
    setup.origin.put("/f", &content);
    for _ in 0..2 {
        let reply = setup.get("/f", &[]).await;
        assert!(reply.status == 200 && reply.body == content.whole());
        assert_eq!(reply.header("X-Cache"), Some("MISS"));
    }
    assert_eq!(files(setup.folder.path()), []);
}

#[tokio::test]
async fn a_lower_limit_after_a_restart_is_kept_too() {
    let mut setup = Setup::start().await;
    for number in 0..4 {
        setup.origin.put(&format!("/{number}"), &Content::new(2 * MIB, number));
        setup.get(&format!("/{number}"), &[]).await;
    }
    setup.config.storage.volumes[0].limit = ByteSize::from_mebibytes(5);
    setup.restart().await;
    let used: u64 = files(setup.folder.path()).iter().map(|(_, size)| size).sum();
    assert!(used <= 5 * MIB, "{used}");
    assert_eq!(setup.get("/3", &[]).await.header("X-Cache"), Some("HIT"), "the youngest stays");
}
