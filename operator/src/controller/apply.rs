//! Phase 5: makes the children be as built, by server-side apply with one field manager.
//!
//! A child that is already as built is not written at all, so that a cache at rest costs no writes. One child that fails does
//! not stop the others, with one exception: pods are not touched while their configuration could not be written, because
//! they would start with the old one under the new one's hash.

mod settled;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::StatefulSet,
        core::v1::{Secret, Service},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};

use connected_cache_api::field_managers;

use super::{
    build::{Access, Children, Secrets},
    dereference::Observed,
    hidden::Hidden,
};

/// What became of the children.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The pods' owner as it is now.
    pub stateful_set: Option<StatefulSet>,
    /// The clients' Service as it is now.
    pub service: Option<Service>,
    /// Pods wanted before this pass; `None` when the StatefulSet did not exist.
    pub previous_replicas: Option<i32>,
    /// The StatefulSet was made in this pass.
    pub created: bool,
    /// The certificates of the pods are as they should be.
    pub certified: bool,
    /// Children that could not be made as built.
    pub failures: Vec<ApplyError>,
}

impl Outcome {
    /// What there is, when nothing was applied.
    #[must_use]
    pub fn untouched(observed: &Observed) -> Self {
        Self {
            stateful_set: observed.stateful_set.clone(),
            service: observed.service.clone(),
            previous_replicas: replicas(observed.stateful_set.as_ref()),
            ..Self::default()
        }
    }
}

/// Why a child is not as built.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The name is in use by an object that this cache does not own.
    #[error("{kind} {name} exists and does not belong to this cache")]
    NameTaken {
        /// Kind of the child.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The API server refused it or did not answer.
    #[error("unable to apply {kind} {name}: {}", explain(source))]
    Refused {
        /// Kind of the child.
        kind: String,
        /// Its name.
        name: String,
        /// What the client said.
        #[source]
        source: Box<kube::Error>,
    },
    /// It needs another child that failed.
    #[error("{kind} {name} waits for {needs}")]
    Waits {
        /// Kind of the child.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The child that failed.
        needs: String,
    },
}

impl ApplyError {
    /// Whether the namespace is being deleted: then nothing can be made there any more, and the cache goes as well.
    #[must_use]
    pub fn is_namespace_terminating(&self) -> bool {
        let Self::Refused { source, .. } = self else { return false };
        let kube::Error::Api(status) = source.as_ref() else { return false };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    }
}

/// Makes the children be as built.
pub async fn apply(
    client: &Client,
    children: &Children,
    secrets: Option<&Secrets>,
    observed: &Observed,
) -> Outcome {
    let pass =
        Pass { client, namespace: &observed.namespace, owner: observed.cache.uid().unwrap_or_default() };
    let mut outcome = Outcome::untouched(observed);
    let config_map = pass.child(&children.config_map, observed.config_map.as_ref()).await;
    let pods_service = pass.child(&children.pods_service, observed.pods_service.as_ref()).await;
    match pass.child(&children.service, observed.service.as_ref()).await {
        Ok(service) => outcome.service = Some(service),
        Err(error) => outcome.failures.push(error),
    }
    let access = pass.access(children.access.as_ref(), observed, &mut outcome).await;
    if let Some(secrets) = secrets {
        pass.secrets(secrets, observed, &mut outcome).await;
    }
    let needs = match (&config_map, access) {
        (Err(_), _) => Some(format!("ConfigMap {}", children.config_map.name_any())),
        (Ok(_), Err(needs)) => Some(needs),
        (Ok(_), Ok(())) => None,
    };
    if let Some(needs) = needs {
        let name = children.stateful_set.name_any();
        outcome.failures.push(ApplyError::Waits { kind: "StatefulSet", name, needs });
    } else {
        match pass.child(&children.stateful_set, observed.stateful_set.as_ref()).await {
            Ok(stateful_set) => {
                outcome.created = observed.stateful_set.is_none();
                outcome.stateful_set = Some(stateful_set);
            }
            Err(error) => outcome.failures.push(error),
        }
    }
    // What is asked first in a message is what comes first here: the cause before what waits for it.
    outcome.failures.splice(0..0, [config_map.err(), pods_service.err()].into_iter().flatten());
    outcome
}

