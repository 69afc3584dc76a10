//! `spec.controlPlane`: whether, and whose, Delivery Optimization services are asked about content.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose Delivery Optimization services the cache asks for the piece hashes of content, by which every piece is checked before
/// a client gets it. Asking tells those services what is downloaded here, so it is off unless it is switched on.
///
/// What is sent, over HTTPS and to the hosts of the chosen services alone: the original URL of each content (scheme, host,
/// path and query) and its content id, the version and kind of client that the cache passes for, and the country that the
/// services themselves named. By the connection they see the public address of the link. No address or name of a client
/// is sent. Content of which the services say nothing, or that they can't be asked about, is served all the same.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mode != 'Custom' || has(self.geoUrl)").message(
        "controlPlane.geoUrl is required with controlPlane.mode Custom: give the https URL of the Geo service, or set the mode to \
         Microsoft or None"
    ),
    validation = Rule::new("self.mode == 'Custom' || !has(self.geoUrl)").message(
        "controlPlane.geoUrl only has a meaning with controlPlane.mode Custom: remove it or set the mode to Custom"
    ),
    validation = Rule::new("self.mode == 'Custom' || !has(self.caConfigMap)").message(
        "controlPlane.caConfigMap only has a meaning with controlPlane.mode Custom: remove it or set the mode to Custom"
    )
)]
pub struct ControlPlaneSpec {
    /// None asks nobody, and sends nothing. Microsoft asks the public services (hosts below do.dsp.mp.microsoft.com), which
    /// thereby learn which content is downloaded behind this link. Custom asks the services at geoUrl. Default: None.
    #[serde(default)]
    pub mode: ControlPlaneMode,

    /// Where the first call goes with mode Custom: the whole https URL of the Geo service, without query. It names all other
    /// services. Default: none; required with mode Custom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(
        r"self.matches('^https://([A-Za-z0-9.-]+|\\[[0-9a-fA-F:.]+\\])(:[0-9]{1,5})?(/[^?# ]*)?$')"
    ).message(
        "give an https URL without query, as https://geo.example.edu/geo: piece hashes are worth what the channel is worth \
         over which they came"
    ))]
    pub geo_url: Option<String>,

    /// A ConfigMap in the namespace of the cache with the certificates that the services of mode Custom are trusted by, instead
    /// of the public authorities. A change of its text is taken up without replacing pods. Default: none, the public
    /// authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map: Option<CaConfigMap>,
}

/// Where certificates of authorities stand.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaConfigMap {
    /// Name of the ConfigMap. Required.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(
        "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')"
    ).message("give the name of a ConfigMap: lower-case letters, digits, hyphens and dots"))]
    pub name: String,

    /// Key in it, whose value is one or more certificates in PEM. Default: ca.crt.
    #[serde(default = "defaults::key")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && self != '..'").message(
        "give a key of the ConfigMap: letters, digits, hyphens, underscores and dots"
    ))]
    pub key: String,
}

/// Whose services are asked.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ControlPlaneMode {
    #[default]
    None,
    Microsoft,
    Custom,
}

mod defaults {
    pub(super) fn key() -> String {
        "ca.crt".to_owned()
    }
}
