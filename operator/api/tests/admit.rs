//! Each CEL rule of the schema accepts what it should and refuses what it should, with a message that says what to do.
//! The rules are evaluated by a local implementation of CEL; the cluster cases show the same on a real API server.

#![allow(clippy::panic, reason = "a failed test says what it saw")]

use connected_cache_api::ConnectedCache;
use kube::core::cel::{validate_cel, validate_cel_update};
use serde_json::{Value, json};

fn named(name: &str, spec: &Value) -> ConnectedCache {
    serde_json::from_value(json!({
        "apiVersion": "connectedcache.dev/v1alpha1",
        "kind": "ConnectedCache",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }))
    .expect("the spec of a test is well-formed")
}

fn cache(spec: &Value) -> ConnectedCache {
    named("campus", spec)
}

#[track_caller]
fn accepts(spec: &Value) {
    if let Err(errors) = validate_cel(&cache(spec)) {
        panic!("{spec} was refused: {errors}");
    }
}

#[track_caller]
fn rejects(spec: &Value, message: &str) {
    let errors = validate_cel(&cache(spec)).expect_err("the object was accepted").to_string();
    assert!(errors.contains(message), "{errors}");
}

#[track_caller]
fn accepts_change(old: &Value, new: &Value) {
    if let Err(errors) = validate_cel_update(&cache(new), &cache(old)) {
        panic!("{old} -> {new} was refused: {errors}");
    }
}

#[track_caller]
fn rejects_change(old: &Value, new: &Value, message: &str) {
    let errors =
        validate_cel_update(&cache(new), &cache(old)).expect_err("the change was accepted").to_string();
    assert!(errors.contains(message), "{errors}");
}

#[test]
fn accepts_an_empty_spec() {
    accepts(&json!({}));
    accepts_change(&json!({}), &json!({}));
}

#[test]
fn accepts_names_that_services_can_have() {
    for name in ["a", "campus", "pop-lyon-2", &"a".repeat(52)] {
        assert!(validate_cel(&named(name, &json!({}))).is_ok(), "{name}");
    }
}

#[test]
fn rejects_names_that_services_cannot_have() {
    for name in ["2nd", "campus.north", "campus-", &"a".repeat(53)] {
        let errors = validate_cel(&named(name, &json!({}))).expect_err(name).to_string();
        assert!(errors.contains("at most 52 lower-case letters"), "{name}: {errors}");
    }
}

fn volumes(list: &Value) -> Value {
    json!({"storage": {"volumes": list}})
}

#[test]
fn accepts_volumes_that_grow_and_new_volumes() {
    let old = volumes(&json!([{"name": "data", "size": "100Gi"}]));
    accepts_change(&old, &volumes(&json!([{"name": "data", "size": "1Ti"}])));
    accepts_change(&old, &volumes(&json!([{"name": "data", "size": "102400Mi"}])));
    accepts_change(
        &old,
        &volumes(&json!([{"name": "data", "size": "100Gi"}, {"name": "more", "size": "1Gi"}])),
    );
    accepts_change(&old, &volumes(&json!([{"name": "other", "size": "10Gi"}])));
}

#[test]
fn rejects_a_volume_that_shrinks() {
    let old = volumes(&json!([{"name": "a", "size": "1Gi"}, {"name": "b", "size": "100Gi"}]));
    let new = volumes(&json!([{"name": "a", "size": "2Gi"}, {"name": "b", "size": "99Gi"}]));
    rejects_change(&old, &new, "a volume cannot shrink: restore its previous size");
}

#[test]
fn rejects_a_volume_that_is_too_small_to_be_a_cache() {
    accepts(&volumes(&json!([{"name": "data", "size": "1Gi"}])));
    rejects(&volumes(&json!([{"name": "data", "size": "512Mi"}])), "raise its size");
}

#[test]
fn rejects_sizes_that_are_no_whole_numbers_with_a_suffix() {
    accepts(&json!({"storage": {"minFree": "5Gi"}}));
    for size in ["50 GB", "1.5Ti", "many", "-1Gi"] {
        rejects(&volumes(&json!([{"name": "data", "size": size}])), "write a whole number with a suffix");
        rejects(&json!({"storage": {"minFree": size}}), "write a whole number with a suffix");
    }
}

