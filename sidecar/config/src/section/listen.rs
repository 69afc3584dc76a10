//! `node` and `listen`: who this pod is and on which addresses it answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Identity of the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Node {
    /// Name of this pod; the entry of `sharing.members` with this name is ourselves. `None` = the host name.
    pub name: Option<String>,
    /// Value of the `X-CID` header. `None` = derived from the name.
    pub id: Option<String>,
}

/// Listening addresses, `IP:port` or `[v6]:port`. `None` = that listener is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Listen {
    /// Content over HTTP.
    pub http: Option<SocketAddr>,
    /// Content over HTTPS; needs `tls.cert` and `tls.key`.
    pub https: Option<SocketAddr>,
    /// BITS peer caching.
    pub bits: Option<SocketAddr>,
    /// Swarm protocol.
    pub swarm: Option<SocketAddr>,
    /// Pod-to-pod interface over mTLS; needs `tls.peers`.
    pub peers: Option<SocketAddr>,
    /// Health, metrics and summary.
    pub admin: Option<SocketAddr>,
}

impl Default for Listen {
    fn default() -> Self {
        let everywhere = |port| Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
        Self {
            http: everywhere(8080),
            https: None,
            bits: None,
            swarm: everywhere(7680),
            peers: None,
            admin: everywhere(5001),
        }
    }
}
