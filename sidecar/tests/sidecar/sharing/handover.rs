//! A pod that leaves hands over what it holds.

use super::lab::Pods;
use crate::support::{Content, MIB};

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_leaving_pod_holds_is_taken_over_and_not_fetched_again() {
    let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false).try_init();
    let mut pods = Pods::configured(3, |_, _| {}).await;
    let (content, small) = (Content::new(33 * MIB + 7, 1), Content::new(500, 2));
    let content_bytes = pods.put("/f", &content);
    let small_bytes = pods.put("/small", &small);
    // It is alone, so it holds everything.
    pods.start_pod(2).await;
    pods.read(2, "/f", &content_bytes).await;
    pods.read(2, "/small", &small_bytes).await;
    pods.start_pod(0).await;
    pods.start_pod(1).await;
    let reply = pods.admin(2, "POST", "/sharing/handover").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let outcome: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(outcome["bytes"], content.length + small.length, "{outcome}");
    assert_eq!((&outcome["failed"], &outcome["isCut"]), (&0.into(), &false.into()));
    pods.stop_pod(2).await;
    for pod in [0, 1] {
        pods.read(pod, "/f", &content_bytes).await;
        pods.read(pod, "/small", &small_bytes).await;
    }
    assert_eq!(pods.origin_bytes(), 0, "bytes that the ones that stay fetched");
    pods.end().await;
}
