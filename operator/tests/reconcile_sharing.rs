//! What the reconciler does for pods that share, against a scripted API server: their rights, and the Secrets with their
//! certificates.

mod common;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use common::{
    cache, default_image,
    operator::{
        ACCOUNT, CACHE, CONFIG_MAP, DEFAULT_ACCOUNT, EVENTS, Operator, PEERS, PEERS_CA, PODS_SERVICE, ROLE,
        ROLE_BINDING, STATEFUL_SET,
    },
};
use connected_cache_operator::controller;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use serde_json::{Value, json};

#[tokio::test]
async fn pods_that_do_not_share_need_no_more_than_their_services_and_configuration() {
    let operator = Operator::with(&json!({"sharing": {"mode": "Off"}}));
    operator.pass().await.expect("a pass");
    let calls = operator.server.take_calls();
    for path in [ACCOUNT, DEFAULT_ACCOUNT, ROLE, ROLE_BINDING, PEERS_CA, PEERS] {
        assert!(!calls.iter().any(|call| call.path == path), "{path} is in {calls:?}");
    }
    operator.pass().await.expect("a pass at rest");
    assert_eq!(operator.server.take_calls().len(), 5);
}

#[tokio::test]
async fn a_cache_of_before_sharing_gets_what_sharing_takes_and_its_pods_roll_once() {
    let operator = Operator::with(&json!({"sharing": {"mode": "Off"}}));
    operator.pass().await.expect("a pass");
    let template =
        || operator.server.get(STATEFUL_SET).expect("the stateful set")["spec"]["template"].clone();
    let before = template();
    operator.server.take_calls();
    operator.server.edit(CACHE, |cache| cache["spec"] = json!({}));
    operator.pass().await.expect("a pass");
    let writes = operator.server.take_writes();
    for path in [CONFIG_MAP, PODS_SERVICE, ACCOUNT, ROLE, ROLE_BINDING, PEERS_CA, PEERS, STATEFUL_SET] {
        assert!(writes.contains(&format!("PATCH {path}")), "{path} is not in {writes:?}");
    }
    let after = template();
    assert_ne!(before, after);
    operator.pass().await.expect("a pass at rest");
    assert_eq!(operator.server.take_writes(), Vec::<String>::new());
    assert_eq!(template(), after);
}

#[tokio::test]
async fn edited_certificates_are_repaired_and_replace_no_pod() {
    let operator = Operator::with(&json!({}));
    operator.pass().await.expect("a pass");
    operator.server.take_calls();
    let (authority, pods) = (operator.server.get(PEERS_CA), operator.server.get(PEERS));
    operator.server.edit(PEERS, |secret| {
        secret["data"]["ca.crt"] = authority.clone().expect("it is there")["data"]["tls.key"].clone();
    });
    operator.pass().await.expect("a repair");
    assert_eq!(operator.server.take_writes(), [format!("PATCH {PEERS}")]);
    let data = |secret: Option<Value>| secret.expect("it is there")["data"].clone();
    assert_eq!(data(operator.server.get(PEERS)), data(pods));
    assert_eq!(data(operator.server.get(PEERS_CA)), data(authority));
}

#[tokio::test]
async fn certificates_that_cannot_be_read_are_replaced_and_told() {
    for (path, words) in [(PEERS_CA, "the pods' certificate authority"), (PEERS, "the pods' certificate")] {
        let operator = Operator::with(&json!({}));
        operator.pass().await.expect("a pass");
        operator.server.take_calls();
        let before = operator.server.get(path).expect("it is there")["data"]["tls.crt"].clone();
        // "nonsense" in base64.
        operator.server.edit(path, |secret| secret["data"]["tls.crt"] = json!("bm9uc2Vuc2U="));
        operator.pass().await.expect("a repair");
        let calls = operator.server.take_calls();
        let events: Vec<_> = calls.iter().filter(|call| call.path == EVENTS).map(|call| &call.body).collect();
        assert_eq!(events.len(), 1, "{path}: {events:?}");
        assert_eq!(
            (&events[0]["reason"], &events[0]["type"]),
            (&json!("CertificateReplaced"), &json!("Warning"))
        );
        assert!(events[0]["note"].as_str().is_some_and(|note| note.contains(words)), "{events:?}");
        let after = operator.server.get(path).expect("it is there")["data"]["tls.crt"].clone();
        assert!(after.is_string() && after != before && after != "bm9uc2Vuc2U=", "{after}");
        assert!(
            !calls.iter().any(|call| call.line() == format!("PATCH {STATEFUL_SET}")),
            "pods were replaced"
        );
    }
}

