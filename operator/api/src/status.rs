//! `status`: what the operator observed. Written by server-side apply on the status subresource, by the operator alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What the operator observed of a cache. Written by the operator alone.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectedCacheStatus {
    /// Generation of the spec that this status describes; older than metadata.generation while a change is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Pods that exist.
    #[serde(default)]
    pub replicas: i32,

    /// Pods that serve.
    #[serde(default)]
    pub ready_replicas: i32,

    /// Label selector of the pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,

    /// What to put into DOCacheHost: the first of expose.hostnames, else the Service's address; `<pending>` while there is
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub endpoint: Option<String>,

    /// Tag or digest of the image that the pods should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub version: Option<String>,

    /// The columns of `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<CacheSummary>,

    /// Ready, Accepted, Available, Progressing, Degraded, Exposed and RolloutSafe; each message says what to do.
    #[serde(default)]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The columns of `kubectl get`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheSummary {
    /// Pods that serve, of pods wanted, as `2/2`.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub ready: String,

    /// Pending, Serving, Rolling, Degraded, Hibernating, Rejected or Paused.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub state: String,

    /// What to do next, when something needs doing; else empty.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub message: String,
}
