//! The reconciler of ConnectedCache. This file only names the phases; each is a module:
//!
//! 1. [`dereference`]: read the cache and its children (client);
//! 2. [`validate`]: check what the schema can't (pure);
//! 3. [`certify`]: make and renew the certificates of the pods (pure, but for new keys);
//! 4. [`build`]: render the children (pure);
//! 5. [`apply`]: make the children so (client);
//! 6. [`status`] and [`events`]: say what was seen (deciding is pure, writing needs the client).
//!
//! There are no finalizers: owner references let Kubernetes remove the children, also while the operator is away.

pub mod apply;
pub mod build;
pub mod certify;
pub mod dereference;
pub mod events;
pub mod hidden;
mod retry;
pub mod status;
pub mod validate;

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, Service, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        Controller,
        controller::{Action, Config},
        events::{Recorder, Reporter},
        watcher,
    },
};

use connected_cache_api::{CONTROLLER_NAME, ConditionType, ConnectedCache, ConnectedCacheStatus, labels};

use crate::{image::ImageReference, metrics::Metrics};

/// A cache at rest is looked at again after so long, in case a watch event was lost.
const RESYNC: Duration = Duration::from_mins(10);
/// A cache that is under way is looked at again after so long, because the passing of time can change its state.
const RECHECK: Duration = Duration::from_secs(30);

/// Certificates are looked at again after so long at the soonest.
const SOONEST: SignedDuration = SignedDuration::from_secs(1);

/// What every pass needs.
pub struct Context {
    client: Client,
    recorder: Recorder,
    metrics: Metrics,
    sidecar_image: ImageReference,
    attempts: retry::Attempts,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Client and recorder have no debug form.
        formatter.debug_struct("Context").field("sidecar_image", &self.sidecar_image).finish_non_exhaustive()
    }
}

impl Context {
    /// `sidecar_image` is what pods run unless their cache says otherwise; `instance` tells this process from its siblings.
    #[must_use]
    pub fn new(client: Client, sidecar_image: ImageReference, metrics: Metrics, instance: &str) -> Self {
        let reporter =
            Reporter { controller: CONTROLLER_NAME.to_owned(), instance: Some(instance.to_owned()) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            metrics,
            sidecar_image,
            attempts: retry::Attempts::default(),
        }
    }
}

/// Why a pass must be repeated.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Reading failed.
    #[error(transparent)]
    Dereference(#[from] dereference::DereferenceError),
    /// The certificates of the pods could not be made.
    #[error(transparent)]
    Certify(#[from] certify::CertifyError),
    /// Some children could not be made as built. The status says which.
    #[error("{} of the children could not be applied, first: {first}", count)]
    Apply {
        /// How many.
        count: usize,
        /// The first one's error.
        first: apply::ApplyError,
    },
    /// The status could not be written.
    #[error("unable to write the status: {0}")]
    Status(#[source] Box<kube::Error>),
}

impl ReconcileError {
    /// Label of metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Dereference(_) => "dereference",
            Self::Certify(_) => "certify",
            Self::Apply { .. } => "apply",
            Self::Status(_) => "status",
        }
    }
}

