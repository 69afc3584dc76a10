//! The ConfigMap with the sidecar's configuration.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use connected_cache_config::Config;

use super::{metadata, names};
use crate::controller::validate::ValidatedCache;

/// Key of the ConfigMap, and name of the file in the pods.
pub const CONFIG_KEY: &str = "config.yaml";

pub(super) fn config_map(cache: &ValidatedCache, config: String) -> ConfigMap {
    ConfigMap {
        metadata: metadata(cache, names::config_map(&cache.name)),
        data: Some([(CONFIG_KEY.to_owned(), config)].into()),
        ..ConfigMap::default()
    }
}

/// The configuration as text, holding only what differs from the sidecar's defaults.
///
/// Rendering less keeps pods still: a default that a new operator knows better does not roll the pods of every cache, and
/// a cache whose image is pinned to an older release is never given a key which that release does not know.
#[must_use]
pub fn config_yaml(config: &Config) -> String {
    // Can't fail: text keys, lists and scalars only.
    let ours = serde_json::to_value(config).unwrap_or_default();
    let default = serde_json::to_value(Config::default()).unwrap_or_default();
    let difference = difference(&ours, &default).unwrap_or_else(|| Value::Object(Map::new()));
    serde_saphyr::to_string(&difference).unwrap_or_default()
}

fn difference(ours: &Value, default: &Value) -> Option<Value> {
    match (ours, default) {
        (Value::Object(ours), Value::Object(default)) => {
            let kept: Map<String, Value> = ours
                .iter()
                .filter_map(|(key, value)| {
                    let rest = difference(value, default.get(key).unwrap_or(&Value::Null))?;
                    Some((key.clone(), rest))
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        _ => (ours != default).then(|| ours.clone()),
    }
}

/// Short hash of a configuration, for the pod template.
pub(super) fn hash(config: &str) -> String {
    let mut hash = hex::encode(Sha256::digest(config.as_bytes()));
    hash.truncate(32);
    hash
}
