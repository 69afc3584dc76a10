//! `sharing`: the other pods of this cache and the peers of the array join.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ByteSize;

/// Other pods and peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Sharing {
    /// Which of the two sources of peers are used.
    pub mode: SharingMode,
    /// All pods of this cache, ourselves included, the same list everywhere.
    pub members: Vec<Member>,
    /// `namespace/name` of the headless Service whose EndpointSlices replace `members`.
    pub service: Option<String>,
    /// How long a pod waits for a first byte from the home pod before it asks the origin itself.
    pub home_deadline_milliseconds: u64,
    /// Before a pod that was scaled away ends, how long it hands over what only it holds: after `shutdown.drainSeconds`, before
    /// `shutdown.graceSeconds`. 0 = not at all; what it holds is fetched anew. 0 to 3600.
    pub handover_seconds: u64,
    /// Foreign peers.
    pub array_join: ArrayJoin,
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            mode: SharingMode::Auto,
            members: Vec::new(),
            service: None,
            home_deadline_milliseconds: 500,
            handover_seconds: 60,
            array_join: ArrayJoin::default(),
        }
    }
}

/// Which sources of peers are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SharingMode {
    /// None; the swarm listener answers nobody.
    Off,
    /// Own pods only.
    Members,
    /// Peers of the array join only.
    Array,
    /// Both, each where it is configured.
    #[default]
    Auto,
}

/// One pod of this cache. Addresses are `host:port`; host names are resolved when they are used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Member {
    /// Its `node.name`. Required.
    pub name: String,
    /// Its swarm listener. Required.
    pub swarm: String,
    /// Its mTLS listener. `None` = only content with authenticated piece hashes is shared with it.
    pub peers: Option<String>,
    /// Where it runs; pods ask those of their own zone first. `None` = no zone.
    pub zone: Option<String>,
}

/// Joining the array of peers that the control plane offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ArrayJoin {
    /// Join at all; needs a control plane and `listen.swarm`.
    pub enabled: bool,
    /// How far away peers may be.
    pub scope: ArrayScope,
    /// GUID; required with `Group`.
    pub group_id: Option<String>,
    /// Address told to others. `None` = that of the route out.
    pub reported_ip: Option<IpAddr>,
    /// How many peers are asked for.
    pub peers_wanted: u8,
    /// Download only. In this release it is always so: there is no listener for peers.
    pub restricted_upload: bool,
    /// Smaller content is neither taken from nor announced to foreign peers.
    pub min_content_size: ByteSize,
    /// Peers at loopback addresses are used (labs).
    pub allow_loopback_peers: bool,
}

impl Default for ArrayJoin {
    fn default() -> Self {
        Self {
            enabled: true,
            scope: ArrayScope::Lan,
            group_id: None,
            reported_ip: None,
            peers_wanted: 255,
            restricted_upload: false,
            min_content_size: ByteSize::from_bytes(10_000_000),
            allow_loopback_peers: false,
        }
    }
}

/// How far away foreign peers may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArrayScope {
    /// Same network (1).
    #[default]
    Lan,
    /// Same group (2).
    Group,
    /// Anywhere (3).
    Internet,
}
