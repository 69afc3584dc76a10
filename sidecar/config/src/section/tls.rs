//! `tls`: certificates of the listeners. Every value is a path; secrets never stand in the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Certificates of the listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Tls {
    /// PEM chain for `listen.https`.
    pub cert: Option<PathBuf>,
    /// PEM key for `listen.https`.
    pub key: Option<PathBuf>,
    /// PEM; client certificates are asked for when set.
    pub client_ca: Option<PathBuf>,
    /// Lowest version that is spoken.
    pub min_version: TlsVersion,
    /// Pod-to-pod mTLS on `listen.peers`.
    pub peers: TlsPeers,
}

/// Lowest TLS version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// Pod-to-pod mTLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct TlsPeers {
    /// PEM chain, with both extended key usages and the member's name as a DNS name.
    pub cert: Option<PathBuf>,
    /// PEM key.
    pub key: Option<PathBuf>,
    /// PEM of the authority that both ends check against.
    pub ca: Option<PathBuf>,
}
