//! A bad object is refused by the API server with a message that says what to do.

use anyhow::{Result, ensure};
use connected_cache_tests::{Case, in_namespace};
use serde_json::{Value, json};

#[tokio::test]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn a_bad_cache_is_refused_with_a_message_that_helps() -> Result<()> {
    in_namespace("refusal", async |case: &Case| {
        let object = |spec: Value| {
            json!({
                "apiVersion": "connectedcache.dev/v1alpha1", "kind": "ConnectedCache",
                "metadata": {"name": "bad", "namespace": case.namespace}, "spec": spec,
            })
        };
        let cases = [
            (json!({"content": {"extraOrigins": [{"host": "https://cdn.example.edu/files"}]}}), "host"),
            (json!({"storage": {"volumes": []}}), "storage.volumes"),
            (json!({"storage": {"volumes": [{"name": "data", "size": "lots"}]}}), "size"),
            (json!({"replicas": -1}), "replicas"),
            (json!({"expose": {"type": "Gateway"}}), "expose.type"),
        ];
        for (spec, expected) in cases {
            let message = match case.apply(object(spec.clone())).await {
                Ok(()) => anyhow::bail!("accepted: {spec}"),
                Err(error) => format!("{error:#}"),
            };
            ensure!(message.contains(expected), "{spec}: the refusal does not name {expected:?}: {message}");
        }

        // The smallest object is a good one.
        case.apply(object(json!({}))).await
    })
    .await
}