#[test]
fn rejects_tags_and_digests_that_are_none() {
    accepts(&json!({"image": {"tag": "0.1.0", "digest": format!("sha256:{}", "0f".repeat(32))}}));
    rejects(&json!({"image": {"tag": "a b"}}), "a tag has letters");
    rejects(&json!({"image": {"digest": "0f".repeat(32)}}), "give the digest as sha256:");
}

#[test]
fn rejects_volume_names_that_claims_cannot_have() {
    accepts(&volumes(&json!([{"name": "ssd-0"}])));
    for name in ["Data", "-data", "data_1"] {
        rejects(&volumes(&json!([{"name": name}])), "use lower-case letters, digits and hyphens");
    }
}

#[test]
fn rejects_changing_the_storage_class_of_an_existing_volume() {
    let old = volumes(&json!([{"name": "data", "storageClassName": "fast"}]));
    accepts_change(&old, &volumes(&json!([{"name": "data", "storageClassName": "fast", "size": "200Gi"}])));
    accepts_change(&old, &volumes(&json!([{"name": "data2", "storageClassName": "slow"}])));
    for new in [json!([{"name": "data", "storageClassName": "slow"}]), json!([{"name": "data"}])] {
        rejects_change(&old, &volumes(&new), "the storage class of a volume cannot change");
    }
    rejects_change(
        &volumes(&json!([{"name": "data"}])),
        &volumes(&json!([{"name": "data", "storageClassName": "slow"}])),
        "the storage class of a volume cannot change",
    );
}

#[test]
fn accepts_bare_hosts() {
    accepts(&json!({
        "content": {
            "extraOrigins": [{"host": "dl.example.edu"}, {"host": "*.example.org", "class": "Other", "alias": "mirror"}],
            "denyOrigins": ["xvcf1.xboxlive.com", "*.xboxlive.com"],
        },
        "expose": {"hostnames": ["cache.example.edu"]},
    }));
}

#[test]
fn rejects_hosts_with_scheme_port_path_or_capitals() {
    for host in [
        "http://dl.example.edu",
        "dl.example.edu:80",
        "dl.example.edu/x",
        "DL.example.edu",
        "*",
        "a..b",
        "a.*.b",
    ] {
        rejects(&json!({"content": {"extraOrigins": [{"host": host}]}}), "give a bare host name");
        rejects(&json!({"content": {"denyOrigins": [host]}}), "give bare host names");
        rejects(&json!({"expose": {"hostnames": [host]}}), "give bare host names");
        rejects(
            &json!({"upstream": {"resolve": [{"host": host, "address": "192.0.2.1:80"}]}}),
            "give a bare host name",
        );
    }
    rejects(&json!({"expose": {"hostnames": ["*.example.edu"]}}), "give bare host names");
}

#[test]
fn rejects_addresses_without_ip_or_port() {
    for address in ["192.0.2.10:80", "[2001:db8::10]:8080"] {
        accepts(&json!({"upstream": {"resolve": [{"host": "dl.example.edu", "address": address}]}}));
    }
    for address in ["192.0.2.10", "origin.default.svc:80", "2001:db8::10:80", "192.0.2.10:"] {
        rejects(
            &json!({"upstream": {"resolve": [{"host": "dl.example.edu", "address": address}]}}),
            "give an IP address and a port",
        );
    }
}

#[test]
fn rejects_a_load_balancer_class_without_a_load_balancer() {
    accepts(&json!({"expose": {"type": "LoadBalancer", "loadBalancerClass": "metallb"}}));
    rejects(
        &json!({"expose": {"type": "ClusterIP", "loadBalancerClass": "metallb"}}),
        "remove it or change the type",
    );
}

#[test]
fn rejects_changing_the_load_balancer_class_in_place() {
    let old = json!({"expose": {"loadBalancerClass": "metallb"}});
    let cluster_ip = json!({"expose": {"type": "ClusterIP"}});
    accepts_change(&old, &cluster_ip);
    accepts_change(&cluster_ip, &json!({"expose": {"loadBalancerClass": "kube-vip"}}));
    rejects_change(
        &old,
        &json!({"expose": {"loadBalancerClass": "kube-vip"}}),
        "set expose.type to ClusterIP first",
    );
    rejects_change(&old, &json!({}), "set expose.type to ClusterIP first");
    rejects_change(&json!({}), &old, "set expose.type to ClusterIP first");
}

