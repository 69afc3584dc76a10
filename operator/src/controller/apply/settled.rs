//! Tells whether an object on the API server already is what we would apply, so that it need not be applied.
//!
//! Two things must hold. Everything that we state is there with the value that we state: if not, somebody changed it. And
//! the object carries the hash of all that we state: if not, we stated something else when we applied it last, perhaps a
//! field that must go now. A value that the API server spells in another way than we do (`1000m` and `1`) is taken for a
//! difference; that costs one apply that changes nothing.

use kube::Resource;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use connected_cache_api::annotations;

/// The object with the hash of itself among its annotations.
pub(super) fn stamped<Kind: Resource + Clone + Serialize>(desired: &Kind) -> Kind {
    let mut stamped = desired.clone();
    let hash = hash(desired);
    stamped.meta_mut().annotations.get_or_insert_default().insert(annotations::APPLIED_HASH.to_owned(), hash);
    stamped
}

fn hash(value: &impl Serialize) -> String {
    // Kubernetes' types are plain data with sorted maps, so writing them can't fail and gives the same text each time.
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut hash = hex::encode(Sha256::digest(text.as_bytes()));
    hash.truncate(32);
    hash
}

/// Whether applying `desired`, which carries its hash, would change nothing.
pub(super) fn is_settled(desired: &impl Serialize, observed: &impl Serialize) -> bool {
    match (serde_json::to_value(desired), serde_json::to_value(observed)) {
        (Ok(desired), Ok(observed)) => is_within(&desired, &observed),
        _ => false,
    }
}

/// Whether everything that `desired` states is in `observed`. What is stated as empty may be absent.
fn is_within(desired: &Value, observed: &Value) -> bool {
    match (desired, observed) {
        (Value::Null, _) => true,
        (Value::Object(desired), Value::Null) => desired.is_empty(),
        (Value::Array(desired), Value::Null) => desired.is_empty(),
        (Value::Object(desired), Value::Object(observed)) => {
            desired.iter().all(|(key, value)| is_within(value, observed.get(key).unwrap_or(&Value::Null)))
        }
        (Value::Array(desired), Value::Array(observed)) => {
            desired.len() == observed.len()
                && desired.iter().zip(observed).all(|(desired, observed)| is_within(desired, observed))
        }
        _ => desired == observed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_that_the_server_adds_are_no_difference() {
        assert!(is_within(
            &json!({"spec": {"ports": [{"port": 80}], "empty": {}}}),
            &json!({"spec": {"ports": [{"port": 80, "nodePort": 30001}], "clusterIP": "10.0.0.1"}, "status": {}})
        ));
    }

    #[test]
    fn a_changed_value_a_missing_field_and_a_longer_list_are_differences() {
        let desired = json!({"spec": {"ports": [{"port": 80}], "type": "LoadBalancer"}});
        for observed in [
            json!({"spec": {"ports": [{"port": 81}], "type": "LoadBalancer"}}),
            json!({"spec": {"ports": [{"port": 80}]}}),
            json!({"spec": {"ports": [{"port": 80}, {"port": 443}], "type": "LoadBalancer"}}),
        ] {
            assert!(!is_within(&desired, &observed), "{observed}");
        }
    }
}
