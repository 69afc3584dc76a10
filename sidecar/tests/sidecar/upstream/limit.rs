//! `upstream.maxConnectionsPerOrigin`, seen from the origin's side.

use std::sync::Arc;

use super::front::Front;
use crate::support::{Content, Fault, HOST, MIB, Origin, Setup, eventually};

const OBJECTS: u64 = 6;

/// A sidecar whose origin is behind a front.
async fn start(limit: u32) -> (Arc<Setup>, Arc<Front>) {
    let mut setup = Setup::start_with(|config| {
        config.upstream.max_connections_per_origin = limit;
        config.upstream.timeouts.connect_seconds = 1;
        config.upstream.timeouts.first_byte_seconds = 8;
    })
    .await;
    let front = Front::start(setup.origin.address()).await;
    setup.config.upstream.resolve.insert(HOST.into(), front.address);
    setup.restart().await;
    (Arc::new(setup), Arc::new(front))
}

/// Asks for all objects at once; every one is held back by the origin until its gate is opened.
async fn ask_for_all(setup: &Arc<Setup>) -> tokio::task::JoinSet<()> {
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..OBJECTS {
        let content = Content::new(5 * MIB + number, number);
        let path = format!("/{number}");
        setup.origin.put(&path, &content);
        setup.origin.set_fault(&path, Some(Fault::GateAfter(1000)));
        let setup = setup.clone();
        clients.spawn(async move {
            let reply = setup.get(&path, &[]).await;
            assert!(reply.status == 200 && reply.body == content.whole(), "{path}: {}", reply.status);
        });
    }
    eventually("everything was asked for", || async {
        setup.metric("connectedcache_origin_requests_total").await.unwrap() >= OBJECTS
    })
    .await;
    clients
}

async fn all_arrive(mut clients: tokio::task::JoinSet<()>, origin: &Origin) {
    origin.open_gate();
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_connections_than_allowed_and_everything_arrives() {
    let (setup, front) = start(2).await;
    let clients = ask_for_all(&setup).await;
    eventually("both connections are in use", || async { setup.origin.seen().len() == 2 }).await;
    all_arrive(clients, &setup.origin).await;
    assert_eq!(front.most(), 2);
    // Those that nobody uses count as well: the next request takes one of them.
    setup.origin.put("/next", &Content::new(10, 1));
    assert_eq!(setup.get("/next", &[]).await.status, 200);
    assert_eq!(front.most(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_room_for_all_each_object_has_a_connection() {
    let (setup, front) = start(64).await;
    let clients = ask_for_all(&setup).await;
    let all = usize::try_from(OBJECTS).unwrap();
    eventually("each has a connection", || async { front.now() >= all }).await;
    all_arrive(clients, &setup.origin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_in_vain_is_504_and_what_failed_makes_room() {
    let setup = Setup::start_with(|config| {
        config.upstream.max_connections_per_origin = 1;
        config.upstream.timeouts.connect_seconds = 1;
        config.upstream.timeouts.first_byte_seconds = 1;
    })
    .await;
    setup.origin.put("/held", &Content::new(MIB, 1));
    setup.origin.set_fault("/held", Some(Fault::GateAfter(1000)));
    setup.origin.put("/waits", &Content::new(10, 1));
    let mut holder = setup.connect().await;
    holder.request("GET", &format!("/held?cacheHostOrigin={HOST}"), &[]).await;
    holder.wait_for_body(1000).await;
    assert_eq!(setup.get("/waits", &[]).await.status, 504);
    assert_eq!(setup.origin.seen().len(), 1, "only the one was asked for");
    setup.origin.open_gate();
    setup.origin.put("/f", &Content::new(10, 1));
    assert_eq!(setup.get("/f", &[]).await.status, 200);
    // A request that gets no answer gives its place back too.
    setup.origin.set_fault("/silent", Some(Fault::Silence));
    assert_eq!(setup.get("/silent", &[]).await.status, 504);
    setup.origin.put("/g", &Content::new(10, 1));
    assert_eq!(setup.get("/g", &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_origin_ended_meanwhile_costs_nobody_an_error() {
    let (setup, front) = start(2).await;
    for number in 0..20 {
        let path = format!("/{number}");
        setup.origin.put(&path, &Content::new(10, number));
        let reply = setup.get(&path, &[]).await;
        assert_eq!(reply.status, 200, "{number}: {}", reply.text());
        front.cut();
    }
    assert!(front.most() <= 2);
}
