//! The StatefulSet and its pods.

mod common;

use common::{CA, built, default_image, observed, plain, with_control_plane_ca};
use connected_cache_operator::controller::{build::build, validate::validate};
use serde_json::{Value, json};

fn stateful_set(spec: &Value) -> Value {
    plain(&built(spec).stateful_set)
}

fn pod(spec: &Value) -> Value {
    stateful_set(spec)["spec"]["template"]["spec"].clone()
}

#[test]
fn pods_meet_pod_security_restricted() {
    let pod = pod(&json!({}));
    // The rules of the profile, one by one.
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[host].is_null() || pod[host] == false, "{host}");
    }
    for volume in pod["volumes"].as_array().expect("volumes") {
        assert!(volume.get("hostPath").is_none(), "{volume}");
    }
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_ne!(pod["securityContext"]["runAsUser"], 0);
    let containers = pod["containers"].as_array().expect("containers");
    assert_eq!(containers.len(), 1);
    let container = &containers[0];
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
    assert!(container["securityContext"]["privileged"].is_null());
    for port in container["ports"].as_array().expect("ports") {
        assert!(port["hostPort"].is_null(), "{port}");
    }
    // Beyond the profile.
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch");
}

#[test]
fn pods_that_share_ask_the_api_server_with_rights_of_their_own_whatever_their_number() {
    let pod_of = |replicas: u8| pod(&json!({"replicas": replicas}));
    assert_eq!(pod_of(1)["serviceAccountName"], "campus-pods");
    assert_eq!(pod_of(1)["automountServiceAccountToken"], true);
    assert_eq!(pod_of(1), pod_of(64), "scaling would replace pods");
    let alone = pod(&json!({"sharing": {"mode": "Off"}}));
    assert_eq!(alone["automountServiceAccountToken"], false);
    assert_eq!(alone["serviceAccountName"], "default");
}

#[test]
fn the_certificate_of_the_pods_is_mounted_where_the_configuration_says() {
    let pod_spec = pod(&json!({}));
    let volumes = pod_spec["volumes"].as_array().expect("volumes");
    let volume = volumes.iter().find(|volume| volume["secret"].is_object()).expect("a Secret");
    let secret = &volume["secret"];
    assert_eq!(secret["secretName"], "campus-peers");
    let files: Vec<_> = secret["items"].as_array().expect("items").iter().map(|item| &item["path"]).collect();
    assert_eq!(files, ["tls.crt", "tls.key", "ca.crt"]);
    // A pod that comes before its Secret serves, by itself.
    assert_eq!(secret["optional"], false);
    let mounts = pod_spec["containers"][0]["volumeMounts"].as_array().expect("mounts");
    let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).expect("a mount");
    assert_eq!(mount["mountPath"], "/etc/connected-cache-peers");
    assert_eq!(mount["readOnly"], true);
    // Files that are mounted one by one never follow a change.
    assert!(mount["subPath"].is_null(), "{mount}");
    assert!(volume["name"].as_str().is_some_and(|name| name.len() <= 63), "{volume}");
    // The authority's key is for the operator alone.
    assert!(!pod_spec.to_string().contains("campus-peers-ca"), "{pod_spec}");

    let alone = pod(&json!({"sharing": {"mode": "Off"}})).to_string();
    assert!(!alone.contains("peers") && !alone.contains("swarm"), "{alone}");
}

#[test]
fn the_sidecar_is_started_with_its_configuration_and_knows_its_name() {
    let pod = pod(&json!({}));
    let container = &pod["containers"][0];
    assert_eq!(container["name"], "sidecar");
    assert_eq!(container["image"], "registry.example.edu/sidecar:1.2.3");
    assert_eq!(container["args"], json!(["serve", "--config", "/etc/connected-cache/config.yaml"]));
    assert_eq!(container["env"][0]["name"], "CONNECTEDCACHE_NODE__NAME");
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
    let configuration = &pod["volumes"][0];
    assert_eq!(configuration["configMap"]["name"], "campus-config");
    assert_eq!(container["volumeMounts"][0]["name"], configuration["name"]);
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/etc/connected-cache");
}

#[test]
fn every_probe_asks_the_admin_port() {
    let container = pod(&json!({}))["containers"][0].clone();
    for (probe, path) in
        [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], "admin");
    }
}

#[test]
fn every_volume_is_claimed_and_mounted_under_its_name() {
    let spec = json!({"storage": {"volumes": [
        {"name": "a", "size": "10Gi"},
        {"name": "b", "size": "20Gi", "storageClassName": "fast"},
    ]}});
    let set = stateful_set(&spec);
    let claims = set["spec"]["volumeClaimTemplates"].as_array().expect("claims");
    assert_eq!(claims.len(), 2);
    assert_eq!(claims[0]["spec"]["resources"]["requests"]["storage"], "10Gi");
    assert!(claims[0]["spec"]["storageClassName"].is_null(), "the default class is the cluster's choice");
    assert_eq!(claims[1]["spec"]["storageClassName"], "fast");
    let mounts = &set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"];
    for (mount, name) in [(&mounts[1], "a"), (&mounts[2], "b")] {
        assert_eq!(mount["name"], name);
        assert_eq!(mount["mountPath"], format!("/cache/{name}"));
    }
}

#[test]
fn a_pod_is_given_the_time_that_draining_takes() {
    let config = connected_cache_config::Config::default();
    let (grace, handover) = (config.shutdown.grace_seconds, config.sharing.handover_seconds);
    let seconds = |mode: &str| {
        let spec = json!({"rollout": {"drainSeconds": 40}, "sharing": {"mode": mode}});
        pod(&spec)["terminationGracePeriodSeconds"].as_u64().expect("a grace period")
    };
    assert!(seconds("Auto") > 40 + handover + grace, "{}", seconds("Auto"));
    let alone = seconds("Off");
    assert!(alone > 40 + grace && alone < 40 + handover + grace, "{alone}");
}

