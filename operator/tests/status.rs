//! The status that follows from what was seen. Time is an argument.

mod common;

use common::{cache, validated};
use connected_cache_api::{ConnectedCache, ConnectedCacheStatus};
use connected_cache_operator::controller::status::{Facts, START_DEADLINE_SECONDS, compute};
use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::Service},
    jiff::Timestamp,
};
use serde_json::{Value, json};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("a time")
}

fn stateful_set(status: &Value) -> StatefulSet {
    serde_json::from_value(json!({"metadata": {"name": "campus", "generation": 2}, "status": status}))
        .expect("a stateful set")
}

fn service(address: Option<&str>) -> Service {
    let ingress: Vec<Value> = address.iter().map(|address| json!({"ip": address})).collect();
    serde_json::from_value(json!({
        "metadata": {"name": "campus"},
        "spec": {"ports": [{"port": 80, "nodePort": 31234}]},
        "status": {"loadBalancer": {"ingress": ingress}},
    }))
    .expect("a service")
}

fn settled(pods: i32) -> Value {
    json!({
        "observedGeneration": 2, "replicas": pods, "readyReplicas": pods, "updatedReplicas": pods,
        "currentRevision": "a", "updateRevision": "a",
    })
}

fn computed(
    cache: &ConnectedCache,
    pods: &Value,
    address: Option<&str>,
    second: i64,
) -> ConnectedCacheStatus {
    let valid = validated(&serde_json::to_value(&cache.spec).expect("plain data")).expect("a valid spec");
    compute(&Facts {
        cache,
        verdict: Ok(&valid),
        is_paused: false,
        stateful_set: Some(&stateful_set(pods)),
        service: Some(&service(address)),
        failures: &[],
        now: at(second),
    })
}

#[track_caller]
fn condition<'a>(status: &'a ConnectedCacheStatus, kind: &str) -> (&'a str, &'a str, &'a str) {
    let found =
        status.conditions.iter().find(|condition| condition.type_ == kind).expect("every type is there");
    (&found.status, &found.reason, &found.message)
}

fn summary(status: &ConnectedCacheStatus) -> (String, String) {
    let summary = status.summary.clone().expect("a summary");
    (summary.ready, summary.state)
}

#[test]
fn a_cache_whose_pods_all_serve_is_ready() {
    let status = computed(&cache(&json!({})), &settled(2), Some("10.20.0.10"), 0);
    assert_eq!(summary(&status), ("2/2".to_owned(), "Serving".to_owned()));
    assert_eq!(condition(&status, "Ready").0, "True");
    assert_eq!(condition(&status, "Progressing").0, "False");
    assert_eq!(condition(&status, "Degraded").0, "False");
    assert_eq!(condition(&status, "Exposed").0, "True");
    assert_eq!(status.endpoint.as_deref(), Some("10.20.0.10"));
    assert_eq!(status.version.as_deref(), Some("1.2.3"));
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!((status.replicas, status.ready_replicas), (2, 2));
    assert_eq!(
        status.selector.as_deref(),
        Some(
            "app.kubernetes.io/component=cache,app.kubernetes.io/instance=campus,\
             app.kubernetes.io/name=connected-cache"
        )
    );
    assert_eq!(status.summary.expect("a summary").message, "");
}

#[test]
fn a_missing_address_is_told_and_does_not_hold_up_ready() {
    let status = computed(&cache(&json!({})), &settled(2), None, 0);
    assert_eq!(condition(&status, "Ready").0, "True");
    let (exposed, reason, message) = condition(&status, "Exposed");
    assert_eq!((exposed, reason), ("False", "AddressPending"));
    assert!(message.contains("install a load balancer"), "{message}");
    assert_eq!(status.endpoint.as_deref(), Some("<pending>"));
    assert!(status.summary.expect("a summary").message.contains("install a load balancer"));
}

#[test]
fn the_endpoint_is_what_clients_should_be_told() {
    let of = |expose: Value| computed(&cache(&json!({"expose": expose})), &settled(2), None, 0).endpoint;
    assert_eq!(of(json!({"hostnames": ["cache.example.edu"]})).as_deref(), Some("cache.example.edu"));
    assert_eq!(of(json!({"type": "ClusterIP"})).as_deref(), Some("campus.caching.svc"));
    assert_eq!(of(json!({"type": "NodePort"})).as_deref(), Some("<node>:31234"));
}

