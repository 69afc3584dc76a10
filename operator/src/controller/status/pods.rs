//! How the pods are doing, from the StatefulSet's own status.

use k8s_openapi::{api::apps::v1::StatefulSetStatus, jiff::Timestamp};

use connected_cache_api::{ConditionType, Reason};

use super::Facts;

/// So long may pods be missing before that counts as degraded: enough for an image to be pulled and a volume to be made.
pub const START_DEADLINE_SECONDS: i64 = 300;

/// Counts of pods, and what is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pods {
    pub(super) wanted: i32,
    pub(super) existing: i32,
    pub(super) ready: i32,
    pub(super) updated: i32,
    /// The StatefulSet exists and its controller has seen the present generation.
    pub(super) is_current: bool,
    pub(super) is_rolling: bool,
    /// Pods have been missing for longer than a start takes.
    pub(super) is_overdue: bool,
}

impl Pods {
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        let none = StatefulSetStatus::default();
        let status = facts.stateful_set.and_then(|set| set.status.as_ref()).unwrap_or(&none);
        let generation = facts.stateful_set.and_then(|set| set.metadata.generation);
        let wanted = facts.cache.spec.replicas;
        let ready = status.ready_replicas.unwrap_or(0);
        let updated = status.updated_replicas.unwrap_or(0);
        let is_current = generation.is_some() && status.observed_generation >= generation;
        let is_rolling = is_current
            && wanted > 0
            && status.update_revision.is_some()
            && status.current_revision != status.update_revision;
        Self {
            wanted,
            existing: status.replicas,
            ready,
            updated,
            is_current,
            is_rolling,
            is_overdue: ready < wanted && is_overdue(facts),
        }
    }

    pub(super) fn are_complete(&self) -> bool {
        self.is_current && !self.is_rolling && self.existing == self.wanted && self.ready >= self.wanted
    }
}

/// Whether the pods have been on their way for too long, or were overdue already and nobody changed the spec since.
fn is_overdue(facts: &Facts<'_>) -> bool {
    let conditions =
        facts.cache.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let of = |kind: ConditionType| {
        conditions.iter().find(|condition| {
            condition.type_ == kind.as_str()
                && condition.status == "True"
                && condition.observed_generation == facts.cache.metadata.generation
        })
    };
    let waiting = of(ConditionType::Progressing).is_some_and(|condition| {
        seconds_between(condition.last_transition_time.0, facts.now) > START_DEADLINE_SECONDS
    });
    waiting
        || of(ConditionType::Degraded)
            .is_some_and(|condition| condition.reason == Reason::PodsMissing.as_str())
}

fn seconds_between(earlier: Timestamp, later: Timestamp) -> i64 {
    later.as_second().saturating_sub(earlier.as_second())
}
