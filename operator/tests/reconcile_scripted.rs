//! The reconciler against a scripted API server: which calls it makes, in which order, and which it does not make.

mod common;

use common::{
    CA, UID,
    operator::{
        ACCOUNT, CACHE, CONFIG_MAP, EVENTS, Operator, PEERS, PEERS_CA, PODS_SERVICE, ROLE, ROLE_BINDING,
        SERVICE, STATEFUL_SET,
    },
    with_control_plane_ca,
};
use kube::runtime::controller::Action;
use serde_json::{Value, json};

#[tokio::test]
async fn a_new_cache_gets_its_children_then_its_status_then_an_event() {
    let operator = Operator::with(&json!({}));
    operator.pass().await.expect("a pass");
    let calls = operator.server.take_calls();
    let writes: Vec<String> =
        calls.iter().filter(|call| call.is_write()).map(common::api_server::Call::line).collect();
    assert_eq!(
        writes,
        [
            format!("PATCH {CONFIG_MAP}"),
            format!("PATCH {PODS_SERVICE}"),
            format!("PATCH {SERVICE}"),
            format!("PATCH {ACCOUNT}"),
            format!("PATCH {ROLE}"),
            format!("PATCH {ROLE_BINDING}"),
            // Who signs is kept before anything that was signed is given out, and both before a pod needs them.
            format!("PATCH {PEERS_CA}"),
            format!("PATCH {PEERS}"),
            format!("PATCH {STATEFUL_SET}"),
            format!("PATCH {CACHE}/status"),
            format!("POST {EVENTS}"),
        ]
    );
    for call in calls.iter().filter(|call| call.method == "PATCH") {
        assert!(call.query.contains("force=true"), "{call:?}");
        let manager = if call.path.ends_with("/status") {
            "connected-cache-operator-status"
        } else {
            "connected-cache-operator"
        };
        assert!(call.query.split('&').any(|part| part == format!("fieldManager={manager}")), "{call:?}");
    }
}

#[tokio::test]
async fn a_cache_at_rest_is_read_and_not_written() {
    let operator = Operator::with(&json!({}));
    operator.pass().await.expect("a pass");
    operator.server.take_calls();
    operator.pass().await.expect("a second pass");
    let calls = operator.server.take_calls();
    assert_eq!(calls.len(), 11, "{calls:?}");
    assert!(calls.iter().all(|call| !call.is_write()), "{calls:?}");
}

#[tokio::test]
async fn a_child_that_somebody_changed_is_applied_again_and_only_that_one() {
    let operator = Operator::with(&json!({}));
    operator.pass().await.expect("a pass");
    operator.server.take_calls();
    operator.server.edit(SERVICE, |service| service["spec"]["type"] = json!("NodePort"));
    operator.pass().await.expect("a repair");
    assert_eq!(operator.server.take_writes(), [format!("PATCH {SERVICE}")]);
    assert_eq!(operator.server.get(SERVICE).expect("the service")["spec"]["type"], "LoadBalancer");
}

#[tokio::test]
async fn an_annotation_that_the_spec_no_longer_has_is_applied_away() {
    let operator = Operator::with(&json!({"expose": {"annotations": {"pool": "a"}}}));
    operator.pass().await.expect("a pass");
    operator.server.take_calls();
    operator.server.edit(CACHE, |cache| cache["spec"]["expose"]["annotations"] = json!({}));
    operator.pass().await.expect("a second pass");
    let calls = operator.server.take_calls();
    let apply = calls
        .iter()
        .find(|call| call.line() == format!("PATCH {SERVICE}"))
        .expect("the service was not applied");
    assert!(apply.body["metadata"]["annotations"]["pool"].is_null(), "{apply:?}");
}

#[tokio::test]
async fn one_child_that_fails_does_not_stop_the_others() {
    let operator = Operator::with(&json!({}));
    operator.server.fail("PATCH", SERVICE, 403, "Forbidden", "services is forbidden: quota exceeded");
    let error = operator.pass().await.expect_err("the failure was swallowed");
    assert_eq!(error.label(), "apply");
    let writes = operator.server.take_writes();
    for path in [CONFIG_MAP, PODS_SERVICE, STATEFUL_SET] {
        assert!(writes.contains(&format!("PATCH {path}")), "{path} is not in {writes:?}");
    }
    let accepted = operator.condition("Accepted");
    assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("False"), &json!("ApplyFailed")));
    assert!(
        accepted["message"].as_str().is_some_and(|message| message.contains("quota exceeded")),
        "{accepted}"
    );
    operator.server.heal();
    operator.pass().await.expect("a repaired pass");
    assert_eq!(operator.condition("Accepted")["status"], "True");
}

