//! What the head of an answer must look like (dossier section 1.4), and what it says about the cache.

use super::connection::AnswerHead;
use crate::http1::Head;

/// Headers whose canonical spelling is not simply a capital after each hyphen.
const IRREGULAR: [&str; 9] =
    ["ETag", "X-CID", "X-CCC", "MS-CV", "WWW-Authenticate", "X-XSS-Protection", "TE", "DNT", "Content-MD5"];

/// What was asked for, as the answer has to describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Whole { length: u64 },
    Part { first: u64, last: u64, length: u64 },
    Unsatisfiable { length: u64 },
}

/// Where the cache says the bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Hit,
    Miss,
    Partial,
    /// No header says anything, as with an origin asked directly.
    Unknown,
}

/// A difference: what was expected, what came.
pub(super) type Difference = (String, String);

impl Expected {
    pub(super) fn body_length(self) -> u64 {
        match self {
            Self::Whole { length } => length,
            Self::Part { first, last, .. } => last - first + 1,
            Self::Unsatisfiable { .. } => 0,
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::Whole { .. } => 200,
            Self::Part { .. } => 206,
            Self::Unsatisfiable { .. } => 416,
        }
    }

    fn content_range(self) -> Option<String> {
        match self {
            Self::Whole { .. } => None,
            Self::Part { first, last, length } => Some(format!("bytes {first}-{last}/{length}")),
            Self::Unsatisfiable { length } => Some(format!("bytes */{length}")),
        }
    }
}

/// Differences that make the body useless; when there are any, it must not be read.
pub(super) fn fatal(answer: &AnswerHead, expected: Expected) -> Vec<Difference> {
    let mut differences = Vec::new();
    if answer.status != expected.status() {
        differences.push((format!("status {}", expected.status()), format!("status {}", answer.status)));
        return differences;
    }
    let head = &answer.head;
    if let Some(coding) = head.header("transfer-encoding") {
        differences.push(("no Transfer-Encoding".to_owned(), format!("Transfer-Encoding: {coding}")));
    }
    let range = expected.content_range();
    if head.header("content-range") != range.as_deref() {
        differences.push((header("Content-Range", range.as_deref()), received(head, "Content-Range")));
    }
    // The body of a 416 may be any text; only its announcement has to be readable.
    let length = head.header("content-length").and_then(|value| value.parse::<u64>().ok());
    let length_fits = match expected {
        Expected::Unsatisfiable { .. } => length.is_some(),
        _ => length == Some(expected.body_length()),
    };
    if !length_fits {
        let expected = expected.body_length().to_string();
        differences.push((header("Content-Length", Some(&expected)), received(head, "Content-Length")));
    }
    differences
}

/// Differences after which the body still tells something.
pub(super) fn minor(head: &Head) -> Vec<Difference> {
    let mut differences: Vec<Difference> = head
        .headers
        .iter()
        .map(|(name, _)| (canonical(name), name.clone()))
        .filter(|(canonical, name)| canonical != name)
        .map(|(canonical, name)| (format!("header spelled {canonical}"), format!("header spelled {name}")))
        .collect();
    if let Some(coding) = head.header("content-encoding") {
        differences.push(("no Content-Encoding".to_owned(), format!("Content-Encoding: {coding}")));
    }
    if let (Some(status), Some(cache)) = (head.header("cache-status"), head.header("x-cache"))
        && hit_by_cache_status(status) != cache.eq_ignore_ascii_case("HIT")
    {
        differences.push((
            "Cache-Status and X-Cache that agree".to_owned(),
            format!("Cache-Status: {status}, X-Cache: {cache}"),
        ));
    }
    differences
}

pub(super) fn verdict(head: &Head) -> Verdict {
    match head.header("x-cache").map(str::to_ascii_uppercase).as_deref() {
        Some("HIT") => Verdict::Hit,
        Some("MISS") => Verdict::Miss,
        Some("PARTIAL") => Verdict::Partial,
        _ => match head.header("cache-status") {
            Some(status) if hit_by_cache_status(status) => Verdict::Hit,
            Some(_) => Verdict::Miss,
            None => Verdict::Unknown,
        },
    }
}