/// One pass over one cache.
pub async fn reconcile(cache: Arc<ConnectedCache>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let _timer = context.metrics.time_reconcile();
    let Some(observed) = Box::pin(dereference::dereference(&context.client, &cache)).await? else {
        context.attempts.forget(&cache);
        return Ok(Action::await_change());
    };
    let verdict = validate::validate(&observed, &context.sidecar_image);
    let is_paused = validate::is_paused(&observed);
    let now = Timestamp::now();
    let workable = verdict.as_ref().ok().filter(|_| !is_paused);
    let certificates = workable
        .filter(|valid| valid.shares)
        .map(|valid| certify::certify(valid, &observed, now))
        .transpose()?;
    let outcome = match workable {
        Some(valid) => {
            let secrets = certificates.as_ref().map(|certificates| build::secrets(valid, certificates));
            let children = build::build(valid);
            // On the heap: children in flight make a large future, and one lives for each cache that is worked on.
            Box::pin(apply::apply(&context.client, &children, secrets.as_ref(), &observed)).await
        }
        None => apply::Outcome::untouched(&observed),
    };
    if outcome.failures.iter().any(apply::ApplyError::is_namespace_terminating) {
        context.attempts.forget(&cache);
        return Ok(Action::await_change());
    }
    let next = status::compute(&status::Facts {
        cache: &observed.cache,
        verdict: verdict.as_ref(),
        is_paused,
        stateful_set: outcome.stateful_set.as_ref(),
        service: outcome.service.as_ref(),
        failures: &outcome.failures,
        now,
    });
    status::write_if_changed(&context.client, &observed.cache, &observed.namespace, &next)
        .await
        .map_err(|error| ReconcileError::Status(Box::new(error)))?;
    let mut news =
        events::news(observed.cache.status.as_ref(), &next, &outcome, observed.cache.spec.replicas);
    if let Some(certificates) = certificates.as_ref().filter(|_| outcome.certified) {
        news.extend(certificates.news.iter().map(|news| events::of_certificates(*news)));
    }
    events::publish(&context.recorder, &observed.cache, &news).await;

    let count = outcome.failures.len();
    if let Some(first) = outcome.failures.into_iter().next() {
        return Err(ReconcileError::Apply { count, first });
    }
    context.attempts.forget(&cache);
    let due = certificates.map(|certificates| certificates.next_look.duration_since(now));
    Ok(next_look(verdict.as_ref().err(), &next, due))
}

/// A rejected spec waits for its edit; what is under way, or waits for an object that is not watched, is looked at soon; the
/// rest is looked at now and then, and no later than its certificates are `due`.
fn next_look(
    invalid: Option<&validate::InvalidCache>,
    status: &ConnectedCacheStatus,
    due: Option<SignedDuration>,
) -> Action {
    match invalid {
        Some(invalid) if invalid.is_waiting() => return Action::requeue(retry::with_jitter(RECHECK)),
        Some(_) => return Action::await_change(),
        None => {}
    }
    let is_ready = status
        .conditions
        .iter()
        .any(|condition| condition.type_ == ConditionType::Ready.as_str() && condition.status == "True");
    let usual = retry::with_jitter(if is_ready { RESYNC } else { RECHECK });
    let due = due.map(|due| due.max(SOONEST).unsigned_abs());
    Action::requeue(due.map_or(usual, |due| due.min(usual)))
}

/// Waits longer after each failure of the same cache, with jitter, so that many failing caches don't come back at once.
#[allow(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn error_policy(cache: Arc<ConnectedCache>, error: &ReconcileError, context: Arc<Context>) -> Action {
    context.metrics.count_error(error.label());
    let delay = context.attempts.delay_after_failure(&cache);
    tracing::warn!(
        namespace = cache.namespace().unwrap_or_default(),
        name = cache.name_any(),
        retry_in_seconds = delay.as_secs(),
        %error,
        "unable to reconcile the cache"
    );
    Action::requeue(delay)
}

/// Reconciles until `shutdown` resolves, then lets running passes finish. `namespace` narrows the watch to one.
pub async fn run(
    context: Arc<Context>,
    namespace: Option<&str>,
    concurrency: u16,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let client = &context.client;
    // Children are found by label, so that memory does not grow with everything else in the cluster.
    let children =
        watcher::Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGED_BY_VALUE));
    let caches = Controller::new(api::<ConnectedCache>(client, namespace), watcher::Config::default());
    caches
        .with_config(Config::default().concurrency(concurrency))
        .owns(api::<ConfigMap>(client, namespace), children.clone())
        .owns(api::<Service>(client, namespace), children.clone())
        .owns(api::<StatefulSet>(client, namespace), children.clone())
        // Not Secrets: a right to watch them can't be narrowed to those of caches. They are looked at with every pass.
        .owns(api::<ServiceAccount>(client, namespace), children.clone())
        .owns(api::<Role>(client, namespace), children.clone())
        .owns(api::<RoleBinding>(client, namespace), children)
        .graceful_shutdown_on(shutdown)
        .run(reconcile, error_policy, context.clone())
        .for_each(|result| async move {
            if let Err(error) = result {
                // Failures of passes were reported by the error policy; what remains are watches, which are retried.
                tracing::debug!(%error, "the controller reports");
            }
        })
        .await;
}

fn api<Kind>(client: &Client, namespace: Option<&str>) -> Api<Kind>
where
    Kind: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
