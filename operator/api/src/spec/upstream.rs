//! `spec.upstream`: the way to the origins.
#![allow(clippy::struct_field_names, reason = "units end the names of fields")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How the cache reaches origins.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamSpec {
    /// Fixed addresses for origin hosts, as with `curl --resolve`; at most 64. For laboratories and split DNS; a private
    /// address also needs content.allowPrivateTargets. Default: none, names are resolved by DNS.
    #[serde(default)]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["host".into()]))]
    pub resolve: Vec<ResolveEntry>,

    /// How long an origin may be silent before the cache moves on. Default: 3, 8 and 8 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<UpstreamTimeouts>,
}

/// One fixed address.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolveEntry {
    /// Origin host this address is for, without scheme and port. Required.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(
        "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')"
    ).message("give a bare host name such as dl.delivery.mp.microsoft.com: lower-case, without scheme, port, path and wildcard"))]
    pub host: String,

    /// Address and port, as `192.0.2.10:80` or `[2001:db8::10]:80`. Required.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new(
        r"self.matches('^([0-9]{1,3}([.][0-9]{1,3}){3}|\\[[0-9a-fA-F:.]{2,45}\\]):[0-9]{1,5}$')"
    ).message("give an IP address and a port, as 192.0.2.10:80 or [2001:db8::10]:80"))]
    pub address: String,
}

/// Deadlines towards an origin. They stay below what makes a Windows client leave the cache for 15 minutes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTimeouts {
    /// Seconds to a connection, 1 to 8. Default: 3.
    #[serde(default = "defaults::connect")]
    #[schemars(range(min = 1, max = 8))]
    pub connect_seconds: u32,

    /// Seconds to the first byte of a reply, 1 to 9: a client must get its first byte, or a 5xx, within 10. Default: 8.
    #[serde(default = "defaults::first_byte")]
    #[schemars(range(min = 1, max = 9))]
    pub first_byte_seconds: u32,

    /// Seconds without a byte in the middle of a reply, 1 to 15: clients give up after 20. Default: 8.
    #[serde(default = "defaults::idle")]
    #[schemars(range(min = 1, max = 15))]
    pub idle_seconds: u32,
}

mod defaults {
    pub(super) fn connect() -> u32 {
        3
    }
    pub(super) fn first_byte() -> u32 {
        8
    }
    pub(super) fn idle() -> u32 {
        8
    }
}