/// RFC 9211: the last member of the list is the cache next to the client; `hit` is a boolean parameter of it. What the origin
/// only confirmed came from the cache as well.
fn hit_by_cache_status(status: &str) -> bool {
    let last = status.rsplit(',').next().unwrap_or_default();
    let has = |wanted: &str| last.split(';').skip(1).any(|parameter| parameter.trim() == wanted);
    has("hit") || has("hit=?1") || (has("fwd=stale") && has("fwd-status=304"))
}

fn canonical(name: &str) -> String {
    if let Some(known) = IRREGULAR.iter().find(|known| known.eq_ignore_ascii_case(name)) {
        return (*known).to_owned();
    }
    let mut canonical = String::with_capacity(name.len());
    let mut at_start = true;
    for character in name.chars() {
        canonical.push(if at_start {
            character.to_ascii_uppercase()
        } else {
            character.to_ascii_lowercase()
        });
        at_start = character == '-';
    }
    canonical
}

fn header(name: &str, value: Option<&str>) -> String {
    value.map_or_else(|| format!("no {name}"), |value| format!("{name}: {value}"))
}

fn received(head: &Head, name: &str) -> String {
    header(name, head.header(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)]) -> AnswerHead {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        AnswerHead { status, head: Head { start_line: String::new(), headers } }
    }

    #[test]
    fn a_proper_partial_answer_passes() {
        let answer = answer(
            206,
            &[
                ("Content-Length", "2"),
                ("Content-Range", "bytes 0-1/9"),
                ("ETag", "\"a\""),
                ("X-CID", "pod-0"),
                ("Cache-Status", "origin; hit, connectedcache; fwd=miss; detail=origin"),
                ("X-Cache", "MISS"),
            ],
        );
        assert_eq!(fatal(&answer, Expected::Part { first: 0, last: 1, length: 9 }), []);
        assert_eq!(minor(&answer.head), []);
        assert_eq!(verdict(&answer.head), Verdict::Miss);
    }

    #[test]
    fn what_the_origin_confirmed_is_a_hit_and_what_it_replaced_is_none() {
        let said = |status: &str| verdict(&answer(200, &[("Cache-Status", status)]).head);
        assert_eq!(said("connectedcache; fwd=stale; fwd-status=304; detail=disk"), Verdict::Hit);
        assert_eq!(said("connectedcache; fwd=stale; fwd-status=200; detail=origin"), Verdict::Miss);
        let confirmed = [("Cache-Status", "c; fwd=stale; fwd-status=304; collapsed"), ("X-Cache", "HIT")];
        assert_eq!(minor(&answer(200, &confirmed).head), []);
    }

    #[test]
    fn each_deviation_is_named() {
        let part = Expected::Part { first: 0, last: 1, length: 9 };
        let good = [("Content-Length", "2"), ("Content-Range", "bytes 0-1/9")];
        let cases: [(u16, Vec<(&str, &str)>); 6] = [
            (200, good.to_vec()),
            (206, vec![good[0]]),
            (206, vec![good[1]]),
            (206, vec![("Content-Length", "3"), good[1]]),
            (206, vec![good[0], ("Content-Range", "bytes 0-1/*")]),
            (206, vec![good[0], good[1], ("Transfer-Encoding", "chunked")]),
        ];
        for (status, headers) in cases {
            assert_eq!(fatal(&answer(status, &headers), part).len(), 1, "{status} {headers:?}");
        }
        for header in [
            ("content-length", "2"),
            ("Etag", "x"),
            ("X-Cid", "x"),
            ("x-cache", "HIT"),
            ("Content-Encoding", "gzip"),
        ] {
            assert_eq!(minor(&answer(206, &[header]).head).len(), 1, "{header:?}");
        }
        let contradiction = [("Cache-Status", "connectedcache; hit"), ("X-Cache", "PARTIAL")];
        assert_eq!(minor(&answer(200, &contradiction).head).len(), 1);
    }
}
