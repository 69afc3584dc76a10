//! `upstream`: how origins are reached.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

/// How origins are reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Upstream {
    /// Host name to address and port, like `curl --resolve`: content, metadata and redirects alike. The address is
    /// checked against `content.allowPrivateTargets` like any other.
    pub resolve: BTreeMap<String, SocketAddr>,
    /// DNS servers. Empty = those of the system.
    pub resolvers: Vec<SocketAddr>,
    /// HTTP proxy.
    pub proxy: Option<Url>,
    /// Host patterns that are reached without the proxy.
    pub no_proxy: Vec<String>,
    /// PEM file of roots for HTTPS origins, added to the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// Connections to one origin at once.
    pub max_connections_per_origin: u32,
    /// How long an origin may take.
    pub timeouts: UpstreamTimeouts,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            resolve: BTreeMap::new(),
            resolvers: Vec::new(),
            proxy: None,
            no_proxy: Vec::new(),
            ca_file: None,
            max_connections_per_origin: 64,
            timeouts: UpstreamTimeouts::default(),
        }
    }
}

/// How long an origin may take. Clients leave a cache for 15 minutes after 20 s of silence and want a first byte or a 5xx
/// within 10 s, so all of these stay below that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct UpstreamTimeouts {
    /// To a connection.
    pub connect_seconds: u64,
    /// From the request to its reply head.
    pub first_byte_seconds: u64,
    /// Between two reads of a body.
    pub idle_seconds: u64,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self { connect_seconds: 3, first_byte_seconds: 8, idle_seconds: 8 }
    }
}
