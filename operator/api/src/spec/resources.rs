//! `spec.resources`: CPU and memory of each cache pod.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// CPU and memory of each cache pod, in the form of a container's resources.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourcesSpec {
    /// What a pod is guaranteed, by resource name. Default: cpu 100m, memory 256Mi.
    #[serde(default = "defaults::requests")]
    #[schemars(extend("maxProperties" = 16), with = "BTreeMap<String, ResourceQuantity>")]
    pub requests: BTreeMap<String, Quantity>,

    /// What a pod can use at most, by resource name. A CPU limit slows transfers down and is better left out.
    /// Default: memory 1Gi.
    #[serde(default = "defaults::limits")]
    #[schemars(extend("maxProperties" = 16), with = "BTreeMap<String, ResourceQuantity>")]
    pub limits: BTreeMap<String, Quantity>,
}

impl Default for ResourcesSpec {
    fn default() -> Self {
        Self { requests: defaults::requests(), limits: defaults::limits() }
    }
}

/// Schema of an amount: Kubernetes' own type, with a description that fits on a screen.
struct ResourceQuantity;

impl JsonSchema for ResourceQuantity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ResourceQuantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An amount, such as 500m CPU or 2Gi memory.",
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
            "pattern": r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?$",
        })
    }
}

mod defaults {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    /// Small enough that `spec: {}` is scheduled on a laptop's cluster.
    pub(super) fn requests() -> BTreeMap<String, Quantity> {
        [("cpu", "100m"), ("memory", "256Mi")]
            .map(|(name, value)| (name.to_owned(), Quantity(value.to_owned())))
            .into()
    }

    /// Page cache counts towards a container's memory but is given back under pressure, so this bounds the process alone.
    pub(super) fn limits() -> BTreeMap<String, Quantity> {
        [("memory", "1Gi")].map(|(name, value)| (name.to_owned(), Quantity(value.to_owned()))).into()
    }
}
