//! Phase 6: what was observed, in the words of the status. Deciding is pure and takes the time as an argument; writing
//! happens only when something changed.

mod conditions;
mod endpoint;
mod pods;

use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::Service},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use connected_cache_api::{
    CacheSummary, ConditionStatus, ConditionType, ConnectedCache, ConnectedCacheStatus, Reason, SummaryState,
    field_managers,
};

use super::{
    apply::ApplyError,
    build,
    validate::{InvalidCache, ValidatedCache},
};
pub use pods::START_DEADLINE_SECONDS;

/// Everything that the status is made from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The cache, with its present status.
    pub cache: &'a ConnectedCache,
    /// What validation said.
    pub verdict: Result<&'a ValidatedCache, &'a InvalidCache>,
    /// The operator was asked to leave the cache alone.
    pub is_paused: bool,
    /// The pods' owner as it is now.
    pub stateful_set: Option<&'a StatefulSet>,
    /// The clients' Service as it is now.
    pub service: Option<&'a Service>,
    /// Children that are not as built.
    pub failures: &'a [ApplyError],
    /// The present.
    pub now: Timestamp,
}

/// One judgement: status, reason and message of a condition.
#[derive(Clone, Debug)]
pub(super) struct Judgement {
    pub(super) status: ConditionStatus,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Judgement {
    fn new(status: impl Into<ConditionStatus>, reason: Reason, message: impl Into<String>) -> Self {
        Self { status: status.into(), reason, message: message.into() }
    }

    /// A judgement whose message is the fact and what to do about it.
    fn with_advice(status: impl Into<ConditionStatus>, reason: Reason, fact: &str) -> Self {
        Self::new(status, reason, format!("{fact}: {}", reason.advice()))
    }

    fn holds(&self) -> bool {
        self.status == ConditionStatus::True
    }
}

/// The status of a cache.
#[must_use]
pub fn compute(facts: &Facts<'_>) -> ConnectedCacheStatus {
    let pods = pods::Pods::of(facts);
    let judgements = conditions::judge(facts, &pods);
    let previous = facts.cache.status.as_ref();
    ConnectedCacheStatus {
        observed_generation: facts.cache.metadata.generation,
        replicas: pods.existing,
        ready_replicas: pods.ready,
        selector: Some(build::selector_text(&facts.cache.name_any())),
        endpoint: Some(endpoint::endpoint(facts)),
        version: match facts.verdict {
            Ok(valid) => Some(valid.image.version().to_owned()),
            Err(_) => previous.and_then(|status| status.version.clone()),
        },
        summary: Some(CacheSummary {
            ready: format!("{}/{}", pods.ready, pods.wanted),
            state: state(facts, &pods, &judgements).as_str().to_owned(),
            message: message(&judgements),
        }),
        conditions: conditions::merge(
            previous.map(|status| status.conditions.as_slice()).unwrap_or_default(),
            &judgements,
            facts.cache.metadata.generation,
            facts.now,
        ),
    }
}

fn state(facts: &Facts<'_>, pods: &pods::Pods, judgements: &conditions::Judgements) -> SummaryState {
    let of = |kind| judgements.of(kind);
    if facts.is_paused {
        SummaryState::Paused
    } else if facts.verdict.is_err() {
        SummaryState::Rejected
    } else if pods.wanted == 0 {
        SummaryState::Hibernating
    } else if of(ConditionType::Degraded).holds() {
        SummaryState::Degraded
    } else if of(ConditionType::Ready).holds() {
        SummaryState::Serving
    } else if of(ConditionType::Available).holds() {
        SummaryState::Rolling
    } else {
        SummaryState::Pending
    }
}

/// The most important thing to do, or nothing.
fn message(judgements: &conditions::Judgements) -> String {
    let wrong = [
        (ConditionType::Accepted, ConditionStatus::False),
        (ConditionType::Degraded, ConditionStatus::True),
        (ConditionType::Progressing, ConditionStatus::True),
    ];
    for (kind, status) in wrong {
        let judgement = judgements.of(kind);
        if judgement.status == status {
            return judgement.message.clone();
        }
    }
    let exposed = judgements.of(ConditionType::Exposed);
    match exposed.reason {
        Reason::AddressPending | Reason::NodePortUnusable => exposed.message.clone(),
        _ => String::new(),
    }
}

/// Writes the status, if it differs from the present one. Returns whether it did.
pub async fn write_if_changed(
    client: &Client,
    cache: &ConnectedCache,
    namespace: &str,
    status: &ConnectedCacheStatus,
) -> Result<bool, kube::Error> {
    if cache.status.as_ref() == Some(status) {
        return Ok(false);
    }
    let name = cache.name_any();
    let caches: Api<ConnectedCache> = Api::namespaced(client.clone(), namespace);
    let patch = json!({
        "apiVersion": ConnectedCache::api_version(&()),
        "kind": ConnectedCache::kind(&()),
        "metadata": {"name": name},
        "status": status,
    });
    let parameters = PatchParams::apply(field_managers::STATUS).force();
    match caches.patch_status(&name, &parameters, &Patch::Apply(&patch)).await {
        Ok(_) => Ok(true),
        // Deleted in the meantime: there is nothing left to describe.
        Err(kube::Error::Api(answer)) if answer.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}
