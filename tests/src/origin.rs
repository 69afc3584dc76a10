//! The mock origin as a pod: the "internet" of a case, whose bytes are counted.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kubernetes::{apply, pod_get, pod_ready, pod_send, restricted_pod, wait_for};
use crate::lab::image;

/// The name that Windows machines ask for in these cases; the cache resolves it to the mock origin.
pub const ORIGIN_HOST: &str = "dl.delivery.mp.microsoft.com";
/// Name of the origin's pod and Service.
pub const NAME: &str = "origin";
const PORT: u16 = 8081;

/// A running mock origin.
#[derive(Clone, Debug)]
pub struct Origin {
    pod: &'static str,
    namespace: String,
    address: String,
}

/// What crossed the "internet" since the log was last cleared.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Requests answered, of any status.
    pub requests: u64,
    /// Body bytes written to sockets.
    pub body_bytes: u64,
}

/// What the origin serves: its own image with formulas, or another image that carries files.
#[derive(Clone, Debug)]
pub struct Content {
    /// Image to run; `None` = the mock's own image.
    pub image: Option<String>,
    /// The `content` block of the mock's configuration.
    pub content: Value,
}

impl Content {
    /// Objects computed by formula: `(path, length, seed)`.
    #[must_use]
    pub fn formulas(objects: &[(&str, &str, u64)]) -> Self {
        let formulas: Vec<Value> = objects
            .iter()
            .map(|(path, length, seed)| json!({"path": path, "length": length, "seed": seed}))
            .collect();
        Self { image: None, content: json!({"formulas": formulas}) }
    }
}

impl Origin {
    /// Starts the origin in `namespace` and waits until it answers.
    pub async fn start(client: &Client, namespace: &str, content: &Content) -> Result<Self> {
        let config = json!({"listen": {"http": format!("0.0.0.0:{PORT}")}, "content": content.content});
        let labels = json!({"app.kubernetes.io/name": NAME});
        apply(
            client,
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": namespace},
                "data": {"config.yaml": config.to_string()},
            }),
        )
        .await?;
        let mut pod = restricted_pod(json!({
            "name": "origin",
            "image": content.image.clone().unwrap_or_else(|| image("connected-cache-mock-control-plane")),
            "args": ["serve", "--config", "/etc/mock/config.yaml"],
            "ports": [{"name": "http", "containerPort": PORT}],
            "readinessProbe": {"httpGet": {"path": "/_healthz", "port": "http"}, "periodSeconds": 1},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/mock"}],
        }));
        pod["volumes"] = json!([{"name": "config", "configMap": {"name": NAME}}]);
        apply(
            client,
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": NAME, "namespace": namespace, "labels": labels}, "spec": pod,
            }),
        )
        .await?;
        apply(
            client,
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "namespace": namespace},
                "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
            }),
        )
        .await?;
        wait_for(Api::<Pod>::namespaced(client.clone(), namespace), NAME, "ready", pod_ready()).await?;
        let service = Api::<Service>::namespaced(client.clone(), namespace).get(NAME).await?;
        let address = service
            .spec
            .and_then(|spec| spec.cluster_ip)
            .context("the origin's Service has no cluster address")?;
        Ok(Self { pod: NAME, namespace: namespace.to_owned(), address: format!("{address}:80") })
    }

    /// `IP:port` of the origin's Service, for `spec.upstream.resolve`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where a pod of the same cluster reads the list of objects with their hashes.
    #[must_use]
    pub fn manifest_url(&self) -> String {
        format!("http://{}/_manifest", self.address)
    }

    /// Where a pod of the same cluster reads one object from the origin itself.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What crossed the "internet" since the last [`Self::clear`].
    pub async fn totals(&self, client: &Client) -> Result<Totals> {
        #[derive(Deserialize)]
        struct Requests {
            totals: Totals,
        }
        let text = pod_get(client, &self.namespace, self.pod, PORT, "/_requests").await?;
        Ok(serde_json::from_str::<Requests>(&text).context("the origin's request log can't be read")?.totals)
    }

    /// Forgets the requests so far.
    pub async fn clear(&self, client: &Client) -> Result<()> {
        let delete = http::Method::DELETE;
        pod_send(client, &self.namespace, self.pod, PORT, delete, "/_requests", &Value::Null).await.map(drop)
    }

    /// Replaces the list of faults.
    pub async fn set_faults(&self, client: &Client, faults: &Value) -> Result<()> {
        let put = http::Method::PUT;
        pod_send(client, &self.namespace, self.pod, PORT, put, "/_faults", faults).await.map(drop)
    }
}