#[tokio::test]
async fn a_namespace_on_its_way_out_is_left_in_peace() {
    let operator = Operator::with(&json!({}));
    operator.server.fail_because("PATCH", CONFIG_MAP, 403, "Forbidden", "NamespaceTerminating");
    assert_eq!(operator.pass().await.expect("a pass"), Action::await_change());
    let writes = operator.server.take_writes();
    assert!(!writes.iter().any(|write| write.contains("/status") || write.contains("/events")), "{writes:?}");
}

#[tokio::test]
async fn pods_wait_for_their_configuration() {
    let operator = Operator::with(&json!({}));
    operator.server.fail("PATCH", CONFIG_MAP, 500, "InternalError", "etcd is down");
    operator.pass().await.expect_err("the failure was swallowed");
    let writes = operator.server.take_writes();
    assert!(!writes.contains(&format!("PATCH {STATEFUL_SET}")), "{writes:?}");
    assert!(writes.contains(&format!("PATCH {SERVICE}")), "{writes:?}");
    let message = operator.condition("Accepted")["message"].clone();
    assert!(message.as_str().is_some_and(|text| text.contains("etcd is down")), "{message}");
}

#[tokio::test]
async fn a_list_that_apply_cannot_repair_is_overwritten() {
    let operator = Operator::with(&json!({}));
    operator.pass().await.expect("a pass");
    operator.server.take_calls();
    operator.server.edit(SERVICE, |service| service["spec"]["ports"][0]["port"] = json!(81));
    operator.server.fail("PATCH", SERVICE, 422, "Invalid", "Duplicate value");
    operator.pass().await.expect_err("the server refuses everything");
    let kinds: Vec<bool> = operator
        .server
        .take_calls()
        .iter()
        .filter(|call| call.line() == format!("PATCH {SERVICE}"))
        .map(|call| call.query.contains("force=true"))
        .collect();
    assert_eq!(kinds, [true, false], "an apply, then a merge patch");
}

#[tokio::test]
async fn a_rejected_spec_leaves_the_children_alone_and_waits_for_its_edit() {
    let operator = Operator::with(&json!({}));
    operator.pass().await.expect("a pass");
    operator.server.take_calls();
    operator.server.edit(CACHE, |cache| {
        cache["spec"]["upstream"]["resolve"] = json!([{"host": "dl.example.edu", "address": "999.0.0.1:80"}]);
    });
    let action = operator.pass().await.expect("a rejection is no failure");
    assert_eq!(action, Action::await_change());
    assert_eq!(operator.server.take_writes(), [format!("PATCH {CACHE}/status"), format!("POST {EVENTS}")]);
    let accepted = operator.condition("Accepted");
    assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("False"), &json!("InvalidSpec")));
    assert!(accepted["message"].as_str().is_some_and(|text| text.contains("upstream.resolve[0].address")));
    operator.pass().await.expect("a second pass");
    assert_eq!(operator.server.take_writes(), Vec::<String>::new(), "the same rejection was told twice");
}

#[tokio::test]
async fn authorities_that_are_not_there_are_waited_for_and_no_pod_is_touched_meanwhile() {
    const AUTHORITIES: &str = "/api/v1/namespaces/caching/configmaps/lab-ca";
    let spec = json!({"controlPlane": {
        "mode": "Custom", "geoUrl": "https://geo.example.edu/geo", "caConfigMap": {"name": "lab-ca"},
    }});
    let operator = Operator::with(&json!({}));
    operator.pass().await.expect("a pass");
    operator.server.take_calls();
    operator.server.edit(CACHE, |cache| cache["spec"] = spec.clone());
    let data = |data: Value| with_control_plane_ca(&spec, &data).control_plane_ca;
    for (authorities, words) in [
        (None, "there is no ConfigMap lab-ca in the namespace caching"),
        (data(json!({"another.crt": CA})), "the ConfigMap lab-ca has no key ca.crt"),
        (data(json!({"ca.crt": "not yet"})), "is no certificate in PEM"),
    ] {
        if let Some(authorities) = authorities {
            operator.server.put(AUTHORITIES, &authorities);
        }
        let action = operator.pass().await.expect("waiting is no failure");
        assert_ne!(action, Action::await_change(), "nobody would look again");
        let accepted = operator.condition("Accepted");
        assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("False"), &json!("ReferenceMissing")));
        let message = accepted["message"].as_str().expect("a message");
        assert!(message.contains(words) && message.contains("make the named object"), "{message}");
        let writes = operator.server.take_writes();
        let [status, event] = &writes[..] else { panic!("{words}: {writes:?}") };
        assert_eq!(*status, format!("PATCH {CACHE}/status"), "{words}");
        // Events of one reason are counted in one object.
        assert!(event.contains(EVENTS), "{words}: {event}");
    }
    operator.server.put(AUTHORITIES, &data(json!({"ca.crt": CA})));
    operator.pass().await.expect("a pass");
    assert_eq!(operator.condition("Accepted")["status"], "True");
    let writes = operator.server.take_writes();
    for path in [CONFIG_MAP, STATEFUL_SET] {
        assert!(writes.contains(&format!("PATCH {path}")), "{path} is not in {writes:?}");
    }
    // The ConfigMap is somebody else's: it is read and never written.
    assert!(!writes.iter().any(|write| write.contains(AUTHORITIES)), "{writes:?}");
}

