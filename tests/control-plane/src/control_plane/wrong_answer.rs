//! Answers that are wrong on purpose, as a fault asks for them.

use connected_cache_wire::delivery_optimization::HashOfHashes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What is wrong with the answer of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WrongAnswer {
    /// `{}`.
    EmptyJson,
    /// `Content-Type: text/html`, as a captive portal sends it.
    WrongContentType,
    /// Every value has another JSON type than documented.
    WrongJsonTypes,
    /// The body ends in the middle, and its `Content-Length` agrees.
    Truncated,
    /// ContentPolicy and piece hash files: `HashOfHashes` differs in its first byte.
    WrongHashOfHashes,
    /// Piece hash files: the last piece is missing; of an empty object, there is one too many.
    WrongPieceCount,
}

/// `value` with every innermost value of another type.
pub(crate) fn with_wrong_types(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Array(_) => json!("wrong"),
        Value::Number(number) => json!(number.to_string()),
        Value::String(_) => json!(7),
        Value::Object(members) => {
            let wrong = members.iter().map(|(name, value)| (name.clone(), with_wrong_types(value)));
            Value::Object(wrong.collect::<Map<_, _>>())
        }
    }
}

/// `value` with the first byte of its `HashOfHashes` inverted, if it has one.
pub(crate) fn with_wrong_hash_of_hashes(value: &Value) -> Value {
    let mut wrong = value.clone();
    let right = value.get("HashOfHashes").and_then(Value::as_str);
    if let Some(right) = right.and_then(|text| HashOfHashes::from_base64(text).ok()) {
        let mut bytes = *right.as_bytes();
        bytes[0] = !bytes[0];
        wrong["HashOfHashes"] = json!(HashOfHashes::from_bytes(bytes).to_base64());
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_keeps_its_type() {
        let right = json!({"a": "x", "b": 1, "c": null, "d": true, "e": [1], "f": {"g": 2}});
        let wrong = json!({"a": 7, "b": "1", "c": "wrong", "d": "wrong", "e": "wrong", "f": {"g": "2"}});
        assert_eq!(with_wrong_types(&right), wrong);
        assert_eq!(with_wrong_types(&json!([])), json!("wrong"));
    }
}
