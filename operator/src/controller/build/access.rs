//! What the pods may ask the API server: who the other pods are, and whether they themselves were scaled away. A ServiceAccount
//! of their own has these rights and no others.

use k8s_openapi::api::{
    core::v1::{LocalObjectReference, ServiceAccount},
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};

use super::{metadata, names};
use crate::controller::validate::ValidatedCache;

/// ServiceAccount, Role and RoleBinding of the pods.
#[derive(Clone, Debug)]
pub struct Access {
    /// Who the pods are.
    pub service_account: ServiceAccount,
    /// What they may do.
    pub role: Role,
    /// That they may do it.
    pub role_binding: RoleBinding,
}

pub(super) fn access(cache: &ValidatedCache) -> Access {
    let name = names::pods_account(&cache.name);
    Access {
        service_account: ServiceAccount {
            metadata: metadata(cache, name.clone()),
            // Pods ask for their token by themselves; another pod that uses this account by mistake gets none.
            automount_service_account_token: Some(false),
            image_pull_secrets: pull_secrets(cache),
            ..ServiceAccount::default()
        },
        role: Role { metadata: metadata(cache, name.clone()), rules: Some(rules(cache)) },
        role_binding: RoleBinding {
            metadata: metadata(cache, name.clone()),
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".to_owned(),
                kind: "Role".to_owned(),
                name: name.clone(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name,
                namespace: Some(cache.namespace.clone()),
                ..Subject::default()
            }]),
        },
    }
}

/// Those of the ServiceAccount `default`, so that pods still pull from where they pulled before they had an account of their own.
/// Where that has none, nothing is stated, and what somebody gives to the pods' account stays.
fn pull_secrets(cache: &ValidatedCache) -> Option<Vec<LocalObjectReference>> {
    (!cache.pull_secrets.is_empty())
        .then(|| cache.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect())
}

fn rules(cache: &ValidatedCache) -> Vec<PolicyRule> {
    let rule = |group: &str, resource: &str, name: Option<String>, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        resource_names: name.map(|name| vec![name]),
        verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
        ..PolicyRule::default()
    };
    vec![
        // The other pods. Kubernetes makes up the names of EndpointSlices, so the right can't be narrowed to those of this cache.
        rule("discovery.k8s.io", "endpointslices", None, &["get", "list", "watch"]),
        // How many pods are wanted: one that ends asks whether it comes back.
        rule("apps", "statefulsets", Some(names::stateful_set(&cache.name)), &["get"]),
    ]
}