#[test]
fn a_rollout_is_rolling_while_the_other_pods_serve() {
    let pods = json!({
        "observedGeneration": 2, "replicas": 2, "readyReplicas": 1, "updatedReplicas": 1,
        "currentRevision": "a", "updateRevision": "b",
    });
    let status = computed(&cache(&json!({})), &pods, None, 0);
    assert_eq!(summary(&status), ("1/2".to_owned(), "Rolling".to_owned()));
    assert_eq!(condition(&status, "Available").0, "True");
    assert_eq!(condition(&status, "Ready").1, "RollingOut");
    assert_eq!(condition(&status, "Progressing").1, "RollingOut");
}

#[test]
fn counts_of_an_older_generation_are_not_ready() {
    let mut pods = settled(2);
    pods["observedGeneration"] = json!(1);
    let status = computed(&cache(&json!({})), &pods, None, 0);
    assert_eq!((condition(&status, "Ready").0, condition(&status, "Ready").1), ("False", "Observing"));
}

#[test]
fn a_transition_time_moves_only_with_the_status_of_its_condition() {
    let mut cache = cache(&json!({}));
    let mut pods = settled(2);
    pods["readyReplicas"] = json!(0);
    let time = |status: &ConnectedCacheStatus, kind: &str| {
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind)
            .map(|condition| condition.last_transition_time.0)
    };
    let first = computed(&cache, &pods, None, 0);
    cache.status = Some(first.clone());
    assert_eq!(computed(&cache, &pods, None, 60), first, "nothing changed, so nothing is written");
    let second = computed(&cache, &settled(2), None, 90);
    assert_eq!(time(&second, "Ready"), Some(at(90)));
    assert_eq!(time(&second, "Accepted"), Some(at(0)));
}

#[test]
fn pods_that_do_not_start_degrade_the_cache_after_a_while_and_only_then() {
    let mut cache = cache(&json!({}));
    let mut pods = settled(2);
    pods["readyReplicas"] = json!(1);
    let first = computed(&cache, &pods, None, 0);
    assert_eq!(condition(&first, "Degraded").0, "False");
    cache.status = Some(first);
    let still = computed(&cache, &pods, None, START_DEADLINE_SECONDS);
    assert_eq!(condition(&still, "Degraded").0, "False");
    let overdue = computed(&cache, &pods, None, START_DEADLINE_SECONDS + 1);
    assert_eq!(
        (condition(&overdue, "Degraded").0, condition(&overdue, "Degraded").1),
        ("True", "PodsMissing")
    );
    assert_eq!(condition(&overdue, "Progressing").0, "False");
    assert_eq!(summary(&overdue).1, "Degraded");
    cache.status = Some(overdue.clone());
    assert_eq!(computed(&cache, &pods, None, START_DEADLINE_SECONDS + 2), overdue, "it stays degraded");
    // An edit gives the pods new time.
    cache.metadata.generation = Some(2);
    let edited = computed(&cache, &pods, None, START_DEADLINE_SECONDS + 3);
    assert_eq!(condition(&edited, "Degraded").0, "False");
}

#[test]
fn no_replicas_is_a_wish_not_a_failure() {
    let status = computed(&cache(&json!({"replicas": 0})), &settled(0), None, 0);
    assert_eq!(summary(&status), ("0/0".to_owned(), "Hibernating".to_owned()));
    assert_eq!((condition(&status, "Ready").0, condition(&status, "Ready").1), ("True", "Hibernating"));
    assert_eq!(condition(&status, "Available").0, "False");
}

#[test]
fn one_replica_is_served_with_a_warning() {
    let status = computed(&cache(&json!({"replicas": 1})), &settled(1), None, 0);
    assert_eq!(condition(&status, "Ready").0, "True");
    assert_eq!(
        (condition(&status, "RolloutSafe").0, condition(&status, "RolloutSafe").1),
        ("False", "SingleReplica")
    );
}
