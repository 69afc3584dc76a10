//! The sections of the file, one module per section. Every struct has every field defaulted and refuses unknown
//! ones, so that a partial file is a whole configuration.

mod admin;
mod bandwidth;
mod bits;
mod branch_cache;
mod content;
mod control_plane;
mod listen;
mod operation;
mod sharing;
mod storage;
mod swarm;
mod tls;
mod upstream;

use serde::{Deserialize, Serialize};

pub use admin::Admin;
pub use bandwidth::{Bandwidth, BandwidthSchedule, ParseTimeOfDayError, ScheduledCap, TimeOfDay, Weekday};
pub use bits::{Bits, BitsClient, BitsPeers, BitsPeersMode, BitsTimeouts};
pub use branch_cache::{BranchCache, BranchCacheVersion};
pub use content::{
    ClassOptions, Content, ContentClass, ContentKey, Eviction, EvictionPolicy, ExtraOrigin, IgnoreQuery, Pin,
    ReadAhead, ReadAheadMode, TimeToLive,
};
pub use control_plane::{ControlPlane, ControlPlaneMode};
pub use listen::{Listen, Node};
pub use operation::{AccessLog, ClientAddress, Limits, Log, LogFormat, LogLevel, Shutdown, Telemetry};
pub use sharing::{ArrayJoin, ArrayScope, Member, Sharing, SharingMode};
pub use storage::{Storage, Volume};
pub use swarm::Swarm;
pub use tls::{Tls, TlsPeers, TlsVersion};
pub use upstream::{ClientErrors, Upstream, UpstreamTimeouts};

/// The whole configuration of one sidecar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Who this pod is.
    pub node: Node,
    /// Where it listens.
    pub listen: Listen,
    /// Who may change something at the admin listener.
    pub admin: Admin,
    /// Where pieces are kept.
    pub storage: Storage,
    /// What may be cached and how.
    pub content: Content,
    /// How origins are reached.
    pub upstream: Upstream,
    /// How much of the links may be used.
    pub bandwidth: Bandwidth,
    /// The Delivery Optimization control plane.
    pub control_plane: ControlPlane,
    /// Other pods and peers.
    pub sharing: Sharing,
    /// Limits of the swarm protocol.
    pub swarm: Swarm,
    /// BranchCache hosted cache.
    pub branch_cache: BranchCache,
    /// BITS peer caching.
    pub bits: Bits,
    /// Certificates of the listeners.
    pub tls: Tls,
    /// Bounds for clients.
    pub limits: Limits,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// Traces.
    pub telemetry: Telemetry,
    /// Logs.
    pub log: Log,
}
