//! News for `kubectl describe`: what changed in one pass, told once. Deciding compares the status before and after; the same
//! pass over the same state therefore tells nothing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Resource,
    runtime::events::{Event, EventType, Recorder},
};

use connected_cache_api::{ConditionType, ConnectedCache, ConnectedCacheStatus, Reason};

use super::{apply::Outcome, certify};

/// The news of one pass.
#[must_use]
pub fn news(
    previous: Option<&ConnectedCacheStatus>,
    next: &ConnectedCacheStatus,
    outcome: &Outcome,
    wanted_replicas: i32,
) -> Vec<Event> {
    let mut news = Vec::new();
    if outcome.created {
        news.push(normal("Created", "Create", format!("made a cache of {wanted_replicas} pods")));
    }
    scaled(outcome, wanted_replicas, &mut news);
    rejected(previous, next, &mut news);
    rolled(previous, next, &mut news);
    news
}

/// What is told about the certificates of the pods.
#[must_use]
pub fn of_certificates(news: certify::News) -> Event {
    let unreadable = |secret: &str| Event {
        type_: EventType::Warning,
        ..normal(
            "CertificateReplaced",
            "Certify",
            format!("the Secret of {secret} could not be used; it was made anew"),
        )
    };
    match news {
        certify::News::AuthorityUnreadable => unreadable("the pods' certificate authority"),
        certify::News::CertificateUnreadable => unreadable("the pods' certificate"),
        certify::News::AuthorityChanging => normal(
            "CertificateAuthorityChanging",
            "Certify",
            "the pods get another certificate authority, within half an hour and without an interruption"
                .to_owned(),
        ),
        certify::News::AuthorityChanged => normal(
            "CertificateAuthorityChanged",
            "Certify",
            "the pods have another certificate authority; the one before is trusted no more".to_owned(),
        ),
    }
}

fn scaled(outcome: &Outcome, wanted: i32, news: &mut Vec<Event>) {
    let now = outcome.stateful_set.as_ref().and_then(|set| set.spec.as_ref()?.replicas);
    let (Some(before), Some(now)) = (outcome.previous_replicas, now) else { return };
    if now != wanted || before == wanted {
        return;
    }
    let reason = if before < wanted { "ScaledUp" } else { "ScaledDown" };
    // Events of one object, reason and action are counted together: the numbers in the action keep two changes apart.
    news.push(normal(
        reason,
        &format!("ScaleFrom{before}To{wanted}"),
        format!("from {before} to {wanted} pods"),
    ));
}

fn rejected(previous: Option<&ConnectedCacheStatus>, next: &ConnectedCacheStatus, news: &mut Vec<Event>) {
    let now = condition(Some(next), ConditionType::Accepted);
    let before = condition(previous, ConditionType::Accepted);
    let Some(now) = now.filter(|now| now.status == "False") else { return };
    if before.is_some_and(|before| before.status == "False" && before.message == now.message) {
        return;
    }
    let reason =
        if now.reason == Reason::InvalidSpec.as_str() { "ConfigRejected" } else { now.reason.as_str() };
    news.push(Event {
        type_: EventType::Warning,
        reason: reason.to_owned(),
        note: Some(bounded(&now.message)),
        action: "Validate".to_owned(),
        secondary: None,
    });
}

fn rolled(previous: Option<&ConnectedCacheStatus>, next: &ConnectedCacheStatus, news: &mut Vec<Event>) {
    let reason_of = |status| condition(status, ConditionType::Progressing).map(|found| found.reason.as_str());
    let (before, now) = (reason_of(previous), reason_of(Some(next)));
    let rolling = Some(Reason::RollingOut.as_str());
    let version = next.version.as_deref().unwrap_or("unknown");
    if before != rolling && now == rolling {
        news.push(normal("RolloutStarted", "Rollout", format!("replacing pods, image version {version}")));
    }
    if before == rolling && now == Some(Reason::Settled.as_str()) {
        news.push(normal(
            "RolloutCompleted",
            "Rollout",
            format!("all pods were replaced, image version {version}"),
        ));
    }
}

fn condition(status: Option<&ConnectedCacheStatus>, kind: ConditionType) -> Option<&Condition> {
    status?.conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

fn normal(reason: &str, action: &str, note: String) -> Event {
    Event {
        type_: EventType::Normal,
        reason: reason.to_owned(),
        note: Some(note),
        action: action.to_owned(),
        secondary: None,
    }
}

/// The API server refuses notes of more than 1024 bytes.
fn bounded(text: &str) -> String {
    let end = text
        .char_indices()
        .map(|(start, letter)| start + letter.len_utf8())
        .take_while(|end| *end <= 1000)
        .last();
    text[..end.unwrap_or(0)].to_owned()
}

/// Publishes news. An event that can't be written is logged and lost: the status says the same.
pub async fn publish(recorder: &Recorder, cache: &ConnectedCache, news: &[Event]) {
    let reference = cache.object_ref(&());
    for event in news {
        if let Err(error) = recorder.publish(event, &reference).await {
            tracing::warn!(reason = event.reason, %error, "unable to write an event");
        }
    }
}
