//! The manifest for people: what it configures is a mock that starts. That a real API server takes it, cases of the
//! cluster's crate show.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

use connected_cache_mock_control_plane::{Config, ControlPlane};
use serde_json::Value;

const MANIFEST: &str = include_str!("../manifests/mock-control-plane.yaml");

fn object(kind: &str) -> Value {
    let objects = MANIFEST.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
    objects.into_iter().find(|object| object["kind"] == kind).unwrap()
}

#[test]
fn the_configuration_of_the_manifest_is_that_of_a_mock_with_all_services() {
    let config_map = object("ConfigMap");
    let config = Config::from_yaml(config_map["data"]["config.yaml"].as_str().unwrap()).unwrap();
    assert_eq!(config.control_plane, Some(ControlPlane::default()));
    let container = object("Deployment")["spec"]["template"]["spec"]["containers"][0].clone();
    for (name, address) in [("http", config.listen.http), ("https", config.listen.https)] {
        let mut ports = container["ports"].as_array().unwrap().iter();
        let port = ports.find(|port| port["name"] == name).unwrap();
        assert_eq!(port["containerPort"], address.unwrap().port(), "{name}");
    }
}

#[test]
fn the_manifest_runs_the_image_of_this_version() {
    let image = object("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(image, format!("localhost/connected-cache-mock-control-plane:{version}"));
}
