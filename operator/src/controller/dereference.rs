//! Phase 1: everything that the later phases look at, read from the API server in one go. Later phases that only decide
//! need no client.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Service},
};
use kube::{Api, Client, ResourceExt};

use connected_cache_api::ConnectedCache;

use super::build::names;

/// A cache and its children as the API server has them now.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The cache itself, fresher than the copy that the watch delivered: its status decides what is news.
    pub cache: ConnectedCache,
    /// Namespace of the cache and its children.
    pub namespace: String,
    /// The configuration of the pods.
    pub config_map: Option<ConfigMap>,
    /// The clients' Service.
    pub service: Option<Service>,
    /// The headless Service of the pods.
    pub pods_service: Option<Service>,
    /// The pods' owner.
    pub stateful_set: Option<StatefulSet>,
    /// What `spec.controlPlane.caConfigMap` names; `None` also when it names nothing.
    pub control_plane_ca: Option<ConfigMap>,
}

/// Why reading failed.
#[derive(Debug, thiserror::Error)]
pub enum DereferenceError {
    /// A ConnectedCache is namespaced; an object without namespace did not come from the API server.
    #[error("cache {0} has no namespace: create it in one")]
    NoNamespace(String),
    /// A read was refused or did not arrive.
    #[error("unable to read {kind} {name}: {source}")]
    Read {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the client said.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Reads the cache and its children; `None` when the cache is gone or on its way out, so that nothing is left to do.
pub async fn dereference(
    client: &Client,
    cache: &ConnectedCache,
) -> Result<Option<Box<Observed>>, DereferenceError> {
    let name = cache.name_any();
    let namespace = cache.namespace().ok_or_else(|| DereferenceError::NoNamespace(name.clone()))?;
    let caches: Api<ConnectedCache> = Api::namespaced(client.clone(), &namespace);
    let Some(cache) = read(&caches, "ConnectedCache", &name).await? else { return Ok(None) };
    if cache.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let stateful_sets: Api<StatefulSet> = Api::namespaced(client.clone(), &namespace);
    let control_plane_ca = match &cache.spec.control_plane.ca_config_map {
        Some(named) => read(&config_maps, "ConfigMap", &named.name).await?,
        None => None,
    };
    // On the heap: it lives through all phases of a pass.
    Ok(Some(Box::new(Observed {
        config_map: read(&config_maps, "ConfigMap", &names::config_map(&name)).await?,
        pods_service: read(&services, "Service", &names::pods_service(&name)).await?,
        service: read(&services, "Service", &names::service(&name)).await?,
        stateful_set: read(&stateful_sets, "StatefulSet", &names::stateful_set(&name)).await?,
        control_plane_ca,
        cache,
        namespace,
    })))
}

async fn read<Kind>(api: &Api<Kind>, kind: &'static str, name: &str) -> Result<Option<Kind>, DereferenceError>
where
    Kind: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.get_opt(name).await.map_err(|source| DereferenceError::Read {
        kind,
        name: name.to_owned(),
        source: Box::new(source),
    })
}
