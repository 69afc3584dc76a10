//! Geo: where the caller is, and which KeyValue service is its own.
//!
//! A bare call works at the real service, so no field is required here, not even strictly.

use serde_json::json;

use super::fields::{Field, Kind, optional};
use super::route::KEY_VALUE_PATH;
use super::{Call, Refusal, Reply, Service};
use crate::config::ControlPlane;

const FIELDS: [Field; 4] = [
    optional("doClientVersion", Kind::Version),
    optional("profile", Kind::Number),
    optional("groupID", Kind::Guid),
    optional("callId", Kind::Number),
];

pub(super) fn answer(config: &ControlPlane, call: &Call<'_>, base: &str) -> Result<Reply, Refusal> {
    call.fields.check(Service::Geo, &FIELDS, config.strict)?;
    let geo = &config.geo;
    let mut reply = json!({
        "ExternalIpAddress": config.external_address(call.source).to_string(),
        "CountryCode": geo.country_code,
        "KeyValue_EndpointFullUri": format!("{base}{KEY_VALUE_PATH}"),
        "Version": geo.version,
        "CacheId": geo.cache_id,
        "CacheHostFlag": geo.cache_host_flag,
        "ContentCert": false,
        "DownloadModeFailSafe": "",
    });
    if let Some(cache_host) = &geo.cache_host {
        reply["CacheHost"] = json!(cache_host);
    }
    Ok(Reply::ok(reply))
}

/// The cheap call that tells whether the answer of Geo has changed. Its form is not public: the version alone.
pub(super) fn version(config: &ControlPlane, call: &Call<'_>) -> Result<Reply, Refusal> {
    call.fields.check(Service::Geo, &FIELDS, config.strict)?;
    Ok(Reply::ok(json!({ "Version": config.geo.version })))
}