#[tokio::test]
async fn a_lost_authority_is_followed_by_another_one_that_pods_trust_beside_it_first() {
    let operator = Operator::with(&json!({}));
    operator.pass().await.expect("a pass");
    let before = operator.server.get(PEERS).expect("it is there")["data"].clone();
    operator.server.remove(PEERS_CA);
    let action = operator.pass().await.expect("a pass");
    assert_eq!(action, Action::requeue(std::time::Duration::from_secs(5)), "the next step waits to be seen");
    assert_eq!(operator.event_reasons(), ["Created", "CertificateAuthorityChanging"]);
    let after = operator.server.get(PEERS).expect("it is there")["data"].clone();
    assert_eq!((&after["tls.crt"], &after["tls.key"]), (&before["tls.crt"], &before["tls.key"]));
    assert_ne!(after["ca.crt"], before["ca.crt"]);
    // Seen: from now on the time counts.
    operator.pass().await.expect("a pass");
    assert_eq!(operator.server.take_writes(), [format!("PATCH {PEERS_CA}")]);
    operator.pass().await.expect("a pass at rest");
    assert_eq!(operator.server.take_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_is_given_out_whose_authority_could_not_be_kept_and_pods_serve_without() {
    let operator = Operator::with(&json!({}));
    operator.server.fail("PATCH", PEERS_CA, 403, "Forbidden", "secrets is forbidden: exceeded quota");
    operator.pass().await.expect_err("the failure was swallowed");
    let writes = operator.server.take_writes();
    assert!(!writes.contains(&format!("PATCH {PEERS}")), "{writes:?}");
    assert!(writes.contains(&format!("PATCH {STATEFUL_SET}")), "{writes:?}");
    let accepted = operator.condition("Accepted");
    assert_eq!(accepted["reason"], "ApplyFailed");
    let message = accepted["message"].as_str().expect("a message");
    assert!(
        message.contains("exceeded quota") && message.contains("Secret campus-peers waits for"),
        "{message}"
    );
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_neither_used_nor_taken_over() {
    let operator = Operator::with(&json!({}));
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "campus-peers", "namespace": "caching", "uid": "another"},
        "data": {"tls.crt": "bm9uc2Vuc2U=", "tls.key": "bm9uc2Vuc2U="},
    });
    operator.server.put(PEERS, &theirs);
    operator.pass().await.expect_err("the failure was swallowed");
    assert_eq!(operator.server.get(PEERS), Some(theirs));
    assert_eq!(operator.condition("Accepted")["reason"], "NameTaken");
    assert_eq!(operator.event_reasons(), ["Created", "NameTaken"], "it was taken for ours");
}

#[tokio::test]
async fn pods_wait_for_the_account_without_which_none_can_be_made() {
    let operator = Operator::with(&json!({}));
    operator.server.fail("PATCH", ACCOUNT, 403, "Forbidden", "serviceaccounts is forbidden");
    operator.pass().await.expect_err("the failure was swallowed");
    let writes = operator.server.take_writes();
    assert!(!writes.contains(&format!("PATCH {STATEFUL_SET}")), "{writes:?}");
    let message = operator.condition("Accepted")["message"].clone();
    assert!(
        message.as_str().is_some_and(|text| text.contains("waits for ServiceAccount campus-pods")),
        "{message}"
    );
}

#[tokio::test]
async fn keys_are_not_printed() {
    let operator = Operator::with(&json!({}));
    operator.pass().await.expect("a pass");
    let client = operator.server.client();
    let observed = controller::dereference::dereference(&client, &cache(&json!({})))
        .await
        .expect("a read")
        .expect("a cache");
    let valid = controller::validate::validate(&observed, &default_image()).expect("a valid spec");
    let certificates =
        controller::certify::certify(&valid, &observed, Timestamp::now()).expect("certificates");
    let secrets = controller::build::secrets(&valid, &certificates);
    let printed = format!("{observed:?} {certificates:?} {secrets:?}");
    for path in [PEERS_CA, PEERS] {
        let data = operator.server.get(path).expect("it is there")["data"].clone();
        for (key, value) in data.as_object().expect("data").iter().filter(|(_, value)| **value != "") {
            let text = value.as_str().expect("base64");
            let bytes = format!("{:?}", BASE64.decode(text).expect("base64"));
            assert!(!printed.contains(text) && !printed.contains(&bytes), "{path}: {key} is printed");
        }
    }
}
