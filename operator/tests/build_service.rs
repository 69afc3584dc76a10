//! The two Services.

mod common;

use common::{UID, built, plain};
use serde_json::json;

#[test]
fn clients_get_port_80_of_a_load_balancer_that_shows_their_address() {
    let service = plain(&built(&json!({})).service);
    assert_eq!(service["metadata"]["name"], "campus");
    assert_eq!(service["metadata"]["ownerReferences"][0]["uid"], UID);
    assert_eq!(service["metadata"]["ownerReferences"][0]["controller"], true);
    let spec = &service["spec"];
    assert_eq!(spec["type"], "LoadBalancer");
    assert_eq!(spec["externalTrafficPolicy"], "Local");
    assert_eq!(spec["ports"][0]["port"], 80);
    assert_eq!(spec["ports"][0]["targetPort"], "http");
    assert_eq!(
        spec["selector"],
        json!({
            "app.kubernetes.io/name": "connected-cache",
            "app.kubernetes.io/instance": "campus",
            "app.kubernetes.io/component": "cache",
        })
    );
}

#[test]
fn a_cluster_internal_service_has_no_external_policy() {
    // The API server refuses externalTrafficPolicy on a Service of type ClusterIP.
    let service = plain(&built(&json!({"expose": {"type": "ClusterIP"}})).service);
    assert_eq!(service["spec"]["type"], "ClusterIP");
    assert!(service["spec"]["externalTrafficPolicy"].is_null(), "{service}");
}

#[test]
fn what_expose_says_reaches_the_service() {
    let service = plain(
        &built(&json!({"expose": {
            "loadBalancerClass": "metallb",
            "annotations": {"metallb.io/address-pool": "campus"},
            "externalTrafficPolicy": "Cluster",
            "ipFamilyPolicy": "RequireDualStack",
        }}))
        .service,
    );
    assert_eq!(service["spec"]["loadBalancerClass"], "metallb");
    assert_eq!(service["metadata"]["annotations"]["metallb.io/address-pool"], "campus");
    assert_eq!(service["spec"]["externalTrafficPolicy"], "Cluster");
    assert_eq!(service["spec"]["ipFamilyPolicy"], "RequireDualStack");
}

#[test]
fn every_pod_has_a_name_before_it_is_ready() {
    let service = plain(&built(&json!({})).pods_service);
    // Pods that share find each other by this Service.
    assert_eq!(service["metadata"]["name"], "campus-pods");
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
    let of_each: &[(&str, i64)] = &[("http", 8080), ("admin", 5001)];
    let of_sharing: &[(&str, i64)] = &[("swarm", 7680), ("peers", 7681)];
    assert_eq!(ports(&service), [of_each, of_sharing].concat());
    let alone = plain(&built(&json!({"sharing": {"mode": "Off"}})).pods_service);
    assert_eq!(ports(&alone), of_each);
}

fn ports(service: &serde_json::Value) -> Vec<(&str, i64)> {
    let ports = service["spec"]["ports"].as_array().expect("ports").iter();
    ports
        .map(|port| {
            let (name, number) = (port["name"].as_str().expect("a name"), port["port"].as_i64());
            assert_eq!(port["targetPort"], name);
            (name, number.expect("a port"))
        })
        .collect()
}
