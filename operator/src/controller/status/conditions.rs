//! The conditions: a judgement for each type, and their merging into the list that is there, so that a transition time is
//! the time of a transition.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use connected_cache_api::{ConditionStatus, ConditionType, Reason};

use super::{Facts, Judgement, endpoint, pods::Pods};
use crate::controller::apply::ApplyError;

/// A judgement for each type of condition.
pub(super) struct Judgements([(ConditionType, Judgement); 7]);

impl Judgements {
    pub(super) fn of(&self, wanted: ConditionType) -> &Judgement {
        // The array holds every type: `judge` goes through `ConditionType::ALL`.
        let position = self.0.iter().position(|(kind, _)| *kind == wanted).unwrap_or(0);
        &self.0[position].1
    }
}

/// Judges every type.
pub(super) fn judge(facts: &Facts<'_>, pods: &Pods) -> Judgements {
    Judgements(ConditionType::ALL.map(|kind| {
        let judgement = match kind {
            ConditionType::Ready => ready(facts, pods),
            ConditionType::Accepted => accepted(facts),
            ConditionType::Available => available(pods),
            ConditionType::Progressing => progressing(facts, pods),
            ConditionType::Degraded => degraded(facts, pods),
            ConditionType::Exposed => endpoint::judge(facts),
            ConditionType::RolloutSafe => rollout_safe(pods),
        };
        (kind, judgement)
    }))
}

fn accepted(facts: &Facts<'_>) -> Judgement {
    let valid = match facts.verdict {
        Ok(valid) => valid,
        Err(invalid) => {
            return Judgement::with_advice(false, invalid.reason(), &bounded(&invalid.to_string()));
        }
    };
    if let Some(change) = &valid.pending_volume_change {
        return Judgement::with_advice(false, Reason::VolumesChanged, change);
    }
    match facts.failures {
        [] => Judgement::new(true, Reason::Valid, "the spec is valid and applied"),
        [first, rest @ ..] => {
            let reason = match first {
                ApplyError::NameTaken { .. } => Reason::NameTaken,
                ApplyError::Refused { .. } | ApplyError::Waits { .. } => Reason::ApplyFailed,
            };
            let all: Vec<String> = std::iter::once(first).chain(rest).map(ToString::to_string).collect();
            Judgement::with_advice(false, reason, &bounded(&all.join("; ")))
        }
    }
}

fn ready(facts: &Facts<'_>, pods: &Pods) -> Judgement {
    let accepted = accepted(facts);
    // Volumes that cannot be had yet are said in Accepted; the pods serve from those they have.
    if !accepted.holds() && accepted.reason != Reason::VolumesChanged {
        return accepted;
    }
    if pods.wanted == 0 && pods.is_current && pods.existing == 0 {
        return Judgement::with_advice(true, Reason::Hibernating, "no pods run, as spec.replicas says");
    }
    if pods.are_complete() {
        return Judgement::new(true, Reason::AsSpecified, format!("{} pods serve", pods.ready));
    }
    let underway = underway(pods);
    Judgement { status: ConditionStatus::False, ..underway }
}

fn available(pods: &Pods) -> Judgement {
    if pods.ready > 0 {
        Judgement::new(true, Reason::PodsReady, format!("{} of {} pods serve", pods.ready, pods.wanted))
    } else if pods.wanted == 0 {
        Judgement::with_advice(false, Reason::Hibernating, "no pods run, as spec.replicas says")
    } else {
        Judgement::with_advice(false, Reason::NoPodReady, "no pod serves")
    }
}

fn progressing(facts: &Facts<'_>, pods: &Pods) -> Judgement {
    if facts.is_paused {
        return Judgement::with_advice(false, Reason::Paused, "the operator leaves this cache alone");
    }
    if facts.verdict.is_err() || (pods.is_overdue && !pods.is_rolling) {
        return Judgement::new(false, Reason::Settled, "nothing is under way");
    }
    if pods.are_complete() {
        return Judgement::new(false, Reason::Settled, "nothing is under way");
    }
    underway(pods)
}

/// What is under way while the pods are not complete.
fn underway(pods: &Pods) -> Judgement {
    if !pods.is_current {
        Judgement::with_advice(true, Reason::Observing, "the latest change is being taken up")
    } else if pods.is_rolling {
        let fact = format!("{} of {} pods run the latest version", pods.updated, pods.wanted);
        Judgement::with_advice(true, Reason::RollingOut, &fact)
    } else if pods.existing != pods.wanted {
        let fact = format!("{} of {} pods exist", pods.existing, pods.wanted);
        Judgement::with_advice(true, Reason::Scaling, &fact)
    } else {
        let reason = if pods.ready == 0 { Reason::NoPodReady } else { Reason::SomePodsNotReady };
        Judgement::with_advice(true, reason, &format!("{} of {} pods serve", pods.ready, pods.wanted))
    }
}

fn degraded(facts: &Facts<'_>, pods: &Pods) -> Judgement {
    if !facts.failures.is_empty() && facts.stateful_set.is_some() {
        let accepted = accepted(facts);
        return Judgement { status: ConditionStatus::True, ..accepted };
    }
    if pods.is_overdue {
        let fact =
            format!("{} of {} pods have not served for minutes", pods.wanted - pods.ready, pods.wanted);
        return Judgement::with_advice(true, Reason::PodsMissing, &fact);
    }
    Judgement::new(false, Reason::Healthy, "nothing is degraded")
}

fn rollout_safe(pods: &Pods) -> Judgement {
    match pods.wanted {
        0 => Judgement::with_advice(false, Reason::Hibernating, "no pods run, as spec.replicas says"),
        1 => {
            Judgement::with_advice(false, Reason::SingleReplica, "replacing the only pod is a gap in service")
        }
        _ => Judgement::new(true, Reason::SeveralReplicas, "one pod can be replaced while another serves"),
    }
}

/// A condition's message has a limit of its own in Kubernetes; a long one is of no use in a terminal either.
fn bounded(text: &str) -> String {
    const LONGEST_CHARACTERS: usize = 2000;
    if text.chars().count() <= LONGEST_CHARACTERS {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(LONGEST_CHARACTERS).collect();
    short.push('…');
    short
}

/// Judgements as a list of conditions, where one that kept its status keeps its transition time. Conditions of types that
/// are not ours are dropped: the list is written by the operator alone.
pub(super) fn merge(
    previous: &[Condition],
    judgements: &Judgements,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    // Kubernetes' times have whole seconds; a finer one would differ from itself after a round trip.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    judgements
        .0
        .iter()
        .map(|(kind, judgement)| {
            let status = judgement.status.as_str();
            let kept = previous
                .iter()
                .find(|condition| condition.type_ == kind.as_str() && condition.status == status)
                .map(|condition| condition.last_transition_time.clone());
            Condition {
                type_: kind.as_str().to_owned(),
                status: status.to_owned(),
                reason: judgement.reason.as_str().to_owned(),
                message: judgement.message.clone(),
                observed_generation: generation,
                last_transition_time: kept.unwrap_or(Time(now)),
            }
        })
        .collect()
}
