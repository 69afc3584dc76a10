//! However clients are spread over the pods, the origin gives every byte once.

use std::sync::Arc;

use super::lab::Pods;
use crate::support::{Content, Fault, MIB};

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_read_through_one_pod_after_another_is_fetched_once() {
    let pods = Pods::start(3).await;
    let content = Content::new(20 * MIB + 5, 1);
    let content_bytes = pods.put("/f", &content);
    for pod in 0..3 {
        pods.read(pod, "/f", &content_bytes).await;
    }
    assert_eq!(pods.origin_bytes(), content.length);
    let from_peers: u64 = (0..3).map(|pod| pods.peer_bytes(pod)).sum();
    assert!(from_peers >= 2 * content.length - content.length / 3, "{from_peers}");
    pods.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_read_through_all_pods_at_once_is_fetched_once() {
    let pods = Arc::new(Pods::start(3).await);
    let content = Content::new(20 * MIB + 5, 2);
    let content_bytes = pods.put("/f", &content);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..15 {
        let (pods, bytes) = (pods.clone(), content_bytes.clone());
        clients.spawn(async move { pods.read(client % 3, "/f", &bytes).await });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert_eq!(pods.origin_bytes(), content.length);
    Arc::into_inner(pods).unwrap().end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_read_through_any_pod_cost_their_pieces_once() {
    let pods = Pods::start(3).await;
    let content = Content::new(30 * MIB, 3);
    let content_bytes = pods.put("/f", &content);
    for (number, piece) in [29, 0, 13, 13, 7, 8, 29, 0].into_iter().enumerate() {
        let (first, last) = (piece * MIB + 1000, piece * MIB + 2999);
        let reply = pods.get(number % 3, "/f", &[&format!("Range: bytes={first}-{last}")]).await;
        assert_eq!((reply.status, reply.cut), (206, false));
        assert!(
            reply.body == content_bytes[usize::try_from(first).unwrap()..=usize::try_from(last).unwrap()]
        );
    }
    assert_eq!(pods.origin_bytes(), 5 * MIB);
    pods.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_and_empty_objects_and_such_without_validators_are_right_through_every_pod() {
    let pods = Pods::start(2).await;
    let unnamed = Content { etag: None, last_modified: None, ..Content::new(3000, 4) };
    let contents = [Content::new(1, 1), Content::new(0, 2), Content::new(MIB, 3), unnamed];
    for (number, content) in contents.iter().enumerate() {
        let bytes = pods.put(&format!("/f{number}"), content);
        for pod in [0, 1, 0, 1] {
            pods.read(pod, &format!("/f{number}"), &bytes).await;
        }
    }
    pods.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_origin_refuses_is_refused_through_every_pod() {
    let pods = Pods::start(2).await;
    for pod in [0, 1] {
        assert_eq!(pods.get(pod, "/none", &[]).await.status, 404);
    }
    pods.origin.set_fault("/broken", Some(Fault::Status(500)));
    for pod in [0, 1] {
        assert_eq!(pods.get(pod, "/broken", &[]).await.status, 502);
    }
    pods.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_with_no_ranges_at_its_origin_is_right_through_every_pod() {
    let pods = Pods::start(3).await;
    let content = Content::new(9 * MIB + 9, 6);
    let content_bytes = pods.put("/f", &content);
    pods.origin.set_fault("/f", Some(Fault::NoRanges));
    for pod in 0..3 {
        pods.read(pod, "/f", &content_bytes).await;
    }
    pods.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pod_fills_from_its_siblings() {
    let mut pods = Pods::configured(3, |_, _| {}).await;
    let content = Content::new(40 * MIB, 7);
    let content_bytes = pods.put("/f", &content);
    pods.start_pod(0).await;
    pods.start_pod(1).await;
    pods.read(0, "/f", &content_bytes).await;
    pods.read(1, "/f", &content_bytes).await;
    let before = pods.origin_bytes();
    pods.start_pod(2).await;
    pods.read(2, "/f", &content_bytes).await;
    assert_eq!(pods.origin_bytes(), before);
    assert_eq!(pods.pod(2).origin_bytes(), 0);
    pods.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_what_is_stored_is_given_and_nothing_is_fetched_again() {
    let mut pods = Pods::start(2).await;
    let content = Content::new(17 * MIB + 1, 8);
    let content_bytes = pods.put("/f", &content);
    pods.read(0, "/f", &content_bytes).await;
    let fetched = pods.origin_bytes();
    assert_eq!(fetched, content.length);
    for pod in 0..2 {
        pods.stop_pod(pod).await;
    }
    for pod in 0..2 {
        pods.start_pod(pod).await;
    }
    pods.read(1, "/f", &content_bytes).await;
    assert_eq!(pods.origin_bytes(), 0, "bytes since the restart");
    pods.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_changed_at_its_origin_is_had_anew_although_other_pods_have_it_as_it_was() {
    let pods = Pods::start(3).await;
    let before = Content::new(20 * MIB, 9);
    pods.origin.put("/f", &before);
    for pod in 0..3 {
        let reply = pods.get(pod, "/f", &["Range: bytes=0-99"]).await;
        assert!(reply.body == before.bytes(0..100));
    }
    let after = Content { etag: Some("\"two\""), ..Content::new(20 * MIB, 10) };
    let bytes = pods.put("/f", &after);
    // Bytes of two states never follow each other: this one is cut.
    let reply = pods.get(0, "/f", &[]).await;
    assert!(reply.cut, "{} bytes came", reply.body.len());
    pods.read(0, "/f", &bytes).await;
    pods.end().await;
}
