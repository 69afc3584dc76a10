//! The kind ConnectedCache: root object, printer columns, subresources and the spec's top level.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::spec::{
    ContentSpec, ControlPlaneSpec, ExposeSpec, ImageSpec, LogSpec, ResourcesSpec, RolloutSpec, SharingSpec,
    StorageSpec, UpstreamSpec,
};
use crate::status::ConnectedCacheStatus;

/// What the cache should be. `spec: {}` is a complete, safe cache: two replicas of 100Gi behind a LoadBalancer.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "connectedcache.dev",
    version = "v1alpha1",
    kind = "ConnectedCache",
    plural = "connectedcaches",
    shortname = "cc",
    category = "connectedcache",
    namespaced,
    status = "ConnectedCacheStatus",
    derive = "PartialEq",
    doc = "A cache for Windows content (Windows Update, Store, Defender, Office, Intune, Edge, Xbox). Windows clients point \
           DOCacheHost at its endpoint; content then crosses the internet link once.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.summary.ready",
        description = "Pods that serve, of pods wanted"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.summary.state",
        description = "What the cache is doing, in one word"
    ),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".status.endpoint",
        description = "What to put into DOCacheHost"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "Image tag or digest that the pods should run",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.summary.message",
        description = "What to do next, when something needs doing",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$')").message(
        "metadata.name: services and pods are named after the cache: use at most 52 lower-case letters, digits and \
         hyphens, starting with a letter"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ConnectedCacheSpec {
    /// How many cache pods run. 0 stops serving and keeps the volumes; 1 works, but every update of the pod is a gap in
    /// service. Default: 2.
    #[serde(default = "defaults::replicas")]
    #[schemars(range(min = 0, max = 64))]
    pub replicas: i32,

    /// Another image for the cache pods than the operator's own choice. Default: the image the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSpec>,

    /// Where content is kept. Default: one volume of 100Gi per pod, from the cluster's default storage class.
    #[serde(default)]
    pub storage: StorageSpec,

    /// Which origins the cache serves. Default: the built-in list of Microsoft's content hosts, and nothing else.
    #[serde(default)]
    pub content: ContentSpec,

    /// How the cache reaches origins. Default: directly, names resolved by the pod's DNS.
    #[serde(default)]
    pub upstream: UpstreamSpec,

    /// Whose Delivery Optimization services are asked for the piece hashes of content. Default: nobody's, and nothing is sent.
    #[serde(default)]
    pub control_plane: ControlPlaneSpec,

    /// Whether the pods share what they hold. Default: they do.
    #[serde(default)]
    pub sharing: SharingSpec,

    /// How clients reach the cache. Default: a Service of type LoadBalancer on port 80.
    #[serde(default)]
    pub expose: ExposeSpec,

    /// CPU and memory of each cache pod. Default: requests of 100m CPU and 256Mi, limit of 1Gi memory.
    #[serde(default)]
    pub resources: ResourcesSpec,

    /// How pods are replaced. Default: one at a time, each given 15 seconds to leave the load balancer.
    #[serde(default)]
    pub rollout: RolloutSpec,

    /// What the cache pods log. Default: JSON lines at level Info.
    #[serde(default)]
    pub log: LogSpec,
}

impl Default for ConnectedCacheSpec {
    fn default() -> Self {
        Self {
            replicas: defaults::replicas(),
            image: None,
            storage: StorageSpec::default(),
            content: ContentSpec::default(),
            upstream: UpstreamSpec::default(),
            control_plane: ControlPlaneSpec::default(),
            sharing: SharingSpec::default(),
            expose: ExposeSpec::default(),
            resources: ResourcesSpec::default(),
            rollout: RolloutSpec::default(),
            log: LogSpec::default(),
        }
    }
}

mod defaults {
    /// Two pods: one may be replaced while the other serves. The value must be static, because reading the scale
    /// subresource fails while `spec.replicas` is absent.
    pub(super) fn replicas() -> i32 {
        2
    }
}
