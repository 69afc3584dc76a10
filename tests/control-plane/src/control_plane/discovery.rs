//! Discovery: which Array brings together the callers of one content.

use serde_json::json;

use super::fields::{Field, Kind, optional, required};
use super::{Call, Refusal, Reply, Service, Services};

const FIELDS: [Field; 7] = [
    required("profile", Kind::Number),
    required("doClientVersion", Kind::Version),
    required("partitionId", Kind::Number),
    optional("CountryCode", Kind::Country),
    optional("altCatalogId", Kind::Url),
    optional("ContentId", Kind::Text),
    optional("eId", Kind::Text),
];

pub(super) async fn answer(
    services: &Services,
    call: &Call<'_>,
    content_id: &str,
    base: &str,
) -> Result<Reply, Refusal> {
    let config = &services.config;
    call.fields.check(Service::Discovery, &FIELDS, config.strict)?;
    config.same_country(Service::Discovery, &call.fields)?;
    let content = services.content.key(Some(content_id), call.fields.get("altCatalogId")).await?;
    let arrays = services.arrays.lock().of_content(&content, config.discovery.arrays);
    let elements: Vec<_> =
        arrays.iter().map(|array| json!({ "CollectiveArray": format!("{base}/c/{array}/") })).collect();
    Ok(Reply::ok(json!(elements)))
}
