//! Judges one reply: from the request, from what the origin has said up to now, and from nothing the cache says about itself.
//!
//! The rules are those of the dossier on Delivery Optimization, 1.4 (ranges, lengths, spelling), 1.5 (generations) and 1.7
//! (what a status costs a client), and of RFC 9110 13 and 14.

mod content;
pub(crate) mod stronger;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::HashSet;

use crate::{
    client::{End, NoReply, Reply},
    object::{Label, Object},
    origin::Announced,
    range::{Asked, Part, select},
};

/// A request as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) is_head: bool,
    pub(crate) asked: Asked,
    pub(crate) if_range: Option<String>,
    pub(crate) if_none_match: Option<String>,
    pub(crate) if_modified_since: Option<String>,
}

/// What is known apart from the cache when the reply is judged.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts, each with its own rule")]
pub(crate) struct Evidence<'a> {
    pub(crate) object: &'a Object,
    /// Everything that the origin has said about the content so far.
    pub(crate) announced: Vec<Announced>,
    /// Totals of its 416 answers.
    pub(crate) totals: Vec<usize>,
    /// Statuses other than of content that it has sent just now.
    pub(crate) refusals: HashSet<u16>,
    /// Its present state.
    pub(crate) present: usize,
    /// Something was wrong with the origin just now, or it changed.
    pub(crate) is_troubled: bool,
    /// The state when the request was sent.
    pub(crate) present_when_asked: usize,
    /// The newest state that an earlier reply, complete before this request, had.
    pub(crate) newest_seen: usize,
    /// The origin has mirrors that may still have the state before.
    pub(crate) has_mirrors: bool,
    /// The cache has it all, fresh, so no trouble of the origin matters.
    pub(crate) is_kept: bool,
    /// The configuration allows stale content for a while.
    pub(crate) allows_stale: bool,
    /// Nothing excuses a short body any more.
    pub(crate) is_last: bool,
}

impl Evidence<'_> {
    /// The cache has it all, fresh, and it is content that can be kept.
    fn needs_no_origin(&self) -> bool {
        self.is_kept && !content::has_nameless_pieces(self)
    }
}

/// What a reply turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Content, or the description of it; `first` is where the body begins. The states are those that it can be of.
    Content {
        label: Label,
        generations: Vec<usize>,
        first: usize,
        is_part: bool,
    },
    NotModified,
    Unsatisfiable,
    /// The origin's own 4xx.
    Refused(u16),
    /// A 5xx.
    Failed(u16),
    /// The connection ended without a reply.
    NoReply,
}

/// The finding, or what is wrong.
pub(crate) fn check(question: &Question, reply: &Reply, evidence: &Evidence<'_>) -> Result<Finding, String> {
    wire::check(question, reply)?;
    match reply.status {
        200 | 206 => content::check(question, reply, evidence),
        304 => not_modified(question, reply, evidence),
        416 => unsatisfiable(question, reply, evidence),
        400..=499 => {
            if !evidence.refusals.contains(&reply.status) {
                return Err(format!(
                    "a {} that the origin has not sent just now keeps the client away for 15 minutes",
                    reply.status
                ));
            }
            excused(reply, evidence, Finding::Refused(reply.status))
        }
        502..=504 => {
            if !evidence.is_troubled && !content::is_in_nameless_pieces(evidence) {
                return Err("the origin is in order, so there is no excuse for a 5xx".to_owned());
            }
            excused(reply, evidence, Finding::Failed(reply.status))
        }
        status => Err(format!("{status} is not among the statuses that a client may get")),
    }
}

/// The same for a request that got no reply.
pub(crate) fn check_none(error: &NoReply, evidence: &Evidence<'_>) -> Result<Finding, String> {
    let is_checked = stronger::is_in_force(stronger::Check::EveryReplyHasAHead);
    if *error == NoReply::Ended && evidence.is_troubled && !is_checked {
        return Ok(Finding::NoReply);
    }
    Err(format!("no reply: {error:?}"))
}

/// What is wholly here and fresh needs no origin.
fn excused(reply: &Reply, evidence: &Evidence<'_>, finding: Finding) -> Result<Finding, String> {
    if reply.end == End::Cut {
        return Err("the text of an error is cut".to_owned());
    }
    if evidence.needs_no_origin() && stronger::is_in_force(stronger::Check::FreshContentNeedsNoOrigin) {
        return Err(
            "the content was delivered whole, is fresh and did not change: its origin does not matter"
                .to_owned(),
        );
    }
    Ok(finding)
}

fn not_modified(question: &Question, reply: &Reply, evidence: &Evidence<'_>) -> Result<Finding, String> {
    let opaque = |tag: &str| tag.trim_start_matches("W/").to_owned();
    let agrees = |announced: &&Announced| match (&question.if_none_match, &question.if_modified_since) {
        (Some(tag), _) => announced.label.etag.as_ref().is_some_and(|own| opaque(own) == opaque(tag)),
        (None, Some(date)) => announced.label.last_modified.as_ref().is_some_and(|own| own <= date),
        (None, None) => false,
    };
    let generations: Vec<usize> =
        evidence.announced.iter().filter(agrees).map(|announced| announced.generation).collect();
    if generations.is_empty() {
        return Err("304 although the client's condition names no state that the origin ever had".to_owned());
    }
    if !reply.body.is_empty() {
        return Err("304 with a body".to_owned());
    }
    stronger::check_age(evidence, &generations)?;
    Ok(Finding::NotModified)
}

fn unsatisfiable(question: &Question, reply: &Reply, evidence: &Evidence<'_>) -> Result<Finding, String> {
    let shown = reply.value("content-range").and_then(|value| value.strip_prefix("bytes */"));
    let Some(total) = shown.and_then(|total| total.parse::<usize>().ok()) else {
        return Err("416 without the length of the content".to_owned());
    };
    let is_known = evidence.announced.iter().any(|announced| announced.label.total == total);
    if !is_known && !evidence.totals.contains(&total) {
        return Err(format!("416 of {total} bytes, a length that the origin never announced"));
    }
    let is_inside = question.is_head || select(question.asked, total) != Part::Outside;
    let may_be_of_another = evidence.totals.contains(&total)
        && !stronger::is_in_force(stronger::Check::RangesOfOthersDoNotMatter);
    if is_inside && !may_be_of_another {
        return Err(format!("416 although the range lies inside the {total} bytes"));
    }
    Ok(Finding::Unsatisfiable)
}
