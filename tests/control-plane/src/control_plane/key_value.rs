//! KeyValue: one flat object with the addresses of the other services and the settings of the client.

use serde_json::json;

use super::fields::{Field, Kind, optional, required};
use super::{Call, Refusal, Reply, Service};
use crate::config::ControlPlane;

const FIELDS: [Field; 6] = [
    required("doClientVersion", Kind::Version),
    required("countryCode", Kind::Country),
    required("profile", Kind::Number),
    optional("eId", Kind::Text),
    optional("CacheId", Kind::Text),
    optional("CacheHost", Kind::Text),
];

pub(super) fn answer(config: &ControlPlane, call: &Call<'_>, base: &str) -> Result<Reply, Refusal> {
    call.fields.check(Service::KeyValue, &FIELDS, config.strict)?;
    config.same_country(Service::KeyValue, &call.fields)?;
    if let Some(sent) = call.fields.get("CacheId")
        && config.strict
        && sent != config.geo.cache_id
    {
        let expected = &config.geo.cache_id;
        return Err(Refusal::new(400, format!("KeyValue: CacheId is {sent:?}, Geo answered {expected:?}")));
    }
    let json = json!({
        "ContentPolicy_EndpointUri": base,
        "ContentPolicy_EndpointFullUri": format!("{base}/content/{{contentId}}/contentpolicy"),
        "Discovery_EndpointFullUri": format!("{base}/disc/v2/content/{{contentId}}"),
        "Client_RegisteredCallersFilterList": config.key_value.registered_callers,
    });
    Ok(Reply { max_age_seconds: config.key_value.max_age_seconds, ..Reply::ok(json) })
}
