//! What one client does in one step: asks, reads, has the reply judged, and resumes what came short.

use std::{fmt::Write, net::SocketAddr};

use crate::{
    checker::{self, Evidence, Finding, Question},
    client::{Connection, End, NoReply, Reply},
    object::{Label, Object, PIECE},
    origin::{self, Origin},
    plan::{Ask, Plan, Validator, Visit},
    range::Asked,
};

/// Attempts to get the rest of a short body.
const RESUMPTIONS: usize = 4;

/// What the history knows beside the origin's records; the same for all who ask in one step.
#[derive(Clone, Debug)]
pub(crate) struct Knowledge {
    /// For the transcript.
    pub(crate) step: usize,
    /// Counts the steps in which clients ask.
    pub(crate) round: usize,
    /// By object: the state that the cache has whole and fresh.
    pub(crate) kept: Vec<Option<usize>>,
    /// By object: the newest state that a client has seen.
    pub(crate) newest_seen: Vec<usize>,
}

/// What happened in a round is felt in the next one too: a fetch that was begun goes on when its reply is over. A fetch of many
/// bytes may take some rounds that are answered from the store.
const ECHO_ROUNDS: usize = 1;
const LONG_ECHO_ROUNDS: usize = 4;

impl Knowledge {
    /// Whether what happened to an object in a round can still be felt.
    pub(crate) fn is_recent(&self, object: &Object, round: usize) -> bool {
        let is_long = (0..object.generations()).any(|generation| object.length(generation) >= PIECE - 1);
        round + if is_long { LONG_ECHO_ROUNDS } else { ECHO_ROUNDS } >= self.round
    }
}

/// Where a visit takes place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) origin: &'a Origin,
    pub(crate) cache: SocketAddr,
    pub(crate) knowledge: &'a Knowledge,
}

/// One request with what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) client: usize,
    pub(crate) object: usize,
    pub(crate) request: String,
    pub(crate) question: Question,
    /// The client asked for it to complete a short body.
    pub(crate) is_resumption: bool,
    pub(crate) reply: Result<Reply, NoReply>,
    pub(crate) verdict: Result<Finding, String>,
}

/// A request that is ready to be sent, with what was known before.
struct Prepared {
    object: usize,
    question: Question,
    bytes: String,
    present: usize,
}

/// All exchanges of a visit, the last of them wrong if one is, and the connection for the next visit.
pub(crate) async fn visit(
    place: Place<'_>,
    visit: &Visit,
    connection: Option<Connection>,
) -> (Option<Connection>, Vec<Exchange>) {
    let mut exchanges = Vec::new();
    let prepared: Vec<Prepared> = visit.asks.iter().map(|ask| prepare(place, ask)).collect();
    let kept = connection.filter(|connection| connection.is_open && !visit.new_connection);
    let (mut connection, replies) = exchange(place, &prepared, kept, visit.leave_after).await;
    for (prepared, reply) in prepared.into_iter().zip(replies) {
        exchanges.push(judge(place, visit, prepared, reply));
    }
    let has_failed = exchanges.iter().any(|exchange| exchange.verdict.is_err());
    if visit.leave_after.is_some() {
        connection = None;
    }
    if !has_failed && let [short] = &exchanges[..] {
        let rest = resume(place, visit, short).await;
        exchanges.extend(rest);
    }
    (connection, exchanges)
}

fn prepare(place: Place<'_>, ask: &Ask) -> Prepared {
    let object = &place.plan.objects[ask.object];
    let present = place.origin.generation(ask.object);
    let value = |validator: Option<Validator>| Some(value_of(validator?, object, present));
    let question = Question {
        is_head: ask.is_head,
        // Several lines are several ranges.
        asked: if let [range] = &ask.ranges[..] { Asked::parse(range) } else { Asked::Whole },
        if_range: value(ask.if_range),
        if_none_match: value(ask.if_none_match),
        if_modified_since: value(ask.if_modified_since),
    };
    let query = &object.queries[ask.query % object.queries.len()];
    let target = origin::target(&object.path, query);
    place.origin.expect(object.host, target.clone());
    let method = if ask.is_head { "HEAD" } else { "GET" };
    let mut bytes = if ask.by_host {
        format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", object.host)
    } else {
        let separator = if query.is_empty() { '?' } else { '&' };
        let host = object.host;
        format!("{method} {target}{separator}cacheHostOrigin={host} HTTP/1.1\r\nHost: cache.example\r\n")
    };
    let conditions = [
        ("If-Range", &question.if_range),
        ("If-None-Match", &question.if_none_match),
        ("If-Modified-Since", &question.if_modified_since),
    ];
    let ranges = ask.ranges.iter().map(|range| ("Range", range.as_str()));
    let conditions = conditions.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    for (name, value) in ranges.chain(conditions) {
        let _ = write!(bytes, "{name}: {value}\r\n");
    }
    bytes.push_str("User-Agent: Microsoft-Delivery-Optimization/10.1\r\nAccept: */*\r\n\r\n");
    Prepared { object: ask.object, question, bytes, present }
}

fn value_of(validator: Validator, object: &Object, present: usize) -> String {
    let tag = |label: Label| label.etag.unwrap_or_else(|| "\"made-up\"".to_owned());
    let date =
        |label: Label| label.last_modified.unwrap_or_else(|| "Mon, 01 Jan 2024 09:00:00 GMT".to_owned());
    match validator {
        Validator::Tag => tag(object.label(present)),
        Validator::Date => date(object.label(present)),
        Validator::FirstTag => tag(object.label(0)),
        Validator::FirstDate => date(object.label(0)),
        Validator::Weakened => format!("W/{}", tag(object.label(present)).trim_start_matches("W/")),
        Validator::Unknown => "\"unknown\"".to_owned(),
    }
}

