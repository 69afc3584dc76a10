//! Properties of the published schema that a reader of `kubectl explain`, and the API server's cost limits, rely on.

use connected_cache_api::crd_yaml_value;
use serde_json::Value;

fn version() -> Value {
    crd_yaml_value()["spec"]["versions"][0].clone()
}

fn spec_schema() -> Value {
    version()["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// Calls `visit` with the dotted path of every property below `schema`.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            let path = format!("{path}.{name}");
            visit(&path, property);
            walk(&path, property, visit);
        }
    }
    if schema["items"].is_object() {
        let path = format!("{path}[]");
        visit(&path, &schema["items"]);
        walk(&path, &schema["items"], visit);
    }
    if schema["additionalProperties"].is_object() {
        visit(&format!("{path}{{}}"), &schema["additionalProperties"]);
    }
}

#[test]
fn every_field_of_the_spec_says_its_default_or_that_it_is_required() {
    let mut fields = 0;
    walk("spec", &spec_schema(), &mut |path, schema| {
        if path.ends_with("[]") || path.ends_with("{}") {
            return;
        }
        fields += 1;
        let description = schema["description"].as_str().unwrap_or_default();
        assert!(
            description.contains("Default: ") || description.ends_with("Required."),
            "{path} does not state its default: {description:?}"
        );
    });
    assert!(fields > 30, "only {fields} fields were visited");
}

#[test]
fn every_string_list_and_map_of_the_spec_is_bounded() {
    walk("spec", &spec_schema(), &mut |path, schema| {
        if schema["type"] == "string" && schema["enum"].is_null() {
            assert!(schema["maxLength"].is_u64(), "{path} has no maxLength: {schema}");
        }
        if schema["type"] == "array" {
            assert!(schema["maxItems"].is_u64(), "{path} has no maxItems: {schema}");
        }
        if schema["additionalProperties"].is_object() {
            assert!(schema["maxProperties"].is_u64(), "{path} has no maxProperties: {schema}");
        }
    });
}

#[test]
fn an_empty_spec_gets_its_defaults_from_the_schema() {
    let defaults = spec_schema()["properties"].clone();
    assert_eq!(defaults["replicas"]["default"], 2);
    assert_eq!(defaults["storage"]["default"]["volumes"][0]["name"], "data");
    assert_eq!(defaults["storage"]["default"]["volumes"][0]["size"], "100Gi");
    assert_eq!(defaults["expose"]["default"]["type"], "LoadBalancer");
}

#[test]
fn no_rule_is_without_a_message_that_says_what_to_do() {
    fn rules(schema: &Value, found: &mut Vec<Value>) {
        match schema {
            Value::Object(object) => {
                if let Some(Value::Array(list)) = object.get("x-kubernetes-validations") {
                    found.extend(list.iter().cloned());
                }
                object.values().for_each(|value| rules(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| rules(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    rules(&version(), &mut found);
    assert!(found.len() >= 10, "only {} rules were found", found.len());
    for rule in found {
        assert!(rule["message"].as_str().is_some_and(|message| message.len() > 20), "{rule}");
    }
}

#[test]
fn a_null_means_the_default() {
    assert!(!crd_yaml_value().to_string().contains("nullable"));
}

#[test]
fn scaling_and_status_are_subresources_of_their_own() {
    let subresources = version()["subresources"].clone();
    assert_eq!(subresources["scale"]["specReplicasPath"], ".spec.replicas");
    assert_eq!(subresources["scale"]["statusReplicasPath"], ".status.replicas");
    assert_eq!(subresources["scale"]["labelSelectorPath"], ".status.selector");
    assert!(subresources["status"].is_object());
}
