//! The state of the control plane, for administrators.

use std::collections::BTreeMap;

use connected_cache_config::ControlPlaneMode;
use serde::Serialize;

use super::{geo::GeoReply, kept::Held, key_value::KeyValueReply, sessions::Shown};

/// What is shown; times are in seconds since 1970.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) mode: ControlPlaneMode,
    /// 40 hex digits.
    pub(crate) peer_id: String,
    /// Why no service is asked now, and for how much longer; `None` = they are asked.
    pub(crate) outage: Option<OutageStatus>,
    /// `None` = Geo never answered.
    pub(crate) geo: Option<GeoStatus>,
    /// `None` = KeyValue never answered.
    pub(crate) key_value: Option<KeyValueStatus>,
    /// Services whose last call gave nothing, by name.
    pub(crate) errors: BTreeMap<&'static str, ErrorStatus>,
    /// By content id.
    pub(crate) sessions: BTreeMap<String, Shown>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutageStatus {
    pub(crate) reason: &'static str,
    pub(crate) remaining_seconds: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GeoStatus {
    pub(crate) external_ip_address: Option<String>,
    pub(crate) country_code: Option<String>,
    pub(crate) version: String,
    pub(crate) cache_id: Option<String>,
    pub(crate) cache_host: Option<String>,
    pub(crate) cache_host_flag: Option<u64>,
    pub(crate) expires_at: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyValueStatus {
    pub(crate) uri: String,
    pub(crate) content_policy: String,
    pub(crate) discovery: Option<String>,
    pub(crate) registered_callers: Vec<String>,
    pub(crate) expires_at: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorStatus {
    pub(crate) error: String,
    pub(crate) at: u64,
}

impl From<&Held<GeoReply>> for GeoStatus {
    fn from(held: &Held<GeoReply>) -> Self {
        let geo = held.value.clone();
        Self {
            external_ip_address: geo.external_ip_address,
            country_code: geo.country_code,
            version: geo.version,
            cache_id: geo.cache_id,
            cache_host: geo.cache_host,
            cache_host_flag: geo.cache_host_flag,
            expires_at: held.expires_at,
        }
    }
}

impl KeyValueStatus {
    pub(super) fn new(held: &Held<KeyValueReply>, uri: String) -> Self {
        let key_value = held.value.clone();
        Self {
            uri,
            content_policy: key_value.content_policy,
            discovery: key_value.discovery,
            registered_callers: key_value.registered_callers,
            expires_at: held.expires_at,
        }
    }
}
