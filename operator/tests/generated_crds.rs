//! The published definition is what the types say.

use connected_cache_operator::crd;

#[test]
fn the_file_in_crds_is_what_the_operator_prints() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/connectedcaches.connectedcache.dev.yaml");
    let file = std::fs::read_to_string(path).expect("crds/connectedcaches.connectedcache.dev.yaml");
    let printed = crd::yaml().expect("a definition");
    let first_difference = file.lines().zip(printed.lines()).find(|(file, printed)| file != printed);
    assert!(file == printed, "first difference: {first_difference:?}; run `cargo xtask crds`");
}

#[test]
fn the_printed_definition_is_yaml_of_the_same_value() {
    let printed: serde_json::Value =
        serde_saphyr::from_str(&crd::yaml().expect("a definition")).expect("YAML");
    assert_eq!(printed, connected_cache_api::crd_yaml_value());
}
