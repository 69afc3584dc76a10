//! Many ask, one fetches.

use std::sync::Arc;

use connected_cache_config::{ByteSize, ReadAheadMode};
use connected_cache_sidecar::metrics::Source;

use crate::support::{Content, Fault, HOST, MIB, Setup, eventually};

const CLIENTS: usize = 50;

#[tokio::test]
async fn many_cold_clients_cost_one_fetch_and_read_along_while_it_runs() {
    let setup = Arc::new(Setup::start().await);
    let content = Content::new(MIB, 1);
    setup.origin.put("/f", &content);
    setup.origin.set_fault("/f", Some(Fault::GateAfter(4000)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (setup, content) = (setup.clone(), content.clone());
        clients.spawn(async move {
            let mut connection = setup.connect().await;
            connection.request("GET", &format!("/f?cacheHostOrigin={HOST}"), &[]).await;
            let (status, _) = connection.head().await;
            // The first bytes are here while the origin still holds back the rest.
            assert_eq!(
                (status, &connection.wait_for_body(4000).await[..4000]),
                (200, &content.bytes(0..4000)[..])
            );
            setup.origin.open_gate();
            let length = usize::try_from(content.length).unwrap();
            assert!(connection.wait_for_body(length).await == content.whole(), "bytes differ");
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert_eq!(setup.origin.ranges(), ["bytes=0-1048575"]);
    // One client's bytes are the fetched ones, the others' came from memory or disk.
    let served = |source| setup.sidecar().served_bytes(source);
    assert_eq!(setup.sidecar().origin_bytes(), MIB);
    assert_eq!(served(Source::Origin), MIB);
    assert_eq!(served(Source::Memory) + served(Source::Disk), (CLIENTS as u64 - 1) * MIB);
}

#[tokio::test]
async fn clients_of_one_failing_fetch_all_get_its_error() {
    let setup = Arc::new(Setup::start_with(|config| config.upstream.timeouts.first_byte_seconds = 1).await);
    setup.origin.set_fault("/f", Some(Fault::Silence));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let setup = setup.clone();
        clients.spawn(async move { setup.get("/f", &[]).await.status });
    }
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.unwrap(), 504);
    }
    assert_eq!(setup.origin.seen().len(), 1, "all of them waited for one request");
}

#[tokio::test]
async fn a_client_that_reads_ahead_of_another_fetches_nothing_twice() {
    let setup = Arc::new(Setup::start().await);
    let content = Content::new(20 * MIB + 5, 1);
    setup.origin.put("/f", &content);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..8_u64 {
        let (setup, content) = (setup.clone(), content.clone());
        clients.spawn(async move {
            let first = client * 2 * MIB + client;
            let reply = setup.get("/f", &[&format!("Range: bytes={first}-")]).await;
            assert!(reply.body == content.bytes(first..content.length), "client {client}");
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert!(setup.origin.ranges().len() <= 21, "more requests than pieces: {:?}", setup.origin.ranges());
    assert_eq!(setup.sidecar().origin_bytes(), content.length);
}

#[tokio::test]
async fn whole_object_read_ahead_fetches_what_nobody_asked_for() {
    let setup = Setup::start_with(|config| config.content.read_ahead.mode = ReadAheadMode::WholeObject).await;
    setup.origin.put("/f", &Content::new(7 * MIB, 1));
    setup.get("/f", &["Range: bytes=0-9"]).await;
    eventually("the whole object is stored", || async {
        let reply = setup.get("/f", &[&format!("Range: bytes={}-", 6 * MIB)]).await;
        reply.header("X-Cache") == Some("HIT")
    })
    .await;
    eventually("seven pieces were fetched", || async { setup.origin.seen().len() == 7 }).await;
}

#[tokio::test]
async fn many_contents_without_a_length_at_once_fit_into_little_memory() {
    let setup =
        Setup::start_with(|config| config.storage.memory = Some(ByteSize::from_bytes(16 << 20))).await;
    let contents: Vec<Content> = (0..12).map(|seed| Content::new(40_000 + seed * 150_000, seed)).collect();
    for (number, content) in contents.iter().enumerate() {
        setup.origin.put(&format!("/{number}"), content);
        setup.origin.set_fault(&format!("/{number}"), Some(Fault::Chunked));
    }
    let paths: Vec<String> = (0..contents.len()).map(|number| format!("/{number}")).collect();
    let replies = futures::future::join_all(paths.iter().map(|path| setup.get(path, &[]))).await;
    for (reply, content) in replies.iter().zip(&contents) {
        assert!(reply.status == 200 && reply.body == content.whole(), "{}: {}", content.length, reply.status);
    }
}

#[tokio::test]
async fn who_asks_piece_by_piece_finds_the_next_ones_on_their_way() {
    let setup = Setup::start().await;
    let content = Content::new(24 * MIB + 5, 1);
    setup.origin.put("/f", &content);
    for number in 0..25 {
        let (first, end) = (number * MIB, ((number + 1) * MIB).min(content.length));
        let reply = setup.get("/f", &[&format!("Range: bytes={first}-{}", end - 1)]).await;
        assert!(reply.status == 206 && reply.body == content.bytes(first..end), "piece {number}");
    }
    assert_eq!(setup.sidecar().origin_bytes(), content.length);
    // Three by themselves, then in runs of up to eight.
    assert!(setup.origin.seen().len() <= 12, "{:?}", setup.origin.ranges());
}

#[tokio::test]
async fn who_asks_here_and_there_gets_nothing_fetched_beside() {
    let setup = Setup::start().await;
    let content = Content::new(64 * MIB, 1);
    setup.origin.put("/f", &content);
    let mut asked = Vec::new();
    for number in [40, 3, 20, 41, 21, 60, 4] {
        let range = format!("bytes={}-{}", number * MIB, (number + 1) * MIB - 1);
        assert_eq!(setup.get("/f", &[&format!("Range: {range}")]).await.status, 206);
        asked.push(range);
    }
    asked.sort();
    assert_eq!(setup.origin.ranges(), asked);
}
