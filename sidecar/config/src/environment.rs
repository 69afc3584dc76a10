//! Environment variables over the file: `controlPlane.geoUrl` is `CONNECTEDCACHE_CONTROL_PLANE__GEO_URL`; lists and maps are
//! JSON text, `null` is null.

use serde_json::{Map, Value};

use crate::{
    keys::KEYS,
    load::{Problem, place, type_error},
    spelling,
};

/// What the names of our variables begin with.
pub const PREFIX: &str = "CONNECTEDCACHE_";

/// Lays the variables over the document; a problem for each that names no key or does not fit its key.
pub(crate) fn overlay<Name: AsRef<str>, Text: AsRef<str>>(
    document: &mut Map<String, Value>,
    variables: impl IntoIterator<Item = (Name, Text)>,
    problems: &mut Vec<Problem>,
) {
    let names: Vec<(String, &'static str)> =
        KEYS.iter().map(|key| (variable_of(key.path), key.path)).collect();
    for (name, text) in variables {
        let (name, text) = (name.as_ref(), text.as_ref());
        if !name.starts_with(PREFIX) || is_service_link(name) {
            continue;
        }
        match names.iter().find(|(variable, _)| variable == name) {
            None => problems.push(unknown(name, &names)),
            Some((_, path)) => match value_of(path, text) {
                Ok(value) => place(document, path, value),
                Err(message) => problems.push(Problem::new(name, format!("{message} (sets `{path}`)"))),
            },
        }
    }
}

/// The variable of a path.
fn variable_of(path: &str) -> String {
    let mut name = PREFIX.to_owned();
    for (index, level) in path.split('.').enumerate() {
        if index > 0 {
            name.push_str("__");
        }
        for letter in level.chars() {
            if letter.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
    }
    name
}

/// Text as it stands, unless only its reading as JSON (number, bool, list, map) fits the key.
fn value_of(path: &str, text: &str) -> Result<Value, String> {
    if text == "null" && type_error(path, Value::Null).is_none() {
        return Ok(Value::Null);
    }
    let plain = Value::String(text.to_owned());
    let Some(plain_error) = type_error(path, plain.clone()) else { return Ok(plain) };
    let Ok(parsed) = serde_json::from_str::<Value>(text) else { return Err(plain_error) };
    match type_error(path, parsed.clone()) {
        None => Ok(parsed),
        Some(message) => Err(message),
    }
}

fn unknown(name: &str, names: &[(String, &'static str)]) -> Problem {
    let known: Vec<&str> = names.iter().map(|(variable, _)| &variable[PREFIX.len()..]).collect();
    let lower: Vec<String> = known.iter().map(|name| name.replace('_', "")).collect();
    let candidates: Vec<&str> = lower.iter().map(String::as_str).collect();
    let guess = spelling::nearest(&name[PREFIX.len()..], &candidates)
        .and_then(|near| lower.iter().position(|candidate| candidate == near))
        .map(|index| format!(", did you mean {}?", names[index].0))
        .unwrap_or_default();
    Problem::new(
        name,
        format!(
            "unknown variable{guess} (a key's path in upper snake case, levels joined by two underscores)"
        ),
    )
}

/// Kubernetes gives every container variables named after the Services of its namespace; a Service whose name begins with
/// `connectedcache` would look like ours.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_PORT")
        || name.contains("_SERVICE_PORT")
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
            name.split_once("_PORT_").is_some_and(|(_, rest)| {
                rest.starts_with(|first: char| first.is_ascii_digit()) && rest.contains(protocol)
            })
        })
}