#[tokio::test]
async fn an_object_of_somebody_else_is_not_taken_over() {
    let operator = Operator::with(&json!({}));
    operator.server.put(
        SERVICE,
        &json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "campus", "namespace": "caching", "uid": "another"},
            "spec": {"type": "ClusterIP"},
        }),
    );
    operator.pass().await.expect_err("the failure was swallowed");
    assert!(!operator.server.take_writes().contains(&format!("PATCH {SERVICE}")));
    let accepted = operator.condition("Accepted");
    assert_eq!(accepted["reason"], "NameTaken");
    assert!(accepted["message"].as_str().is_some_and(|text| text.contains("give the cache another name")));
}

#[tokio::test]
async fn a_change_of_volumes_is_told_while_the_rest_is_applied() {
    let operator = Operator::with(&json!({}));
    operator.pass().await.expect("a pass");
    operator.server.take_calls();
    operator.server.edit(CACHE, |cache| {
        cache["spec"]["replicas"] = json!(3);
        cache["spec"]["storage"]["volumes"] = json!([{"name": "data", "size": "200Gi"}]);
    });
    operator.pass().await.expect("a pass");
    let set = operator.server.get(STATEFUL_SET).expect("the stateful set");
    assert_eq!(set["spec"]["replicas"], 3);
    let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
    assert_eq!(claim, "100Gi");
    assert_eq!(operator.condition("Accepted")["reason"], "VolumesChanged");
    assert_eq!(operator.event_reasons(), ["ScaledUp", "VolumesChanged"]);
    operator.pass().await.expect("a pass at rest");
    assert_eq!(operator.server.take_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_paused_cache_is_described_and_left_alone() {
    let operator = Operator::with(&json!({}));
    operator.server.edit(CACHE, |cache| {
        cache["metadata"]["annotations"] = json!({"connectedcache.dev/reconcile": "paused"});
    });
    operator.pass().await.expect("a pass");
    assert_eq!(operator.server.take_writes(), [format!("PATCH {CACHE}/status")]);
    assert_eq!(operator.server.get(CACHE).expect("the cache")["status"]["summary"]["state"], "Paused");
}

#[tokio::test]
async fn a_cache_that_is_gone_or_going_needs_nothing() {
    let operator = Operator::with(&json!({}));
    operator.server.edit(CACHE, |cache| {
        cache["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    assert_eq!(operator.pass().await.expect("a pass"), Action::await_change());
    assert_eq!(operator.server.take_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_read_that_fails_writes_nothing() {
    let operator = Operator::with(&json!({}));
    operator.server.fail("GET", STATEFUL_SET, 403, "Forbidden", "no");
    let error = operator.pass().await.expect_err("the failure was swallowed");
    assert_eq!(error.label(), "dereference");
    assert!(error.to_string().contains("StatefulSet campus"), "{error}");
    assert_eq!(operator.server.take_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn children_are_owned_by_the_cache() {
    let operator = Operator::with(&json!({}));
    operator.pass().await.expect("a pass");
    for path in
        [CONFIG_MAP, SERVICE, PODS_SERVICE, STATEFUL_SET, ACCOUNT, ROLE, ROLE_BINDING, PEERS_CA, PEERS]
    {
        let owner = operator.server.get(path).expect(path)["metadata"]["ownerReferences"][0].clone();
        assert_eq!((&owner["uid"], &owner["kind"]), (&json!(UID), &json!("ConnectedCache")), "{path}");
    }
}
