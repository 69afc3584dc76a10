//! The two Secrets with certificates of caches whose pods share.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::{metadata, names};
use crate::controller::{certify::Certificates, hidden::Hidden, validate::ValidatedCache};

/// The Secrets of a cache as they should be.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Of the authority, for the operator alone.
    pub peers_ca: Hidden<Secret>,
    /// Of the pods.
    pub peers: Hidden<Secret>,
}

/// Renders the Secrets.
#[must_use]
pub fn secrets(cache: &ValidatedCache, certificates: &Certificates) -> Secrets {
    Secrets {
        peers_ca: secret(cache, names::peers_ca(&cache.name), "Opaque", &certificates.authority),
        // The type that says that certificate and key are there under their usual names.
        peers: secret(cache, names::peers(&cache.name), "kubernetes.io/tls", &certificates.pods),
    }
}

fn secret(
    cache: &ValidatedCache,
    name: String,
    kind: &str,
    Hidden(data): &Hidden<BTreeMap<String, ByteString>>,
) -> Hidden<Secret> {
    Hidden(Secret {
        metadata: metadata(cache, name),
        type_: Some(kind.to_owned()),
        data: Some(data.clone()),
        ..Secret::default()
    })
}
