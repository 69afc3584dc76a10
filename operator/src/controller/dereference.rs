//! Phase 1: everything that the later phases look at, read from the API server in one go. Later phases that only decide
//! need no client.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Secret, Service, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{Api, Client, ResourceExt};

use connected_cache_api::{ConnectedCache, spec::SharingMode};

use super::{
    build::{DEFAULT_ACCOUNT, names},
    hidden::Hidden,
};

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
    /// The pods' own ServiceAccount. This and what follows is not read where the pods don't share.
    pub service_account: Option<ServiceAccount>,
    /// What it may do.
    pub role: Option<Role>,
    /// That it may do it.
    pub role_binding: Option<RoleBinding>,
    /// The ServiceAccount of pods that name none.
    pub default_account: Option<ServiceAccount>,
    /// The authority of the pods' certificates.
    pub peers_ca: Option<Hidden<Secret>>,
    /// The pods' certificate.
    pub peers: Option<Hidden<Secret>>,
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
    let mut observed = Box::new(Observed {
        config_map: read(&config_maps, "ConfigMap", &names::config_map(&name)).await?,
        pods_service: read(&services, "Service", &names::pods_service(&name)).await?,
        service: read(&services, "Service", &names::service(&name)).await?,
        stateful_set: read(&stateful_sets, "StatefulSet", &names::stateful_set(&name)).await?,
        control_plane_ca,
        service_account: None,
        role: None,
        role_binding: None,
        default_account: None,
        peers_ca: None,
        peers: None,
        cache,
        namespace,
    });
    if observed.cache.spec.sharing.mode != SharingMode::Off {
        Box::pin(sharing(client, &name, &mut observed)).await?;
    }
    Ok(Some(observed))
}

/// What only pods that share need.
async fn sharing(client: &Client, name: &str, observed: &mut Observed) -> Result<(), DereferenceError> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &observed.namespace);
    let roles: Api<Role> = Api::namespaced(client.clone(), &observed.namespace);
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), &observed.namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &observed.namespace);
    let account = names::pods_account(name);
    observed.default_account = read(&accounts, "ServiceAccount", DEFAULT_ACCOUNT).await?;
    observed.service_account = read(&accounts, "ServiceAccount", &account).await?;
    observed.role = read(&roles, "Role", &account).await?;
    observed.role_binding = read(&bindings, "RoleBinding", &account).await?;
    observed.peers_ca = read(&secrets, "Secret", &names::peers_ca(name)).await?.map(Hidden);
    observed.peers = read(&secrets, "Secret", &names::peers(name)).await?.map(Hidden);
    Ok(())
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
