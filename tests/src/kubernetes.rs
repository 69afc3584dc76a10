//! Small helpers over the Kubernetes client: applying, waiting, reading through the API server's proxy.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use connected_cache_api::{ConnectedCache, crd};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::{Condition, await_condition};
use kube::{Client, CustomResourceExt as _, Resource, ResourceExt, discovery};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::lab::LAB_LABEL;

/// Field manager of everything that the harness applies.
pub const FIELD_MANAGER: &str = "connected-cache-tests";

/// The longest that any single condition may take on a busy two-core machine.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Creates the namespace, with Pod Security "restricted" enforced, unless it is there.
pub async fn ensure_restricted_namespace(client: &Client, name: &str) -> Result<()> {
    apply(
        client,
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted", LAB_LABEL: ""}},
        }),
    )
    .await
    .map(drop)
}

/// Server-side apply of any object, as `kubectl apply --server-side` does it.
pub async fn apply(client: &Client, object: Value) -> Result<DynamicObject> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let types = object.types.clone().context("an object needs apiVersion and kind")?;
    let kind = GroupVersionKind::try_from(&types)?;
    let (resource, capabilities) = discovery::pinned_kind(client, &kind).await?;
    let api: Api<DynamicObject> = match (&object.metadata.namespace, capabilities.scope) {
        (Some(namespace), discovery::Scope::Namespaced) => {
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
        _ => Api::all_with(client.clone(), &resource),
    };
    let name = object.name_any();
    api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&object))
        .await
        .with_context(|| format!("unable to apply {} {name}", types.kind))
}

/// Applies our definition and waits until its kind can be used.
///
/// "Established" is not enough: the API server's discovery documents and its handler learn of the kind a moment later, and
/// answer 404 until then.
pub async fn define_connected_cache(client: &Client) -> Result<()> {
    apply(client, serde_json::to_value(crd())?).await.context("the API server refuses the definition")?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    wait_for(definitions, ConnectedCache::crd_name(), "established", is_crd_established()).await?;
    let kind = GroupVersionKind::gvk("connectedcache.dev", "v1alpha1", "ConnectedCache");
    let caches: Api<ConnectedCache> = Api::all(client.clone());
    let mut look = tokio::time::interval(Duration::from_millis(100));
    let served = tokio::time::timeout(PATIENCE, async {
        loop {
            look.tick().await;
            let seen = match discovery::pinned_kind(client, &kind).await {
                Ok(_) => caches.list(&ListParams::default().limit(1)).await.map(drop),
                Err(error) => Err(error),
            };
            match seen {
                Err(error) if is_unknown_kind(&error) => {}
                outcome => return outcome,
            }
        }
    });
    served.await.context("the API server never served the kind")??;
    Ok(())
}

/// Whether the API server answered that it has no such kind.
fn is_unknown_kind(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 404,
        kube::Error::Discovery(_) => true,
        _ => false,
    }
}

/// Waits until `condition` holds for the named object, at most [`PATIENCE`].
pub async fn wait_for<K>(
    api: Api<K>,
    name: &str,
    what: &str,
    condition: impl Condition<K>,
) -> Result<Option<K>>
where
    K: Clone + Debug + Send + DeserializeOwned + Resource + 'static,
{
    wait_at_most(PATIENCE, api, name, what, condition).await
}

/// Waits until `condition` holds for the named object, at most `limit`.
pub async fn wait_at_most<K>(
    limit: Duration,
    api: Api<K>,
    name: &str,
    what: &str,
    condition: impl Condition<K>,
) -> Result<Option<K>>
where
    K: Clone + Debug + Send + DeserializeOwned + Resource + 'static,
{
    match tokio::time::timeout(limit, await_condition(api, name, condition)).await {
        Ok(outcome) => outcome.with_context(|| format!("unable to watch {name}")),
        Err(_) => bail!("{name}: not {what} after {} s", limit.as_secs()),
    }
}

/// Condition: the pod's Ready condition is true.
#[must_use]
pub fn pod_ready() -> impl Condition<Pod> {
    |pod: Option<&Pod>| pod.is_some_and(is_ready)
}

/// Whether the pod's Ready condition is true and it is not being deleted.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.status.as_ref().and_then(|status| status.conditions.as_ref()).is_some_and(|conditions| {
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        })
}

/// Condition: the pod has ended, well or badly.
#[must_use]
pub fn pod_ended() -> impl Condition<Pod> {
    |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.status.as_ref())
            .and_then(|status| status.phase.as_deref())
            .is_some_and(|phase| matches!(phase, "Succeeded" | "Failed"))
    }
}

/// Reads `path` of a pod's port through the API server.
pub async fn pod_get(client: &Client, namespace: &str, pod: &str, port: u16, path: &str) -> Result<String> {
    let target = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}");
    let request = http::Request::get(&target).body(Vec::new())?;
    client.request_text(request).await.with_context(|| format!("unable to read {target}"))
}

/// As [`pod_get`], but as somebody inside the pod, for what is told to nobody else.
pub async fn pod_get_inside(
    client: &Client,
    namespace: &str,
    pod: &str,
    port: u16,
    path: &str,
) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut forwarder = pods.portforward(pod, &[port]).await.with_context(|| format!("no way into {pod}"))?;
    let mut stream =
        forwarder.take_stream(port).with_context(|| format!("no way to port {port} of {pod}"))?;
    // A server answers HTTP/1.0 without framing, and ends with the answer.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.with_context(|| format!("{pod} does not answer {path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    ensure!(status == "200", "{pod} answers {path} with {status}: {body}");
    Ok(body.to_owned())
}

/// Sends `body` to `path` of a pod's port through the API server.
pub async fn pod_send(
    client: &Client,
    namespace: &str,
    pod: &str,
    port: u16,
    method: http::Method,
    path: &str,
    body: &Value,
) -> Result<String> {
    let target = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}");
    let request = http::Request::builder()
        .method(method)
        .uri(&target)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(body)?)?;
    client.request_text(request).await.with_context(|| format!("unable to send to {target}"))
}

/// Names of the schedulable nodes, sorted.
pub async fn node_names(client: &Client) -> Result<Vec<String>> {
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
    let mut names: Vec<String> = nodes
        .list(&ListParams::default())
        .await?
        .into_iter()
        .filter(|node| {
            let spec = node.spec.clone().unwrap_or_default();
            let tainted = spec.taints.unwrap_or_default().iter().any(|taint| taint.effect == "NoSchedule");
            !tainted && !spec.unschedulable.unwrap_or_default()
        })
        .map(|node| node.name_any())
        .collect();
    names.sort();
    Ok(names)
}

/// Deletes a namespace and waits until it and all that was in it is gone.
pub async fn delete_namespace(client: &Client, name: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    delete(&namespaces, name).await?;
    wait_for(namespaces, name, "gone", |namespace: Option<&Namespace>| namespace.is_none()).await.map(drop)
}

/// Deletes an object; one that is not there counts as deleted.
pub async fn delete<K>(api: &Api<K>, name: &str) -> Result<()>
where
    K: Clone + Debug + DeserializeOwned,
{
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("unable to delete {name}")),
    }
}

/// The pod and container security context that Pod Security "restricted" asks for, for the harness's own pods.
#[must_use]
pub fn restricted_pod(container: Value) -> Value {
    let mut container = container;
    container["securityContext"] = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
    });
    container["imagePullPolicy"] = json!("IfNotPresent");
    json!({
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 2,
        "containers": [container],
    })
}
