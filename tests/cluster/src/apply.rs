//! Server-side apply of the few objects that a cluster begins with.

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::Value;

use crate::error::{Error, Result};

/// Who owns the fields.
const FIELD_MANAGER: &str = "connected-cache-cluster";

/// Applies objects in their order.
pub(crate) async fn apply(client: &Client, objects: Vec<Value>) -> Result<()> {
    for object in objects {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
        let kind = text("/kind");
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural(kind)?);
        let api: Api<DynamicObject> = match text("/metadata/namespace") {
            "" => Api::all_with(client.clone(), &resource),
            namespace => Api::namespaced_with(client.clone(), namespace, &resource),
        };
        let name = text("/metadata/name").to_owned();
        api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object)).await?;
    }
    Ok(())
}

/// The resource name of the kinds used here.
fn plural(kind: &str) -> Result<&'static str> {
    Ok(match kind {
        "ConfigMap" => "configmaps",
        "EndpointSlice" => "endpointslices",
        "Namespace" => "namespaces",
        "Service" => "services",
        "ServiceAccount" => "serviceaccounts",
        "StorageClass" => "storageclasses",
        _ => {
            return Err(Error::Unsuitable {
                problem: format!("{kind} is no kind that a cluster begins with"),
                advice: "add it to the table in apply.rs".to_owned(),
            });
        }
    })
}
