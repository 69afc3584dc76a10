//! `bits`: BITS peer caching, server and client role.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ByteSize;

/// BITS peer caching.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Bits {
    /// Serve BITS peers; needs `listen.bits`, `domainSid`, a certificate with key and a table of peers.
    pub enabled: bool,
    /// `S-1-5-21-a-b-c` of the cache group.
    pub domain_sid: Option<String>,
    /// PEM. `None` = `tls.cert`.
    pub cert: Option<PathBuf>,
    /// PEM. `None` = `tls.key`.
    pub key: Option<PathBuf>,
    /// The table of peer certificates.
    pub peers: BitsPeers,
    /// The `https` and `http` spellings of a URL find the same record.
    pub scheme_alias: bool,
    /// Counted from record creation.
    pub max_age_seconds: u64,
    /// Sum of the record lengths. `None` = the volumes' limit.
    pub max_bytes: Option<ByteSize>,
    /// Requests at once; beyond it 503.
    pub max_concurrent: u32,
    /// Connections of one SID.
    pub max_connections_per_peer: u32,
    /// Largest request body; beyond it 413.
    pub max_request_bytes: ByteSize,
    /// Server side timeouts.
    pub timeouts: BitsTimeouts,
    /// Client role.
    pub client: BitsClient,
}

impl Default for Bits {
    fn default() -> Self {
        Self {
            enabled: false,
            domain_sid: None,
            cert: None,
            key: None,
            peers: BitsPeers::default(),
            scheme_alias: false,
            max_age_seconds: 7_776_000,
            max_bytes: None,
            max_concurrent: 64,
            max_connections_per_peer: 16,
            max_request_bytes: ByteSize::from_mebibytes(1),
            timeouts: BitsTimeouts::default(),
            client: BitsClient::default(),
        }
    }
}

/// The table of peer certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct BitsPeers {
    /// What counts as the table.
    pub mode: BitsPeersMode,
    /// Folder of `*.pem`, required with `Pinned`.
    pub directory: Option<PathBuf>,
    /// PEM of the authority with mode `Ca`. `None` = `tls.clientCa`.
    pub ca: Option<PathBuf>,
    /// SIDs that are refused.
    pub deny: Vec<String>,
    /// A pinned certificate without the extended key usage extension is accepted.
    pub allow_missing_eku: bool,
    /// Rows of the table, 1 to 65536.
    pub limit: u32,
    /// How often files are looked at, 1 to 3600.
    pub reload_seconds: u32,
}

impl Default for BitsPeers {
    fn default() -> Self {
        Self {
            mode: BitsPeersMode::Pinned,
            directory: None,
            ca: None,
            deny: Vec::new(),
            allow_missing_eku: false,
            limit: 1024,
            reload_seconds: 10,
        }
    }
}

/// What counts as the table of peer certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BitsPeersMode {
    /// The files of a folder.
    #[default]
    Pinned,
    /// Whatever the authority signed.
    Ca,
}

/// Server side timeouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct BitsTimeouts {
    /// TLS handshake.
    pub handshake_seconds: u64,
    /// Request head.
    pub header_seconds: u64,
    /// Request body.
    pub body_seconds: u64,
    /// A reply that makes no progress.
    pub write_stall_seconds: u64,
    /// Between two requests.
    pub idle_seconds: u64,
}

impl Default for BitsTimeouts {
    fn default() -> Self {
        Self {
            handshake_seconds: 10,
            header_seconds: 30,
            body_seconds: 60,
            write_stall_seconds: 60,
            idle_seconds: 75,
        }
    }
}

/// Client role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct BitsClient {
    /// Ask BITS peers between swarm and origin.
    pub enabled: bool,
    /// Addresses of peers, `host:port`.
    pub members: Vec<String>,
    /// Addresses of servers, `host:port`.
    pub servers: Vec<String>,
    /// One attempt at one peer.
    pub attempt_milliseconds: u64,
    /// All searches for one content.
    pub search_milliseconds: u64,
    /// One download.
    pub download_seconds: u64,
    /// How long a failing peer is left out.
    pub ban_seconds: u64,
}

impl Default for BitsClient {
    fn default() -> Self {
        Self {
            enabled: false,
            members: Vec::new(),
            servers: Vec::new(),
            attempt_milliseconds: 1000,
            search_milliseconds: 2000,
            download_seconds: 30,
            ban_seconds: 900,
        }
    }
}
