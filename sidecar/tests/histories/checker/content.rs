//! Replies with content: the status that the request deserves, the exact range, and bytes of one state only.

use super::{Evidence, Finding, Question, stronger};
use crate::{
    client::{End, Reply},
    object::{Label, PIECE},
    range::{Asked, Part, select},
};

pub(super) fn check(question: &Question, reply: &Reply, evidence: &Evidence<'_>) -> Result<Finding, String> {
    let length = reply.content_length().unwrap_or_default();
    let shown = shown_part(reply)?;
    let total = shown.map_or(length, |(_, _, total)| total);
    let text = |name| reply.value(name).map(str::to_owned);
    let label = Label { etag: text("etag"), last_modified: text("last-modified"), total };
    let mut generations: Vec<usize> = evidence
        .announced
        .iter()
        .filter(|announced| announced.label == label)
        .map(|announced| announced.generation)
        .collect();
    if generations.is_empty() {
        return Err(format!("the origin never announced {label:?}"));
    }

    let deserved = deserved(question, &label);
    match (deserved, shown) {
        (Part::Outside, _) => return Err(format!("the range lies outside the {total} bytes, so 416")),
        (Part::Whole, Some(_)) => return Err("206 although the whole was asked for".to_owned()),
        (Part::Bytes { .. }, None) => {
            return Err("200 to a satisfiable range: the client appends the whole to what it has".to_owned());
        }
        (Part::Bytes { first, last }, Some((shown_first, shown_last, _)))
            if (first, last) != (shown_first, shown_last) =>
        {
            return Err(format!("bytes {shown_first}-{shown_last} instead of {first}-{last} of {total}"));
        }
        _ => {}
    }
    let first = shown.map_or(0, |(first, _, _)| first);
    let expected = shown.map_or(total, |(first, last, _)| last - first + 1);
    if length != expected {
        return Err(format!("Content-Length is {length}, the content announced is {expected} bytes"));
    }
    if reply.body.len() > expected {
        return Err(format!("{} body bytes instead of {expected}", reply.body.len()));
    }
    keep_matching(&mut generations, reply, evidence, first)?;
    stronger::check_age(evidence, &generations)?;
    if reply.end == End::Cut && !question.is_head {
        check_cut(evidence, &label)?;
    }
    Ok(Finding::Content { label, generations, first, is_part: shown.is_some() })
}

/// First, last and total of `Content-Range`, which a 206 has and a 200 has not.
fn shown_part(reply: &Reply) -> Result<Option<(usize, usize, usize)>, String> {
    let parse = |value: &str| {
        let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, total) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
        (first <= last && last < total).then_some((first, last, total))
    };
    match (reply.status, reply.value("content-range")) {
        (206, Some(value)) => parse(value).map(Some).ok_or_else(|| format!("Content-Range: {value}")),
        (206, None) => Err("206 without Content-Range".to_owned()),
        (_, Some(value)) => Err(format!("{} with Content-Range: {value}", reply.status)),
        (_, None) => Ok(None),
    }
}

/// What the client has to get of a state with this label.
fn deserved(question: &Question, label: &Label) -> Part {
    let is_other_state = question.if_range.as_ref().is_some_and(|value| !label.satisfies_if_range(value));
    let asked = if question.is_head || is_other_state { Asked::Whole } else { question.asked };
    select(asked, label.total)
}

/// Leaves those states whose bytes the body has.
fn keep_matching(
    generations: &mut Vec<usize>,
    reply: &Reply,
    evidence: &Evidence<'_>,
    first: usize,
) -> Result<(), String> {
    let body = &reply.body[..];
    let candidates = generations.clone();
    generations.retain(|generation| {
        evidence.object.bytes(*generation).get(first..first + body.len()).is_some_and(|right| right == body)
    });
    if !generations.is_empty() {
        return Ok(());
    }
    let right = evidence.object.bytes(candidates[0]);
    let wrong = body.iter().enumerate().find(|(index, byte)| right.get(first + index) != Some(byte));
    let Some((index, byte)) = wrong else { return Err("wrong bytes".to_owned()) };
    let place = first + index;
    let others = (0..evidence.object.generations())
        .filter(|other| evidence.object.bytes(*other).get(place) == Some(byte))
        .collect::<Vec<_>>();
    Err(format!(
        "WRONG BYTE at offset {place}: not of state {candidates:?}, as the head says, but of {others:?}"
    ))
}

/// Several pieces without a validator: such content is passed on from one answer and never kept.
pub(super) fn has_nameless_pieces(evidence: &Evidence<'_>) -> bool {
    evidence.object.validators.prove_nothing()
        && evidence.announced.iter().any(|announced| announced.label.total > PIECE)
}

/// Two pieces of such content never agree, as long as the check is off.
pub(super) fn is_in_nameless_pieces(evidence: &Evidence<'_>) -> bool {
    has_nameless_pieces(evidence) && !stronger::is_in_force(stronger::Check::NamelessContentIsWhole)
}

/// A short body needs an excuse: the origin, or a state that is not the present one any more.
fn check_cut(evidence: &Evidence<'_>, label: &Label) -> Result<(), String> {
    if is_in_nameless_pieces(evidence) {
        return Ok(());
    }
    if evidence.needs_no_origin() && stronger::is_in_force(stronger::Check::FreshContentNeedsNoOrigin) {
        return Err(
            "cut although the content was delivered whole before, is fresh and did not change".to_owned()
        );
    }
    let is_present = *label == evidence.object.label(evidence.present);
    if evidence.is_last || (is_present && !evidence.is_troubled) {
        return Err("cut although the origin is in order and the content did not change".to_owned());
    }
    Ok(())
}
