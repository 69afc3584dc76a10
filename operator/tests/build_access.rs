//! What the pods may ask the API server.

mod common;

use common::{UID, built, default_image, observed, plain};
use connected_cache_operator::controller::{
    build::{Access, build},
    validate::validate,
};
use serde_json::{Value, json};

fn access(spec: &Value) -> Access {
    built(spec).access.expect("pods that share have rights")
}

#[test]
fn pods_may_watch_who_the_others_are_and_ask_how_many_are_wanted_and_nothing_else() {
    let role = plain(&access(&json!({})).role);
    assert_eq!(
        role["rules"],
        json!([
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["apps"], "resources": ["statefulsets"], "resourceNames": ["campus"], "verbs": ["get"]},
        ])
    );
}

#[test]
fn the_rights_are_those_of_the_pods_own_account_alone() {
    let access = access(&json!({}));
    let [account, role, binding] =
        [plain(&access.service_account), plain(&access.role), plain(&access.role_binding)];
    for object in [&account, &role, &binding] {
        // Not the cache's name, which may be `default`.
        assert_eq!(object["metadata"]["name"], "campus-pods");
        assert_eq!(object["metadata"]["namespace"], "caching");
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], UID);
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/instance"], "campus");
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "connected-cache-operator");
    }
    assert_eq!(
        binding["roleRef"],
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "campus-pods"})
    );
    assert_eq!(
        binding["subjects"],
        json!([{"kind": "ServiceAccount", "name": "campus-pods", "namespace": "caching"}])
    );
    assert_eq!(account["automountServiceAccountToken"], false);
}

#[test]
fn pods_pull_from_where_they_pulled_before_they_had_an_account_of_their_own() {
    let secrets = |default: Value| {
        let mut observed = observed(&json!({}));
        observed.default_account = serde_json::from_value(default).expect("a ServiceAccount");
        let valid = validate(&observed, &default_image()).expect("a valid spec");
        plain(&build(&valid).access.expect("rights").service_account)["imagePullSecrets"].clone()
    };
    let metadata = json!({"name": "default", "namespace": "caching"});
    let registry = json!([{"name": "registry"}, {"name": "mirror"}]);
    assert_eq!(secrets(json!({"metadata": metadata, "imagePullSecrets": registry})), registry);
    // Nothing is stated, so what somebody gives to the account stays.
    assert_eq!(secrets(json!({"metadata": metadata})), Value::Null);
    assert_eq!(secrets(Value::Null), Value::Null);
}

#[test]
fn pods_that_do_not_share_have_no_rights() {
    assert!(built(&json!({"sharing": {"mode": "Off"}})).access.is_none());
}
