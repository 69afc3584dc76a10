//! What a person would look at first when a case failed: objects, pod states, events, logs.

use std::fmt::Write as _;

use connected_cache_api::ConnectedCache;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt};

use crate::case::ADMIN_PORT;
use crate::kubernetes::pod_get_inside;

/// What a pod is for.
const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// Lines of each log that are shown.
const LOG_LINES: i64 = 60;

/// A text for people; parts that can't be read say so instead of failing.
pub async fn describe_namespace(client: &Client, namespace: &str) -> String {
    let mut text = format!("--- namespace {namespace}\n");
    let caches: Api<ConnectedCache> = Api::namespaced(client.clone(), namespace);
    if let Ok(list) = caches.list(&ListParams::default()).await {
        for cache in list {
            let status = serde_json::to_string(&cache.status).unwrap_or_default();
            let _ = writeln!(text, "ConnectedCache {}: {status}", cache.name_any());
        }
    }
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    if let Ok(list) = claims.list(&ListParams::default()).await {
        for claim in list {
            let phase = claim.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            let _ = writeln!(text, "PersistentVolumeClaim {}: {phase}", claim.name_any());
        }
    }
    describe_events(client, namespace, &mut text).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    match pods.list(&ListParams::default()).await {
        Ok(list) => {
            for pod in list {
                describe_pod(&pods, &pod, &mut text).await;
                if pod.labels().get(COMPONENT_LABEL).is_some_and(|component| component == "cache") {
                    describe_sharing(client, namespace, &pod.name_any(), &mut text).await;
                }
            }
        }
        Err(error) => {
            let _ = writeln!(text, "pods can't be listed: {error}");
        }
    }
    text
}

async fn describe_events(client: &Client, namespace: &str, text: &mut String) {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    match events.list(&ListParams::default()).await {
        Ok(list) => {
            for event in list {
                let object = &event.involved_object;
                let _ = writeln!(
                    text,
                    "event {}/{} {}: {}",
                    object.kind.as_deref().unwrap_or("?"),
                    object.name.as_deref().unwrap_or("?"),
                    event.reason.as_deref().unwrap_or("?"),
                    event.message.as_deref().unwrap_or(""),
                );
            }
        }
        Err(error) => {
            let _ = writeln!(text, "events can't be listed: {error}");
        }
    }
}

/// What a pod of a cache says of the others.
async fn describe_sharing(client: &Client, namespace: &str, pod: &str, text: &mut String) {
    for path in ["/sharing", "/peers"] {
        match pod_get_inside(client, namespace, pod, ADMIN_PORT, path).await {
            Ok(said) => {
                let _ = writeln!(text, "  {path}: {said}");
            }
            Err(error) => {
                let _ = writeln!(text, "  {path}: {error:#}");
            }
        }
    }
}

async fn describe_pod(pods: &Api<Pod>, pod: &Pod, text: &mut String) {
    let name = pod.name_any();
    let status = pod.status.clone().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let _ = writeln!(text, "pod {name}: {} on {node}", status.phase.unwrap_or_default());
    for container in status.container_statuses.unwrap_or_default() {
        let state = serde_json::to_string(&container.state).unwrap_or_default();
        let _ = writeln!(
            text,
            "  container {}: ready={} restarts={} {state}",
            container.name, container.ready, container.restart_count
        );
        let parameters = LogParams {
            container: Some(container.name.clone()),
            tail_lines: Some(LOG_LINES),
            ..LogParams::default()
        };
        match pods.logs(&name, &parameters).await {
            Ok(log) => {
                for line in log.lines() {
                    let _ = writeln!(text, "  | {line}");
                }
            }
            Err(error) => {
                let _ = writeln!(text, "  | no log: {error}");
            }
        }
    }
}
