//! The ConfigMap: what is rendered is what the sidecar reads.
#![allow(clippy::panic, reason = "a failed test says what it saw")]

mod common;

use common::{CA, built, default_image, plain, validated, with_control_plane_ca};
use connected_cache_config::{ByteSize, Config, ContentClass, ControlPlaneMode, KEYS, LogLevel, SharingMode};
use connected_cache_operator::controller::{build::build, validate::validate};
use serde_json::json;

/// The text for a spec, beside a ConfigMap `lab-ca` that it may name.
fn text(spec: &serde_json::Value) -> String {
    let observed = with_control_plane_ca(spec, &json!({"ca.crt": CA}));
    let valid = validate(&observed, &default_image()).expect("a valid spec");
    build(&valid).config_map.data.expect("data")["config.yaml"].clone()
}

fn rendered(spec: &serde_json::Value) -> Config {
    let text = text(spec);
    Config::from_yaml(&text).unwrap_or_else(|error| panic!("the sidecar refuses\n{text}\n{error}"))
}

/// Every field that reaches the sidecar, with another value than its default.
fn every_block() -> serde_json::Value {
    json!({
        "storage": {"volumes": [{"name": "a", "size": "10Gi"}, {"name": "b", "size": "20Gi"}], "minFree": "3Gi"},
        "content": {
            "extraOrigins": [{"host": "*.example.edu", "class": "Xbox", "alias": "mirror.example.edu"}],
            "denyOrigins": ["dl.example.org"],
            "allowPrivateTargets": true,
        },
        "upstream": {
            "resolve": [{"host": "dl.example.edu", "address": "[2001:db8::1]:8080"}],
            "timeouts": {"connectSeconds": 1, "firstByteSeconds": 2, "idleSeconds": 4},
        },
        "controlPlane": {
            "mode": "Custom",
            "geoUrl": "https://geo.example.edu/geo",
            "caConfigMap": {"name": "lab-ca"},
        },
        "rollout": {"drainSeconds": 42},
        "log": {"level": "Debug"},
        "expose": {"ipFamilyPolicy": "PreferDualStack"},
    })
}

#[test]
fn an_empty_spec_renders_the_defaults_and_what_sharing_takes_and_nothing_else() {
    let config = rendered(&json!({}));
    let mut expected = Config::default();
    // Nine tenths of the default claim of 100Gi, and the longer drain of a pod behind a load balancer.
    expected.storage.volumes[0].limit = ByteSize::from_gibibytes(90);
    expected.shutdown.drain_seconds = 15;
    expected.listen.peers = Some("0.0.0.0:7681".parse().expect("an address"));
    expected.sharing.mode = SharingMode::Members;
    expected.sharing.service = Some("caching/campus-pods".to_owned());
    let file = |name: &str| Some(format!("/etc/connected-cache-peers/{name}").into());
    let peers = &mut expected.tls.peers;
    (peers.cert, peers.key, peers.ca) = (file("tls.crt"), file("tls.key"), file("ca.crt"));
    assert_eq!(config, expected);
    let text = text(&json!({}));
    assert!(!text.contains("http") && !text.contains("swarm"), "defaults were written out:\n{text}");
}

#[test]
fn pods_that_do_not_share_listen_to_nobody_and_need_nothing_for_it() {
    let config = rendered(&json!({"sharing": {"mode": "Off"}}));
    assert_eq!(config.sharing.mode, SharingMode::Off);
    assert_eq!((config.sharing.service, config.listen.swarm, config.listen.peers), (None, None, None));
    assert_eq!(config.tls, Config::default().tls);
}

#[test]
fn pods_of_a_cache_with_a_control_plane_still_share_with_each_other_alone() {
    for mode in ["Microsoft", "Custom"] {
        let mut spec = json!({"controlPlane": {"mode": mode}});
        if mode == "Custom" {
            spec["controlPlane"]["geoUrl"] = json!("https://geo.example.edu/geo");
        }
        let sharing = rendered(&spec).sharing;
        assert_eq!((sharing.mode, sharing.array_join.enabled), (SharingMode::Auto, false), "{mode}");
        assert_eq!(sharing.service.as_deref(), Some("caching/campus-pods"), "{mode}");
    }
}

#[test]
fn every_block_of_the_spec_reaches_the_sidecar() {
    let config = rendered(&every_block());
    let volumes: Vec<_> =
        config.storage.volumes.iter().map(|volume| (volume.path.to_str(), volume.limit)).collect();
    assert_eq!(
        volumes,
        [(Some("/cache/a"), ByteSize::from_gibibytes(9)), (Some("/cache/b"), ByteSize::from_gibibytes(18))]
    );
    assert_eq!(config.storage.min_free, ByteSize::from_gibibytes(3));
    let origin = &config.content.extra_origins[0];
    assert_eq!(
        (origin.host.as_str(), origin.class, origin.alias.as_deref()),
        ("*.example.edu", Some(ContentClass::Xbox), Some("mirror.example.edu"))
    );
    assert_eq!(config.content.deny_origins, ["dl.example.org"]);
    assert!(config.content.allow_private_targets);
    assert_eq!(config.upstream.resolve["dl.example.edu"].to_string(), "[2001:db8::1]:8080");
    let timeouts = &config.upstream.timeouts;
    assert_eq!((timeouts.connect_seconds, timeouts.first_byte_seconds, timeouts.idle_seconds), (1, 2, 4));
    let control_plane = &config.control_plane;
    assert_eq!(control_plane.mode, ControlPlaneMode::Custom);
    assert_eq!(control_plane.geo_url.as_ref().map(AsRef::as_ref), Some("https://geo.example.edu/geo"));
    assert_eq!(
        control_plane.ca_file.as_ref().and_then(|path| path.to_str()),
        Some("/etc/connected-cache-control-plane/ca.crt")
    );
    assert_eq!(config.shutdown.drain_seconds, 42);
    assert_eq!(config.log.level, LogLevel::Debug);
}