struct Pass<'a> {
    client: &'a Client,
    namespace: &'a str,
    owner: String,
}

impl Pass<'_> {
    /// What the pods may ask the API server. Without their ServiceAccount no pod can be made, which the error names; without the
    /// rights pods serve all the same.
    async fn access(
        &self,
        access: Option<&Access>,
        observed: &Observed,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let Some(access) = access else { return Ok(()) };
        let account = self.child(&access.service_account, observed.service_account.as_ref()).await;
        let role = self.child(&access.role, observed.role.as_ref()).await;
        let binding = self.child(&access.role_binding, observed.role_binding.as_ref()).await;
        let needs = format!("ServiceAccount {}", access.service_account.name_any());
        let has_account = account.is_ok();
        outcome.failures.extend([account.err(), role.err(), binding.err()].into_iter().flatten());
        if has_account { Ok(()) } else { Err(needs) }
    }

    /// The authority first: a certificate is only given out when who signed it is kept. Pods serve without, each for itself.
    async fn secrets(&self, secrets: &Secrets, observed: &Observed, outcome: &mut Outcome) {
        let (Hidden(authority), Hidden(pods)) = (&secrets.peers_ca, &secrets.peers);
        let hidden = |secret: &Option<Hidden<Secret>>| secret.as_ref().map(|Hidden(secret)| secret.clone());
        if let Err(error) = self.child(authority, hidden(&observed.peers_ca).as_ref()).await {
            outcome.failures.push(error);
            let needs = format!("Secret {}", authority.name_any());
            outcome.failures.push(ApplyError::Waits { kind: "Secret", name: pods.name_any(), needs });
            return;
        }
        match self.child(pods, hidden(&observed.peers).as_ref()).await {
            Ok(_) => outcome.certified = true,
            Err(error) => outcome.failures.push(error),
        }
    }

    async fn child<Kind>(&self, desired: &Kind, observed: Option<&Kind>) -> Result<Kind, ApplyError>
    where
        Kind: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let name = desired.name_any();
        if observed.is_some_and(|observed| !self.owns(observed)) {
            return Err(ApplyError::NameTaken { kind: Kind::kind(&()).into_owned(), name });
        }
        let desired = settled::stamped(desired);
        if let Some(observed) = observed
            && settled::is_settled(&desired, observed)
        {
            return Ok(observed.clone());
        }
        let api: Api<Kind> = Api::namespaced(self.client.clone(), self.namespace);
        let parameters = PatchParams::apply(field_managers::OPERATOR).force();
        let mut applied = api.patch(&name, &parameters, &Patch::Apply(&desired)).await;
        if observed.is_some() && matches!(&applied, Err(kube::Error::Api(answer)) if answer.is_invalid()) {
            applied = overwrite(&api, &name, &desired).await;
        }
        applied.map_err(|source| ApplyError::Refused {
            kind: Kind::kind(&()).into_owned(),
            name,
            source: Box::new(source),
        })
    }
}

/// Server-side apply merges lists by key, so an entry that somebody else changed stays beside ours and may collide with it (a
/// second port of the same name). A merge patch replaces such lists as a whole; the apply after it takes back the fields.
async fn overwrite<Kind>(api: &Api<Kind>, name: &str, desired: &Kind) -> Result<Kind, kube::Error>
where
    Kind: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let parameters =
        PatchParams { field_manager: Some(field_managers::OPERATOR.to_owned()), ..PatchParams::default() };
    api.patch(name, &parameters, &Patch::Merge(desired)).await?;
    let parameters = PatchParams::apply(field_managers::OPERATOR).force();
    api.patch(name, &parameters, &Patch::Apply(desired)).await
}

/// What the API server said, in its own words.
fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(answer) => answer.message.clone(),
        other => other.to_string(),
    }
}

impl Pass<'_> {
    fn owns(&self, child: &impl Resource) -> bool {
        child.owner_references().iter().any(|owner| owner.uid == self.owner)
    }
}

fn replicas(stateful_set: Option<&StatefulSet>) -> Option<i32> {
    stateful_set?.spec.as_ref()?.replicas
}
