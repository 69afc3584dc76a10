//! `spec.image`: another image than the operator's own choice.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Image of the cache pods. What is absent comes from the image that the operator was installed with.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageSpec {
    /// Registry and repository, without tag, for example `registry.example.edu/connected-cache-sidecar`.
    /// Default: that of the operator's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*$') && !self.matches(':[^/]*$')").message(
        "give registry and repository only, as registry.example.edu/connected-cache-sidecar: the tag goes to image.tag, \
         the digest to image.digest"
    ))]
    pub repository: Option<String>,

    /// Tag. Default: that of the operator's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_][A-Za-z0-9_.-]*$')").message(
        "a tag has letters, digits, underscores, dots and hyphens only, as 0.1.0"
    ))]
    pub tag: Option<String>,

    /// Digest, as `sha256:` and 64 hexadecimal digits; wins over the tag. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    #[x_kube(validation = Rule::new("self.matches('^sha256:[0-9a-f]{64}$')").message(
        "give the digest as sha256: and 64 lower-case hexadecimal digits"
    ))]
    pub digest: Option<String>,

    /// When nodes pull the image. Default: IfNotPresent.
    #[serde(default)]
    pub pull_policy: PullPolicy,
}

/// When nodes pull an image.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum PullPolicy {
    #[default]
    IfNotPresent,
    Always,
    Never,
}

impl PullPolicy {
    /// The value's spelling in Kubernetes objects.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IfNotPresent => "IfNotPresent",
            Self::Always => "Always",
            Self::Never => "Never",
        }
    }
}