/// Sends all, then reads all. A kept connection may have ended meanwhile; then it is done again on a new one, as every HTTP
/// client does.
async fn exchange(
    place: Place<'_>,
    prepared: &[Prepared],
    kept: Option<Connection>,
    leave_after: Option<usize>,
) -> (Option<Connection>, Vec<Result<Reply, NoReply>>) {
    let sent: String = prepared.iter().map(|prepared| prepared.bytes.as_str()).collect();
    let mut kept = kept;
    loop {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => match Connection::open(place.cache).await {
                Ok(connection) => connection,
                Err(error) => return (None, vec![Err(error)]),
            },
        };
        let was_used = connection.is_used;
        let mut replies = Vec::new();
        // A reply may be there although not everything could be sent.
        let _ = connection.send(sent.as_bytes()).await;
        for request in prepared {
            let reply = connection.reply(request.question.is_head, leave_after).await;
            let goes_on = reply.is_ok() && connection.is_open;
            replies.push(reply);
            if !goes_on {
                break;
            }
        }
        if !(was_used && matches!(replies[..], [Err(NoReply::Ended)])) {
            let is_over = replies.iter().any(Result::is_err);
            return ((!is_over).then_some(connection), replies);
        }
    }
}

fn judge(place: Place<'_>, visit: &Visit, prepared: Prepared, reply: Result<Reply, NoReply>) -> Exchange {
    let Prepared { object, question, bytes, present } = prepared;
    let evidence = evidence(place, object, present, visit.is_last);
    let verdict = match &reply {
        Ok(reply) => checker::check(&question, reply, &evidence),
        Err(error) => checker::check_none(error, &evidence),
    };
    let head = bytes.split("User-Agent").next().unwrap_or_default();
    let request = head.trim_end().replace(" HTTP/1.1", "").replace("\r\n", ", ");
    Exchange { client: visit.client, object, request, question, is_resumption: false, reply, verdict }
}

fn evidence(place: Place<'_>, object: usize, present_when_asked: usize, is_last: bool) -> Evidence<'_> {
    let knowledge = place.knowledge;
    let is_recent = |round: usize| knowledge.is_recent(&place.plan.objects[object], round);
    place.origin.with(|state| {
        let record = &state.records[object];
        let refusals = record.refusals.iter().filter(|(_, round)| is_recent(**round));
        Evidence {
            object: &place.plan.objects[object],
            announced: record.announced.clone(),
            totals: record.totals.clone(),
            refusals: refusals.map(|(status, _)| *status).collect(),
            present: record.generation,
            is_troubled: record.troubled.is_some_and(is_recent),
            present_when_asked,
            newest_seen: knowledge.newest_seen[object],
            has_mirrors: place.plan.has_mirrors(),
            is_kept: knowledge.kept[object] == Some(record.generation),
            allows_stale: place.plan.allows_stale,
            is_last,
        }
    })
}

/// Gets the rest of a short body with `Range` and `If-Range`; what is put together is of one state.
async fn resume(place: Place<'_>, visit: &Visit, short: &Exchange) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    let (Ok(reply), Ok(Finding::Content { label, first, .. })) = (&short.reply, &short.verdict) else {
        return exchanges;
    };
    let is_strong = |tag: &&String| tag.starts_with('"');
    let validator = label.etag.as_ref().filter(is_strong).or(label.last_modified.as_ref()).cloned();
    let (End::Cut, Some(validator), false) = (reply.end, validator, short.question.is_head) else {
        return exchanges;
    };
    let end = first + reply.content_length().unwrap_or_default();
    let mut have = reply.body.clone();
    for _ in 0..RESUMPTIONS {
        let mut rest = prepare(place, &Ask::whole(short.object));
        let range = format!("bytes={}-{}", first + have.len(), end - 1);
        rest.question.asked = Asked::parse(&range);
        rest.question.if_range = Some(validator.clone());
        let lines = format!("Range: {range}\r\nIf-Range: {validator}\r\nUser-Agent");
        rest.bytes = rest.bytes.replacen("User-Agent", &lines, 1);
        let (_, mut replies) = exchange(place, std::slice::from_ref(&rest), None, None).await;
        let mut exchange = judge(place, visit, rest, replies.remove(0));
        exchange.is_resumption = true;
        let goes_on = match (&exchange.reply, &exchange.verdict) {
            (Ok(reply), Ok(Finding::Content { is_part: true, .. })) => {
                have.extend_from_slice(&reply.body);
                first + have.len() < end
            }
            (_, Ok(Finding::Failed(_) | Finding::NoReply)) => true,
            // A new state from its beginning, a refusal to be believed, or a mistake.
            _ => false,
        };
        if first + have.len() == end {
            let object = &place.plan.objects[short.object];
            let mut states = (0..object.generations()).map(|generation| object.bytes(generation));
            if !states.any(|bytes| bytes.get(*first..end) == Some(&have[..])) {
                exchange.verdict = Err("the resumed file is of no single state".to_owned());
            }
        }
        exchanges.push(exchange);
        if !goes_on {
            break;
        }
    }
    exchanges
}
