//! What the tests of this crate share: a cache as the API server would give it, and a scripted API server.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this")]

pub mod api_server;
pub mod operator;

use connected_cache_api::ConnectedCache;
use connected_cache_operator::{
    controller::{
        build::{Children, build},
        dereference::Observed,
        validate::{InvalidCache, ValidatedCache, validate},
    },
    image::ImageReference,
};
use serde_json::{Value, json};

/// Identity of the cache of [`cache`].
pub const UID: &str = "7f0c3a52-5a0e-4a47-9f5d-2f9b8c1de001";

/// The operator's own choice of image in tests.
pub fn default_image() -> ImageReference {
    "registry.example.edu/sidecar:1.2.3".parse().expect("an image")
}

/// The cache `campus` in the namespace `caching`.
pub fn cache(spec: &Value) -> ConnectedCache {
    serde_json::from_value(json!({
        "apiVersion": "connectedcache.dev/v1alpha1",
        "kind": "ConnectedCache",
        "metadata": {"name": "campus", "namespace": "caching", "uid": UID, "generation": 1},
        "spec": spec,
    }))
    .expect("a cache")
}

/// The cache alone, without any child.
pub fn observed(spec: &Value) -> Observed {
    Observed {
        cache: cache(spec),
        namespace: "caching".to_owned(),
        config_map: None,
        service: None,
        pods_service: None,
        stateful_set: None,
        control_plane_ca: None,
        service_account: None,
        role: None,
        role_binding: None,
        default_account: None,
        peers_ca: None,
        peers: None,
    }
}

/// What the ConfigMap of [`with_control_plane_ca`] holds: validation looks at its form, not at what it certifies.
pub const CA: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// The cache alone, beside a ConfigMap `lab-ca` with these keys.
pub fn with_control_plane_ca(spec: &Value, data: &Value) -> Observed {
    let config_map = json!({"metadata": {"name": "lab-ca", "namespace": "caching"}, "data": data});
    Observed { control_plane_ca: serde_json::from_value(config_map).expect("a ConfigMap"), ..observed(spec) }
}

/// What validation makes of a spec.
pub fn validated(spec: &Value) -> Result<ValidatedCache, InvalidCache> {
    validate(&observed(spec), &default_image())
}

/// What is built from a valid spec.
pub fn built(spec: &Value) -> Children {
    build(&validated(spec).expect("a valid spec"))
}

/// Any object as plain data, for looking into it by path.
pub fn plain(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).expect("plain data")
}
