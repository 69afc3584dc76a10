//! The CustomResourceDefinition as it is published.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::connected_cache::ConnectedCache;
use crate::names::labels;

/// The definition of ConnectedCache.
///
/// It differs from the derived one in three points. No field is `nullable`: the API server then drops a `null` and applies
/// the field's default, so that `storageClassName: null` means the same as leaving it out. Descriptions have no line breaks
/// inside a paragraph, because `kubectl explain` wraps them itself. Formats that Kubernetes does not know are left out.
#[must_use]
#[allow(
    clippy::missing_panics_doc,
    reason = "converting our own definition to plain data and back cannot fail; tests do it"
)]
pub fn crd() -> CustomResourceDefinition {
    serde_json::from_value(crd_yaml_value()).expect("a definition without `nullable` is still a definition")
}

/// The definition of ConnectedCache as plain data, for printing.
#[must_use]
#[allow(
    clippy::missing_panics_doc,
    reason = "converting our own definition to plain data and back cannot fail; tests do it"
)]
pub fn crd_yaml_value() -> Value {
    let mut derived = ConnectedCache::crd();
    derived
        .metadata
        .labels
        .get_or_insert_default()
        .insert(labels::NAME.to_owned(), labels::NAME_VALUE.to_owned());
    let mut value = serde_json::to_value(derived).expect("a definition is plain data");
    tidy(&mut value);
    value
}

fn tidy(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|key, value| match (key.as_str(), &value) {
                ("nullable", Value::Bool(_)) => false,
                ("format", Value::String(format)) => !format.starts_with("uint"),
                _ => true,
            });
            if let Some(Value::String(description)) = object.get_mut("description") {
                *description = unwrapped(description);
            }
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Paragraphs on one line each.
fn unwrapped(text: &str) -> String {
    let paragraphs: Vec<String> = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
    paragraphs.join("\n\n")
}
