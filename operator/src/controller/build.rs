//! Phase 4: from a checked cache to the objects that make it run. Pure: no client, no clock, no way to fail. One file for
//! each Kubernetes kind.

mod access;
mod config_map;
mod secrets;
mod service;
mod stateful_set;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, Service},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use connected_cache_api::labels;

use super::validate::ValidatedCache;

pub use access::Access;
pub use config_map::{CONFIG_KEY, config_yaml};
pub use secrets::{Secrets, secrets};

/// The ServiceAccount that every namespace has.
pub const DEFAULT_ACCOUNT: &str = "default";

/// Names of the children of a cache.
pub mod names {
    /// The configuration of the pods.
    #[must_use]
    pub fn config_map(cache: &str) -> String {
        format!("{cache}-config")
    }
    /// The clients' Service.
    #[must_use]
    pub fn service(cache: &str) -> String {
        cache.to_owned()
    }
    /// The headless Service that gives every pod a name.
    #[must_use]
    pub fn pods_service(cache: &str) -> String {
        format!("{cache}-pods")
    }
    /// What the pods are to the API server: ServiceAccount, Role and RoleBinding. Not the cache's own name, because a cache may be
    /// named `default`, as the ServiceAccount is that every namespace has.
    #[must_use]
    pub fn pods_account(cache: &str) -> String {
        format!("{cache}-pods")
    }
    /// The Secret with the authority of the pods' certificates. No pod sees it.
    #[must_use]
    pub fn peers_ca(cache: &str) -> String {
        format!("{cache}-peers-ca")
    }
    /// The Secret with the pods' certificate.
    #[must_use]
    pub fn peers(cache: &str) -> String {
        format!("{cache}-peers")
    }
    /// The pods' owner.
    #[must_use]
    pub fn stateful_set(cache: &str) -> String {
        cache.to_owned()
    }
}

/// The children of a cache as they should be.
#[derive(Clone, Debug)]
pub struct Children {
    /// The configuration of the pods.
    pub config_map: ConfigMap,
    /// The clients' Service.
    pub service: Service,
    /// The headless Service of the pods.
    pub pods_service: Service,
    /// What the pods may ask the API server; `None` = they don't share, and ask nothing.
    pub access: Option<Access>,
    /// The pods' owner.
    pub stateful_set: StatefulSet,
}

/// Renders all children.
#[must_use]
pub fn build(cache: &ValidatedCache) -> Children {
    let config = config_yaml(&cache.config);
    Children {
        stateful_set: stateful_set::stateful_set(cache, &config_map::hash(&config)),
        config_map: config_map::config_map(cache, config),
        service: service::service(cache),
        pods_service: service::pods_service(cache),
        access: cache.shares.then(|| access::access(cache)),
    }
}

/// Labels that select the pods of a cache. They can never change: a StatefulSet's selector is immutable.
#[must_use]
pub fn selector_labels(cache: &str) -> BTreeMap<String, String> {
    [
        (labels::NAME, labels::NAME_VALUE),
        (labels::INSTANCE, cache),
        (labels::COMPONENT, labels::COMPONENT_VALUE),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The selector in the form of the scale subresource.
#[must_use]
pub fn selector_text(cache: &str) -> String {
    let pairs: Vec<String> =
        selector_labels(cache).iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

fn all_labels(cache: &str) -> BTreeMap<String, String> {
    let mut all = selector_labels(cache);
    all.insert(labels::MANAGED_BY.to_owned(), labels::MANAGED_BY_VALUE.to_owned());
    all
}

fn metadata(cache: &ValidatedCache, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cache.namespace.clone()),
        labels: Some(all_labels(&cache.name)),
        owner_references: Some(vec![cache.owner.clone()]),
        ..ObjectMeta::default()
    }
}
