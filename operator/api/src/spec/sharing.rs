//! `spec.sharing`: whether the pods of a cache act as one.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the pods of a cache share what they hold, so that content crosses the internet link once and not once for each pod.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharingSpec {
    /// Auto lets the pods ask each other before the internet, over mutual TLS with certificates that the operator makes and
    /// renews; they may watch the EndpointSlices of their namespace. Off makes each pod work for itself; what was made for
    /// sharing then stays unused until the cache is deleted. A change replaces the pods one by one. Default: Auto.
    #[serde(default)]
    pub mode: SharingMode,
}

/// With whom the pods of a cache share.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum SharingMode {
    #[default]
    Auto,
    Off,
}
