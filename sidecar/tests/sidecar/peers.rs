//! Requests between pods over mutual TLS, on real sockets with real certificates: who is let in, what happens when a pod
//! vanishes, and certificates that change while requests run.

mod liveness;
mod pod;
mod rotation;
mod trust;

use std::sync::Arc;

use bytes::Bytes;
use connected_cache_sidecar::peers::MOST_REQUEST_BYTES;
use futures::{StreamExt, stream::FuturesUnordered};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::Barrier;

use crate::support::eventually;
use pod::{Lab, Pod, ask, get};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_asks_another_and_reads_its_answer() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    let request = Request::post("/echo?a=b").body(Bytes::from_static(b"some words")).unwrap();
    let answer = one.client.send(&other.member(), request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "pod-0 asks /echo?a=b with some words");
    // In both directions at once, and more than once on the same connection.
    for _ in 0..3 {
        assert_eq!(ask(&other, &one, "/echo").await.unwrap(), "pod-1 asks /echo with ");
        assert_eq!(ask(&one, &other, "/echo").await.unwrap(), "pod-0 asks /echo with ");
    }
    assert_eq!(one.counters.peer_requests("answered"), 4);
    for pod in [&one, &other] {
        assert_eq!(pod.counters.peer_connections("out"), 1, "one connection to the other");
        assert_eq!(pod.counters.peer_connections("in"), 1, "one connection from the other");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_share_one_connection_and_none_holds_up_another() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    // Longer than what may be under way, and not read.
    let unread = get(&one, &other, "/bytes/1000000").await.unwrap();
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(get(&one, &other, "/forever").await.unwrap());
    }
    let asking = (0..100).map(|_| ask(&one, &other, "/bytes/100000"));
    for text in futures::future::join_all(asking).await {
        assert_eq!(text.unwrap().len(), 100_000);
    }
    assert_eq!(other.handler.held(), 100);
    assert_eq!(one.counters.peer_connections("out"), 1);
    // More than may be open is refused at once and harms nothing.
    let more: Vec<_> = futures::future::join_all((0..200).map(|_| get(&one, &other, "/forever"))).await;
    let busy =
        more.iter().filter(|answer| answer.as_ref().is_err_and(|error| error.label() == "busy")).count();
    assert_eq!(busy, 200 - (256 - 101), "of 256 streams 101 are taken");
    // Giving up ends what was begun for it over there.
    drop((held, more));
    eventually("the answers are dropped", || async { other.handler.held() == 0 }).await;
    let whole = unread.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(whole.len(), 1_000_000);
    assert_eq!(one.counters.peer_connections("out"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_that_begin_at_once_on_a_new_connection_are_all_answered() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let other = Arc::new(lab.pod("pod-1").await);
    for _ in 0..20 {
        let one = Arc::new(lab.pod("pod-0").await);
        let together = Arc::new(Barrier::new(64));
        let asking: Vec<_> = (0..64)
            .map(|number| {
                let (one, other, together) = (one.clone(), other.clone(), together.clone());
                tokio::spawn(async move {
                    together.wait().await;
                    (ask(&one, &other, &format!("/echo?{number}")).await, number)
                })
            })
            .collect();
        for asking in asking {
            let (text, number) = asking.await.unwrap();
            assert_eq!(text.unwrap(), format!("pod-0 asks /echo?{number} with "));
        }
        assert_eq!(one.counters.peer_connections("out"), 1, "all went over one connection");
        assert_eq!(one.counters.peer_requests("answered"), 64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_that_are_given_up_at_once_harm_no_other() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    let mut kept = get(&one, &other, "/steps").await.unwrap().into_body();
    for _ in 0..10 {
        let mut asking: FuturesUnordered<_> = (0..200).map(|_| get(&one, &other, "/never")).collect();
        // Each has begun when it was polled once; none is ever answered.
        assert!(futures::poll!(asking.next()).is_pending());
        tokio::task::yield_now().await;
        drop(asking);
    }
    assert_eq!(ask(&one, &other, "/echo").await.unwrap(), "pod-0 asks /echo with ");
    eventually("nothing answers them any more", || async { other.handler.held() == 0 }).await;
    other.handler.step("still there");
    assert_eq!(kept.frame().await.unwrap().unwrap().into_data().unwrap(), "still there");
    assert_eq!(one.counters.peer_connections("out"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_read_as_it_comes_into_being() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    let mut body = get(&one, &other, "/steps").await.unwrap().into_body();
    for step in ["first", "second"] {
        other.handler.step(step);
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), step);
    }
    other.handler.end_steps();
    assert!(body.frame().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_given_up_ends_what_answers_it() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    let asking = tokio::spawn({
        let (client, member) = (one.client.clone(), other.member());
        async move { client.send(&member, Request::get("/never").body(Bytes::new()).unwrap()).await.map(drop) }
    });
    eventually("it is being answered", || async { other.handler.held() == 1 }).await;
    asking.abort();
    eventually("nothing answers it any more", || async { other.handler.held() == 0 }).await;
    assert_eq!(ask(&one, &other, "/echo").await.unwrap(), "pod-0 asks /echo with ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_beyond_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    for (length, status) in
        [(MOST_REQUEST_BYTES, StatusCode::OK), (MOST_REQUEST_BYTES + 1, StatusCode::PAYLOAD_TOO_LARGE)]
    {
        let request = Request::post("/length").body(Bytes::from(vec![7; length])).unwrap();
        let answer = one.client.send(&other.member(), request).await.unwrap();
        assert_eq!(answer.status(), status, "{length}");
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        if status == StatusCode::OK {
            assert_eq!(text, MOST_REQUEST_BYTES.to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_beyond_the_limit_is_refused_and_the_connection_goes_on() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    for (length, status) in
        [(15 * 1024, StatusCode::OK), (16 * 1024, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)]
    {
        let request = Request::get("/echo").header("x-long", "a".repeat(length));
        let answer = one.client.send(&other.member(), request.body(Bytes::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{length}");
    }
    assert_eq!(ask(&one, &other, "/echo").await.unwrap(), "pod-0 asks /echo with ");
    assert_eq!(one.counters.peer_connections("out"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_costs_its_own_request_alone() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    let held = get(&one, &other, "/forever").await.unwrap();
    let answer = get(&one, &other, "/panic").await.unwrap();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(ask(&one, &other, "/echo").await.unwrap(), "pod-0 asks /echo with ");
    assert_eq!(other.handler.held(), 1);
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_leaves_ends_running_requests_in_order() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, mut other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    let mut running = get(&one, &other, "/steps").await.unwrap().into_body();
    other.handler.step("before");
    assert_eq!(running.frame().await.unwrap().unwrap().into_data().unwrap(), "before");
    other.leave();
    eventually("nobody is let in any more", || async {
        matches!(get(&one, &other, "/echo").await, Err(error) if error.label() == "unreachable")
    })
    .await;
    other.handler.step("after");
    assert_eq!(running.frame().await.unwrap().unwrap().into_data().unwrap(), "after");
    other.handler.end_steps();
    assert!(running.frame().await.is_none());
    other.ended().await;
    assert_eq!(other.counters.peer_connections("in"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_an_address_is_said_to_have_none() {
    let lab = Arc::new(Lab::new(&["pod-0", "pod-1"]));
    let one: Pod = lab.pod("pod-0").await;
    let mut member = one.member();
    member.peers = None;
    let request = Request::get("/").body(Bytes::new()).unwrap();
    let error = one.client.send(&member, request).await.unwrap_err();
    assert_eq!(error.label(), "no_address");
    assert_eq!(one.counters.peer_requests("no_address"), 1);
}