#[test]
fn the_reference_of_the_configuration_lists_the_keys_that_are_rendered() {
    // What every block renders, and what is rendered for none.
    let documents: [serde_json::Value; 2] =
        [every_block(), json!({})].map(|spec| serde_saphyr::from_str(&text(&spec)).expect("YAML"));
    let is_rendered = |path: &str| {
        documents.iter().any(|document| document.pointer(&format!("/{}", path.replace('.', "/"))).is_some())
    };
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md"))
        .expect("docs/configuration.md");
    let (_, table) = page.split_once("| key | comes from |\n|---|---|\n").expect("the table of fields");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let listed: Vec<&str> = rows
        .filter_map(|row| row.split(" | ").next())
        .flat_map(|keys| keys.split('`').skip(1).step_by(2))
        .collect();
    // It comes from the pod, by a variable.
    assert!(listed.contains(&"node.name"), "{listed:?}");
    for path in listed.iter().filter(|path| **path != "node.name") {
        assert!(is_rendered(path), "docs/configuration.md lists `{path}`, which no field reaches");
    }
    for key in KEYS.iter().filter(|key| is_rendered(key.path)) {
        let is_listed = listed.iter().any(|path| {
            key.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        assert!(
            is_listed,
            "docs/configuration.md: add to the table of \"In Kubernetes\":\n| `{}` | FIELD |",
            key.path
        );
    }
}

#[test]
fn a_small_volume_keeps_less_space_free() {
    let config = rendered(&json!({"storage": {"volumes": [{"name": "data", "size": "10Gi"}]}}));
    assert_eq!(config.storage.min_free, ByteSize::from_mebibytes(512));
}

#[test]
fn listeners_take_both_families_only_where_the_services_do() {
    assert_eq!(
        rendered(&json!({})).listen.http.map(|address| address.to_string()).as_deref(),
        Some("0.0.0.0:8080")
    );
    let listen = rendered(&json!({"expose": {"ipFamilyPolicy": "PreferDualStack"}})).listen;
    for (address, expected) in [
        (listen.http, "[::]:8080"),
        (listen.admin, "[::]:5001"),
        (listen.swarm, "[::]:7680"),
        (listen.peers, "[::]:7681"),
    ] {
        assert_eq!(address.map(|address| address.to_string()).as_deref(), Some(expected));
    }
}

#[test]
fn a_changed_configuration_changes_the_hash_on_the_pods() {
    let hash = |spec| {
        plain(&built(&spec).stateful_set)["spec"]["template"]["metadata"]["annotations"]
            ["connectedcache.dev/config-hash"]
            .clone()
    };
    assert!(hash(json!({})).is_string());
    assert_eq!(hash(json!({})), hash(json!({"replicas": 5})));
    assert_ne!(hash(json!({})), hash(json!({"log": {"level": "Debug"}})));
}

#[test]
fn the_public_control_plane_is_asked_only_where_the_spec_says_so() {
    assert_eq!(rendered(&json!({})).control_plane, Config::default().control_plane);
    assert_eq!(Config::default().control_plane.mode, ControlPlaneMode::None);
    let config = rendered(&json!({"controlPlane": {"mode": "Microsoft"}}));
    assert!(!config.sharing.array_join.enabled, "peers would hear of the pod");
    let control_plane = config.control_plane;
    assert_eq!(control_plane.mode, ControlPlaneMode::Microsoft);
    assert_eq!((control_plane.geo_url, control_plane.ca_file), (None, None));
}

#[test]
fn what_the_schema_cannot_see_is_refused_with_every_finding_at_once() {
    let invalid = validated(&json!({
        "content": {"extraOrigins": [{"host": "192.0.2.1"}]},
        "upstream": {"resolve": [{"host": "dl.example.edu", "address": "999.0.0.1:80"}]},
        "storage": {"minFree": "99999999999E"},
    }))
    .expect_err("the spec was accepted");
    let text = invalid.to_string();
    for part in ["upstream.resolve[0].address", "storage.minFree"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let invalid = validated(&json!({"content": {"extraOrigins": [{"host": "192.0.2.1"}]}}));
    let text = invalid.expect_err("an address was accepted as a host").to_string();
    assert!(text.contains("content.extraOrigins[0].host"), "{text}");
}