#[test]
fn replicas_prefer_different_nodes_and_do_not_insist() {
    let constraints = pod(&json!({}))["topologySpreadConstraints"].clone();
    assert_eq!(constraints[0]["topologyKey"], "kubernetes.io/hostname");
    for constraint in constraints.as_array().expect("constraints") {
        assert_eq!(constraint["whenUnsatisfiable"], "ScheduleAnyway");
    }
}

#[test]
fn resources_are_modest_unless_said_otherwise() {
    let of = |spec| pod(&spec)["containers"][0]["resources"].clone();
    let modest = json!({"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}});
    assert_eq!(of(json!({})), modest);
    let own = of(json!({"resources": {"requests": {"cpu": 2, "memory": "4Gi"}, "limits": {}}}));
    assert_eq!(own["requests"], json!({"cpu": "2", "memory": "4Gi"}));
    assert!(own["limits"].as_object().is_none_or(serde_json::Map::is_empty), "{own}");
}

#[test]
fn parts_of_the_image_can_be_replaced() {
    let image = |spec: Value| pod(&json!({"image": spec}))["containers"][0]["image"].clone();
    assert_eq!(image(json!({"tag": "9"})), "registry.example.edu/sidecar:9");
    assert_eq!(image(json!({"repository": "mirror/x"})), "mirror/x:1.2.3");
    let digest = format!("sha256:{}", "0f".repeat(32));
    assert_eq!(
        image(json!({"tag": "9", "digest": digest})),
        format!("registry.example.edu/sidecar@{digest}")
    );
}

#[test]
fn existing_claims_stay_as_they_are_and_the_difference_is_told() {
    let mut observed = observed(&json!({"replicas": 3, "storage": {"volumes": [
        {"name": "data", "size": "200Gi"}, {"name": "more"},
    ]}}));
    observed.stateful_set = Some(built(&json!({})).stateful_set);
    let valid = validate(&observed, &default_image()).expect("a valid spec");
    let change = valid.pending_volume_change.clone().expect("the difference was not seen");
    assert!(change.contains("data would change from 100Gi to 200Gi"), "{change}");
    assert!(change.contains("more would be added"), "{change}");
    let children = build(&valid);
    let (before, after) = (plain(&observed.stateful_set), plain(&children.stateful_set));
    assert_eq!(before["spec"]["volumeClaimTemplates"], after["spec"]["volumeClaimTemplates"]);
    assert_eq!(after["spec"]["replicas"], 3, "the rest of the spec is applied");
    let config = &children.config_map.data.expect("data")["config.yaml"];
    assert!(config.contains("limit: 90Gi") && !config.contains("/cache/more"), "{config}");
}

fn lab(ca: &str) -> Value {
    let spec = json!({"controlPlane": {
        "mode": "Custom", "geoUrl": "https://geo.example.edu/geo", "caConfigMap": {"name": "lab-ca", "key": "lab.pem"},
    }});
    let observed = with_control_plane_ca(&spec, &json!({"lab.pem": ca}));
    plain(&build(&validate(&observed, &default_image()).expect("a valid spec")).stateful_set)
}

#[test]
fn the_authorities_of_the_control_plane_are_mounted_where_the_configuration_says() {
    let pod = lab(CA)["spec"]["template"]["spec"].clone();
    let volume = &pod["volumes"][1];
    assert_eq!(volume["configMap"]["name"], "lab-ca");
    assert_eq!(volume["configMap"]["items"], json!([{"key": "lab.pem", "path": "ca.crt"}]));
    // A pod that is moved while somebody edits must start.
    assert_eq!(volume["configMap"]["optional"], true);
    let mount = &pod["containers"][0]["volumeMounts"][1];
    assert_eq!(mount["name"], volume["name"]);
    assert_eq!(mount["mountPath"], "/etc/connected-cache-control-plane");
    assert_eq!(mount["readOnly"], true);
    // Files that are mounted one by one never follow a change.
    assert!(mount["subPath"].is_null(), "{mount}");
    assert!(volume["name"].as_str().is_some_and(|name| name.len() <= 63), "{volume}");
}

#[test]
fn without_authorities_of_its_own_a_pod_has_no_volume_for_them() {
    for spec in [json!({}), json!({"controlPlane": {"mode": "Microsoft"}})] {
        let pod = pod(&spec);
        let config_maps =
            pod["volumes"].as_array().expect("volumes").iter().map(|volume| &volume["configMap"]);
        let named: Vec<_> = config_maps.filter_map(|map| map["name"].as_str()).collect();
        assert_eq!(named, ["campus-config"], "{spec}");
        assert!(!pod.to_string().contains("control-plane"), "{pod}");
    }
}

#[test]
fn other_authorities_replace_no_pod_and_another_address_does() {
    let other = CA.replace("MIIB", "MIIC");
    assert_eq!(lab(CA), lab(&other));
    let template = |mode: Value| stateful_set(&json!({"controlPlane": mode}))["spec"]["template"].clone();
    let custom = |url: &str| json!({"mode": "Custom", "geoUrl": url});
    let (a, b) = (custom("https://a.example.edu/geo"), custom("https://b.example.edu/geo"));
    assert_ne!(template(a.clone()), template(b));
    assert_ne!(template(a), template(json!({"mode": "Microsoft"})));
}
