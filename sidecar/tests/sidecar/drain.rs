//! Ending in order: readiness first, then no new connections, then the running transfers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::net::TcpStream;

use crate::support::{Connection, Content, Fault, HOST, MIB, Setup, eventually};

#[tokio::test]
async fn readiness_falls_first_new_clients_are_served_meanwhile_and_transfers_end_whole() {
    let setup = Arc::new(Setup::start_with(|config| config.shutdown.drain_seconds = 1).await);
    let content = Content::new(MIB, 1);
    setup.origin.put("/slow", &content);
    setup.origin.put("/f", &Content::new(10, 1));
    setup.origin.set_fault("/slow", Some(Fault::GateAfter(1000)));
    let mut transfer = setup.connect().await;
    transfer.request("GET", &format!("/slow?cacheHostOrigin={HOST}"), &[]).await;
    transfer.head().await;
    transfer.wait_for_body(1000).await;
    let mut idle = setup.connect().await;
    idle.ask("GET", &format!("/f?cacheHostOrigin={HOST}"), &[]).await;
    assert_eq!(setup.admin("/readyz").await.status, 200);

    let began = Instant::now();
    let draining = tokio::spawn({
        let setup = setup.clone();
        async move { setup.sidecar().drain().await }
    });
    eventually("readiness falls", || async { setup.admin("/readyz").await.status == 503 }).await;
    assert_eq!(setup.admin("/livez").await.status, 200);
    assert_eq!(setup.get("/f", &[]).await.status, 200, "load balancers have not noticed yet");

    // The idle connection is ended only after the time for load balancers.
    assert!(idle.ends().await);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    let address = setup.sidecar().http_address().unwrap();
    eventually("nothing is accepted any more", || async { TcpStream::connect(address).await.is_err() }).await;
    assert!(!draining.is_finished(), "a transfer still runs");
    setup.origin.open_gate();
    let length = usize::try_from(content.length).unwrap();
    assert!(transfer.wait_for_body(length).await == content.whole(), "the transfer ended short");
    draining.await.unwrap();
}

#[tokio::test]
async fn a_client_that_came_just_before_the_listeners_closed_is_answered() {
    let setup = Setup::start_with(|config| config.shutdown.drain_seconds = 0).await;
    setup.origin.put("/f", &Content::new(10, 1));
    let address = setup.sidecar().http_address().unwrap();
    // Accepted, but nothing was asked yet.
    let mut accepted = setup.connect().await;
    eventually("it is accepted", || async {
        setup.admin("/metrics").await.text().contains("connectedcache_connections{protocol=\"http\"} 1\n")
    })
    .await;
    // In the listener's queue: nothing else of this runtime runs between this and the end of accepting.
    let mut queued = Connection::open_at_once(address);

    let ((), answers) = tokio::join!(setup.sidecar().drain(), async {
        // Nothing is accepted any more from the first turn of the other one on.
        let target = format!("/f?cacheHostOrigin={HOST}");
        let answers = [queued.ask("GET", &target, &[]).await, accepted.ask("GET", &target, &[]).await];
        assert!(queued.ends().await && accepted.ends().await, "who was answered asks elsewhere next time");
        answers
    });
    for answer in answers {
        assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")));
    }
}

#[tokio::test]
async fn a_transfer_that_does_not_end_is_cut_after_the_grace_time() {
    let mut setup = Setup::start_with(|config| config.shutdown.grace_seconds = 1).await;
    setup.origin.put("/f", &Content::new(MIB, 1));
    setup.origin.set_fault("/f", Some(Fault::GateAfter(1000)));
    let mut transfer = setup.connect().await;
    transfer.request("GET", &format!("/f?cacheHostOrigin={HOST}"), &[]).await;
    transfer.head().await;
    let began = Instant::now();
    setup.stop().await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}