#[test]
fn rejects_a_tag_inside_the_repository() {
    accepts(
        &json!({"image": {"repository": "registry.example.edu:5000/connected-cache-sidecar", "tag": "0.1.0"}}),
    );
    for repository in ["https://registry.example.edu/x", "registry.example.edu/x@sha256:00"] {
        rejects(&json!({"image": {"repository": repository}}), "the digest to image.digest");
    }
    rejects(&json!({"image": {"repository": "registry.example.edu/x:1.0"}}), "the tag goes to image.tag");
}

fn control_plane(block: &Value) -> Value {
    json!({"controlPlane": block})
}

#[test]
fn accepts_each_mode_of_the_control_plane() {
    for block in [
        json!({}),
        json!({"mode": "None"}),
        json!({"mode": "Microsoft"}),
        json!({"mode": "Custom", "geoUrl": "https://geo.example.edu/geo"}),
        json!({"mode": "Custom", "geoUrl": "https://geo.example.edu:8443"}),
        json!({"mode": "Custom", "geoUrl": "https://[2001:db8::1]:443/geo", "caConfigMap": {"name": "lab-ca"}}),
        json!({"mode": "Custom", "geoUrl": "https://192.0.2.1/geo", "caConfigMap": {"name": "kube-root-ca.crt", "key": "x_1"}}),
    ] {
        accepts(&control_plane(&block));
    }
    accepts_change(&control_plane(&json!({"mode": "Microsoft"})), &json!({}));
}

#[test]
fn the_key_of_the_authorities_has_a_default() {
    let spec = control_plane(
        &json!({"mode": "Custom", "geoUrl": "https://geo.example.edu/geo", "caConfigMap": {"name": "lab-ca"}}),
    );
    let named = cache(&spec).spec.control_plane.ca_config_map.expect("a ConfigMap is named");
    assert_eq!((named.name.as_str(), named.key.as_str()), ("lab-ca", "ca.crt"));
}

#[test]
fn rejects_a_custom_control_plane_without_its_address() {
    rejects(&control_plane(&json!({"mode": "Custom"})), "controlPlane.geoUrl is required");
    rejects(
        &control_plane(&json!({"mode": "Custom", "caConfigMap": {"name": "lab-ca"}})),
        "controlPlane.geoUrl is required",
    );
}

#[test]
fn rejects_what_only_a_custom_control_plane_has() {
    for mode in ["None", "Microsoft"] {
        rejects(
            &control_plane(&json!({"mode": mode, "geoUrl": "https://geo.example.edu/geo"})),
            "controlPlane.geoUrl only has a meaning",
        );
        rejects(
            &control_plane(&json!({"mode": mode, "caConfigMap": {"name": "lab-ca"}})),
            "controlPlane.caConfigMap only has a meaning",
        );
    }
}

#[test]
fn rejects_addresses_of_a_control_plane_that_prove_nothing_or_hold_more_than_an_address() {
    for url in [
        "http://geo.example.edu/geo",
        "geo.example.edu/geo",
        "https://",
        "https:///geo",
        "https://geo.example.edu/geo?profile=1",
        "https://geo.example.edu/geo#x",
        "https://user:secret@geo.example.edu/geo",
        "https://geo.example.edu:port/geo",
    ] {
        rejects(&control_plane(&json!({"mode": "Custom", "geoUrl": url})), "give an https URL without query");
    }
}

#[test]
fn rejects_names_and_keys_that_config_maps_cannot_have() {
    let block = |named: Value| {
        control_plane(
            &json!({"mode": "Custom", "geoUrl": "https://geo.example.edu/geo", "caConfigMap": named}),
        )
    };
    for name in ["Lab", "lab_ca", "-lab", "lab/ca"] {
        rejects(&block(json!({"name": name})), "give the name of a ConfigMap");
    }
    for key in ["..", "a/b", "a b"] {
        rejects(&block(json!({"name": "lab-ca", "key": key})), "give a key of the ConfigMap");
    }
}
