//! The mock as a pod with its Service: an origin, the services of the control plane, or both.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Api, Client};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::kubernetes::{apply, pod_get, pod_ready, pod_send, restricted_pod, wait_for};
use crate::lab::image;

/// Container port of plain HTTP.
const HTTP_PORT: u16 = 8081;
/// Container port of HTTPS.
const HTTPS_PORT: u16 = 8444;

/// What the mock serves: its own image with formulas, or another image that carries files.
#[derive(Clone, Debug)]
pub struct Content {
    /// Image to run; `None` = the mock's own image.
    pub image: Option<String>,
    /// The `content` block of the mock's configuration.
    pub content: Value,
    /// The `controlPlane` block of the mock's configuration; `None` = the mock is an origin without piece hashes.
    pub control_plane: Option<Value>,
}

impl Content {
    /// Objects computed by formula: `(path, length, seed)`.
    #[must_use]
    pub fn formulas(objects: &[(&str, &str, u64)]) -> Self {
        let formulas: Vec<Value> = objects
            .iter()
            .map(|(path, length, seed)| json!({"path": path, "length": length, "seed": seed}))
            .collect();
        Self { image: None, content: json!({"formulas": formulas}), control_plane: None }
    }

    /// The same with piece hash files and the services that vouch for them. `block` is the `controlPlane` block of the
    /// mock's configuration.
    #[must_use]
    pub fn with_piece_hashes(self, block: Value) -> Self {
        Self { control_plane: Some(block), ..self }
    }
}

/// What was asked and sent since the log was last cleared.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Requests answered, of any status.
    pub requests: u64,
    /// Body bytes written to sockets.
    pub body_bytes: u64,
}

/// One request that the mock got.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// Path and query.
    pub target: String,
    /// Service of the control plane that it was for; `None` = content.
    pub service: Option<String>,
    /// Why a service refused it.
    pub refusal: Option<String>,
    /// Body bytes written so far.
    pub body_bytes: u64,
}

/// A running mock.
#[derive(Clone, Debug)]
pub(crate) struct Mock {
    name: &'static str,
    namespace: String,
    cluster_ip: String,
}

impl Mock {
    /// Starts a mock under this name in `namespace` and waits until it answers.
    pub(crate) async fn start(
        client: &Client,
        namespace: &str,
        name: &'static str,
        content: &Content,
    ) -> Result<Self> {
        let mut config =
            json!({"listen": {"http": format!("0.0.0.0:{HTTP_PORT}")}, "content": content.content});
        let mut container_ports = json!([{"name": "http", "containerPort": HTTP_PORT}]);
        let mut ports = json!([{"name": "http", "port": 80, "targetPort": "http"}]);
        if let Some(services) = &content.control_plane {
            config["listen"]["https"] = json!(format!("0.0.0.0:{HTTPS_PORT}"));
            config["controlPlane"] = services.clone();
            container_ports = json!([{"name": "http", "containerPort": HTTP_PORT}, {"name": "https", "containerPort": HTTPS_PORT}]);
            ports = json!([{"name": "http", "port": 80, "targetPort": "http"}, {"name": "https", "port": 443, "targetPort": "https"}]);
        }
        let labels = json!({"app.kubernetes.io/name": name});
        apply(
            client,
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace},
                "data": {"config.yaml": config.to_string()},
            }),
        )
        .await?;
        let mut pod = restricted_pod(json!({
            "name": "mock",
            "image": content.image.clone().unwrap_or_else(|| image("connected-cache-mock-control-plane")),
            "args": ["serve", "--config", "/etc/mock/config.yaml"],
            "ports": container_ports,
            "readinessProbe": {"httpGet": {"path": "/_healthz", "port": "http"}, "periodSeconds": 1},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/mock"}],
        }));
        pod["volumes"] = json!([{"name": "config", "configMap": {"name": name}}]);
        apply(
            client,
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": pod,
            }),
        )
        .await?;
        apply(
            client,
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
                "spec": {"selector": labels, "ports": ports},
            }),
        )
        .await?;
        wait_for(Api::<Pod>::namespaced(client.clone(), namespace), name, "ready", pod_ready()).await?;
        let service = Api::<Service>::namespaced(client.clone(), namespace).get(name).await?;
        let cluster_ip = service
            .spec
            .and_then(|spec| spec.cluster_ip)
            .with_context(|| format!("the Service {name} has no cluster address"))?;
        Ok(Self { name, namespace: namespace.to_owned(), cluster_ip })
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// `IP:port` of plain HTTP at the Service.
    pub(crate) fn address(&self) -> String {
        format!("{}:80", self.cluster_ip)
    }

    /// The text at a path.
    pub(crate) async fn get(&self, client: &Client, path: &str) -> Result<String> {
        pod_get(client, &self.namespace, self.name, HTTP_PORT, path).await
    }

    /// The JSON at a path.
    pub(crate) async fn get_json<T: DeserializeOwned>(&self, client: &Client, path: &str) -> Result<T> {
        let text = self.get(client, path).await?;
        serde_json::from_str(&text).with_context(|| format!("{path} of {} can't be read", self.name))
    }

    pub(crate) async fn totals(&self, client: &Client) -> Result<Totals> {
        #[derive(Deserialize)]
        struct Requests {
            totals: Totals,
        }
        Ok(self.get_json::<Requests>(client, "/_requests").await?.totals)
    }

    /// The requests since the log was last cleared, those on their way as well.
    pub(crate) async fn asked(&self, client: &Client) -> Result<Vec<Asked>> {
        #[derive(Deserialize)]
        struct Requests {
            requests: Vec<Asked>,
        }
        Ok(self.get_json::<Requests>(client, "/_requests").await?.requests)
    }

    pub(crate) async fn clear(&self, client: &Client) -> Result<()> {
        self.send(client, http::Method::DELETE, "/_requests", &Value::Null).await
    }

    pub(crate) async fn set_faults(&self, client: &Client, faults: &Value) -> Result<()> {
        self.send(client, http::Method::PUT, "/_faults", faults).await
    }

    /// Has the hashes of all objects made now, so that nobody waits for them later; gives how many pieces there are.
    pub(crate) async fn make_piece_hashes(&self, client: &Client) -> Result<u64> {
        #[derive(Deserialize)]
        struct Object {
            path: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct PieceHashes {
            pieces: Vec<String>,
        }
        let mut pieces = 0;
        for Object { path } in self.get_json::<Vec<Object>>(client, "/_manifest").await? {
            let file: PieceHashes = self.get_json(client, &format!("{path}/pieceshash")).await?;
            pieces += file.pieces.len() as u64;
        }
        Ok(pieces)
    }

    async fn send(&self, client: &Client, method: http::Method, path: &str, body: &Value) -> Result<()> {
        pod_send(client, &self.namespace, self.name, HTTP_PORT, method, path, body).await.map(drop)
    }
}
