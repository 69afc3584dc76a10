//! The ConfigMap with the authorities of the control plane: pods that mount it can't start without it, so what it lacks is said
//! before any pod is replaced.

use crate::controller::dereference::Observed;

/// What every certificate in PEM begins with.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// What keeps the ConfigMap that the spec names from being used; `None` when nothing does, or none is named.
pub(super) fn problem(observed: &Observed) -> Option<String> {
    let named = observed.cache.spec.control_plane.ca_config_map.as_ref()?;
    let name = &named.name;
    let Some(found) = &observed.control_plane_ca else {
        return Some(format!(
            "controlPlane.caConfigMap.name: there is no ConfigMap {name} in the namespace {}",
            observed.namespace
        ));
    };
    let key = &named.key;
    let text = found.data.as_ref().and_then(|data| data.get(key)).map(String::as_bytes);
    let bytes = found.binary_data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    match text.or(bytes) {
        None => Some(format!("controlPlane.caConfigMap.key: the ConfigMap {name} has no key {key}")),
        Some(text) if !text.windows(CERTIFICATE.len()).any(|window| window == CERTIFICATE) => Some(format!(
            "controlPlane.caConfigMap.key: the value of {key} in the ConfigMap {name} is no certificate in PEM"
        )),
        Some(_) => None,
    }
}
