//! `spec.content`: the allow-list of origins.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which origins the cache serves. A request for a host that is not allowed is refused, so that the cache is never an open
/// proxy.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentSpec {
    /// Origins served beside the built-in list of Microsoft's content hosts; at most 256. Default: none.
    #[serde(default)]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["host".into()]))]
    pub extra_origins: Vec<ExtraOrigin>,

    /// Hosts that are never served, for example `xvcf1.xboxlive.com` or `*.xboxlive.com`; wins over every other list; at most
    /// 256. Default: none.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new(
        "self.all(host, host.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))"
    ).message(
        "give bare host names such as dl.example.edu or *.example.edu: lower-case, without scheme, port and path"
    ))]
    pub deny_origins: Vec<String>,

    /// Whether origins may resolve to private, loopback or link-local addresses. Only for laboratories and origins inside
    /// one's own network: it lets clients reach internal hosts that are on the allow-list. Default: false.
    #[serde(default)]
    pub allow_private_targets: bool,
}

/// One more origin that the cache serves.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtraOrigin {
    /// Host name without scheme and port; `*.example.edu` covers every name below example.edu and example.edu itself.
    /// Required.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(
        "self.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')"
    ).message(
        "give a bare host name such as dl.example.edu or *.example.edu: lower-case, without scheme, port and path"
    ))]
    pub host: String,

    /// Content class under which this origin is counted in metrics. Default: Other.
    #[serde(default)]
    pub class: ContentClass,

    /// A name shared by several hosts that serve the same content: they then share one copy. Default: the host itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub alias: Option<String>,
}

/// What kind of content an origin delivers.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ContentClass {
    WindowsUpdate,
    Edge,
    Office,
    Intune,
    Teams,
    Outlook,
    Xbox,
    DeviceUpdate,
    #[default]
    Other,
}
