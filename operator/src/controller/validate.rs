//! Phase 2: from what was read to a value that holds only checked parts. What the schema's rules cannot see is checked here,
//! and every finding is reported at once; after this phase nothing can be wrong with the input.

mod claims;
mod control_plane_ca;
mod sidecar_config;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use connected_cache_api::{
    Reason, annotations,
    spec::{CaConfigMap, ExposeSpec, ResourcesSpec, SharingMode},
};
use connected_cache_config::{ByteSize, Config};

pub use sidecar_config::{
    CONTROL_PLANE_CA_FILE, CONTROL_PLANE_CA_FOLDER, MOUNT_ROOT, PEERS_CA_FILE, PEERS_CERTIFICATE_FILE,
    PEERS_KEY_FILE, PEERS_TLS_FOLDER,
};

use super::{build::names, dereference::Observed};
use crate::image::ImageReference;

/// A cache of which every part was checked. The build phase turns it into objects and cannot fail.
#[derive(Clone, Debug)]
pub struct ValidatedCache {
    /// Name of the cache, which is a valid name for Services.
    pub name: String,
    /// Namespace of the cache and its children.
    pub namespace: String,
    /// Makes the children vanish with the cache.
    pub owner: OwnerReference,
    /// Pods wanted, 0 to 64.
    pub replicas: i32,
    /// Image of the pods.
    pub image: ImageReference,
    /// When nodes pull it.
    pub pull_policy: &'static str,
    /// Volume claims of each pod: those that exist, where they exist.
    pub volumes: Vec<ValidVolume>,
    /// Set when the spec asks for other claims than those that exist: what differs.
    pub pending_volume_change: Option<String>,
    /// Configuration of the pods, which the sidecar's own rules accept.
    pub config: Config,
    /// The pods share what they hold, and need what that takes.
    pub shares: bool,
    /// Another value than before asks for another authority of the pods' certificates; empty = none was ever asked for.
    pub authority_request: String,
    /// Names of the Secrets by which pods of the namespace pull images unless they say otherwise.
    pub pull_secrets: Vec<String>,
    /// The ConfigMap, which exists, with the authorities of the control plane.
    pub control_plane_ca: Option<CaConfigMap>,
    /// The clients' Service.
    pub expose: ExposeSpec,
    /// CPU and memory of each pod.
    pub resources: ResourcesSpec,
}

/// One volume claim of each pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidVolume {
    /// Name of the claim template.
    pub name: String,
    /// Size of the claim.
    pub size: ByteSize,
    /// `None` = the cluster's default class.
    pub storage_class_name: Option<String>,
}

/// What is wrong with a spec; the cache keeps its previous state until that is put right.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.iter().chain(missing).cloned().collect::<Vec<_>>().join("; "))]
pub struct InvalidCache {
    /// One sentence for each finding, naming the field: only an edit of the spec helps.
    pub problems: Vec<String>,
    /// One sentence for each object that the spec names and that can't be used as it is: it may come without an edit.
    pub missing: Vec<String>,
}

impl InvalidCache {
    /// The reason of conditions: that of what has to be done first.
    #[must_use]
    pub fn reason(&self) -> Reason {
        if self.problems.is_empty() { Reason::ReferenceMissing } else { Reason::InvalidSpec }
    }

    /// Whether it may be put right by something that the operator does not watch.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.missing.is_empty()
    }
}

/// Whether the operator was asked to leave the cache alone.
#[must_use]
pub fn is_paused(observed: &Observed) -> bool {
    annotation(observed, annotations::RECONCILE) == Some(annotations::RECONCILE_PAUSED)
}

fn annotation<'a>(observed: &'a Observed, key: &str) -> Option<&'a str> {
    observed.cache.annotations().get(key).map(String::as_str)
}

/// Checks what was read. `default_image` is the image that the operator was installed with.
pub fn validate(observed: &Observed, default_image: &ImageReference) -> Result<ValidatedCache, InvalidCache> {
    let spec = &observed.cache.spec;
    let mut problems = Vec::new();
    let wanted = claims::wanted(&spec.storage, &mut problems);
    let existing = observed.stateful_set.as_ref().and_then(claims::existing);
    let pending_volume_change = existing.as_ref().and_then(|existing| claims::difference(existing, &wanted));
    let volumes = existing.unwrap_or(wanted);
    let pods_service = format!("{}/{}", observed.namespace, names::pods_service(&observed.cache.name_any()));
    let config = sidecar_config::render(spec, pods_service, &volumes, &mut problems);
    let missing: Vec<String> = control_plane_ca::problem(observed).into_iter().collect();
    let owner = observed.cache.controller_owner_ref(&());
    if owner.is_none() {
        problems.push("metadata.uid: the object has none; create it through the API server".to_owned());
    }
    match (owner, problems.is_empty() && missing.is_empty()) {
        (Some(owner), true) => Ok(ValidatedCache {
            name: observed.cache.name_any(),
            namespace: observed.namespace.clone(),
            owner,
            replicas: spec.replicas,
            image: image(observed, default_image),
            pull_policy: spec.image.as_ref().map(|image| image.pull_policy).unwrap_or_default().as_str(),
            volumes,
            pending_volume_change,
            config,
            shares: spec.sharing.mode != SharingMode::Off,
            authority_request: annotation(observed, annotations::ROTATE_PEERS_CA)
                .unwrap_or_default()
                .to_owned(),
            pull_secrets: pull_secrets(observed),
            control_plane_ca: spec.control_plane.ca_config_map.clone(),
            expose: spec.expose.clone(),
            resources: spec.resources.clone(),
        }),
        _ => Err(InvalidCache { problems, missing }),
    }
}

fn pull_secrets(observed: &Observed) -> Vec<String> {
    let named =
        observed.default_account.iter().flat_map(|account| account.image_pull_secrets.iter().flatten());
    named.map(|reference| reference.name.clone()).collect()
}

/// The operator's choice, with the parts that the spec names put in. A tag in the spec replaces the digest of the choice.
fn image(observed: &Observed, default_image: &ImageReference) -> ImageReference {
    let mut image = default_image.clone();
    if let Some(wanted) = &observed.cache.spec.image {
        if let Some(repository) = &wanted.repository {
            image.repository.clone_from(repository);
        }
        if wanted.tag.is_some() || wanted.digest.is_some() {
            image.tag.clone_from(&wanted.tag);
            image.digest.clone_from(&wanted.digest);
        }
    }
    image
}
