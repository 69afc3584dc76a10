//! `connected-cache-operator crd`: the definition of ConnectedCache for `kubectl apply -f -`.

/// Why printing failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the definition as YAML: {0}")]
pub struct PrintError(String);

/// The definition as YAML, with a line that says where it comes from.
pub fn yaml() -> Result<String, PrintError> {
    let value = connected_cache_api::crd_yaml_value();
    let yaml = serde_saphyr::to_string(&value).map_err(|error| PrintError(error.to_string()))?;
    Ok(format!("# Printed by `connected-cache-operator crd`; edits are overwritten.\n{yaml}"))
}
