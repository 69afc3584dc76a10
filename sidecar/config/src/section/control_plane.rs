//! `controlPlane`: the Delivery Optimization services that name content and its piece hashes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::ByteSize;

/// The Delivery Optimization control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ControlPlane {
    /// Whose services are called.
    pub mode: ControlPlaneMode,
    /// The whole `https` URL with path; only the query is appended. Required with `Custom`; `None` with `Microsoft` = the
    /// public address.
    pub geo_url: Option<Url>,
    /// PEM roots trusted for control plane hosts instead of the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// Four numbers with dots, `doClientVersion` of the queries.
    pub client_version: String,
    /// `profile` of the queries.
    pub profile: u32,
    /// Sent as `eId` when set.
    pub e_id: Option<String>,
    /// The longest that a client's request waits for the control plane and the piece hashes, all calls together.
    pub wait_milliseconds: u64,
    /// One call, connect to last byte.
    pub request_timeout_milliseconds: u64,
    /// A larger piece hash file is not read to its end.
    pub max_phf_bytes: ByteSize,
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self {
            mode: ControlPlaneMode::None,
            geo_url: None,
            ca_file: None,
            client_version: "10.1.0.13".to_owned(),
            profile: 768,
            e_id: None,
            wait_milliseconds: 2000,
            request_timeout_milliseconds: 5000,
            max_phf_bytes: ByteSize::from_mebibytes(64),
        }
    }
}

/// Whose services are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlPlaneMode {
    /// No call is ever made; all content is in simple mode.
    #[default]
    None,
    /// The public services.
    Microsoft,
    /// Those at `geoUrl`.
    Custom,
}
