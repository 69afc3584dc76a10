//! Which status, headers and bytes a request for content gets (RFC 9110: conditions, then ranges).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::Shared;
use super::connection::Request;
use crate::content::{Object, ObjectReader, OpenError};
use crate::fault::Fault;
use crate::http1::Head;
use crate::range::{self, RangeAnswer, Span};

/// `Content-Type` of content.
const CONTENT_TYPE: &str = "application/octet-stream";

/// A reply before it is sent. `Content-Length` is added by the sender.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    /// A status that has no body and no length: 204 and 304.
    None,
    Memory(Bytes),
    Object {
        reader: ObjectReader,
        span: Span,
    },
}

impl Body {
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Memory(bytes) => Some(bytes.len() as u64),
            Self::Object { span, .. } => Some(span.length),
        }
    }
}

impl Answer {
    pub(super) fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", "text/plain; charset=utf-8".to_owned())],
            body: Body::Memory(Bytes::from(format!("{text}\n"))),
        }
    }

    pub(super) fn json(status: u16, value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => Self {
                status,
                headers: vec![("Content-Type", "application/json".to_owned())],
                body: Body::Memory(Bytes::from(bytes)),
            },
            Err(error) => Self::text(500, &format!("failed to write JSON: {error}")),
        }
    }

    fn method_not_allowed(allowed: &str) -> Self {
        let mut answer = Self::text(405, "this method is not for this path");
        answer.headers.push(("Allow", allowed.to_owned()));
        answer
    }
}

/// The answer that a fault puts in the place of any other one.
pub(super) fn injected(fault: &Fault) -> Option<Answer> {
    let mut answer = match fault.status {
        Some(status @ (204 | 304)) => Answer { status, headers: Vec::new(), body: Body::None },
        Some(200) | None => return None,
        Some(status) => Answer::text(status, &format!("injected status {status}")),
    };
    answer.headers.extend(fault.retry_after_seconds.map(|seconds| ("Retry-After", seconds.to_string())));
    Some(answer)
}

/// The answer to a request for content.
pub(super) async fn answer(request: &Request, fault: &Fault, shared: &Shared) -> Answer {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Answer::method_not_allowed("GET, HEAD");
    }
    let catalogue = Arc::clone(&shared.catalogue);
    let path = request.path.clone();
    match tokio::task::spawn_blocking(move || catalogue.open(&path)).await {
        Ok(Ok(object)) => {
            describe(object, &request.head, CONTENT_TYPE, request.is_head(), fault.status == Some(200))
        }
        Ok(Err(error @ OpenError::NotFound)) => Answer::text(404, &error.to_string()),
        Ok(Err(error @ OpenError::Io(_))) => Answer::text(500, &error.to_string()),
        Err(error) => Answer::text(500, &format!("failed to look for the object: {error}")),
    }
}

/// The answer for an existing object; `ignore_conditions` sends all of it, whatever was asked.
pub(super) fn describe(
    object: Object,
    head: &Head,
    content_type: &str,
    is_head: bool,
    ignore_conditions: bool,
) -> Answer {
    let modified = whole_seconds(object.modified);
    let mut headers = vec![
        ("ETag", object.etag.clone()),
        ("Last-Modified", httpdate::fmt_http_date(modified)),
        ("Accept-Ranges", "bytes".to_owned()),
    ];
    if !ignore_conditions && not_modified(head, &object.etag, modified) {
        return Answer { status: 304, headers, body: Body::None };
    }
    let length = object.length;
    // A range is defined for GET only, and counts only while the validator of If-Range still holds.
    let usable = !is_head && !ignore_conditions && if_range_holds(head, &object.etag, modified);
    let range = if usable { head.header("range") } else { None };
    let (status, span) = match range::answer(range, length) {
        RangeAnswer::Whole => (200, Span { first: 0, length }),
        RangeAnswer::Part(span) => {
            let last = span.first + span.length - 1;
            headers.push(("Content-Range", format!("bytes {}-{last}/{length}", span.first)));
            (206, span)
        }
        RangeAnswer::Unsatisfiable => {
            headers.push(("Content-Range", format!("bytes */{length}")));
            return Answer { status: 416, headers, body: Body::Memory(Bytes::new()) };
        }
    };
    headers.push(("Content-Type", content_type.to_owned()));
    Answer { status, headers, body: Body::Object { reader: object.reader(span.first), span } }
}

/// HTTP dates have no fraction.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn not_modified(head: &Head, etag: &str, modified: SystemTime) -> bool {
    if let Some(tags) = head.header("if-none-match") {
        // The weak comparison: a weak tag of the same name counts too.
        return tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag);
    }
    let since = head.header("if-modified-since").and_then(|date| httpdate::parse_http_date(date).ok());
    since.is_some_and(|since| modified <= since)
}

fn if_range_holds(head: &Head, etag: &str, modified: SystemTime) -> bool {
    match head.header("if-range").map(str::trim) {
        None => true,
        // The strong comparison: a weak tag never matches.
        Some(tag) if tag.starts_with('"') || tag.starts_with("W/") => tag == etag,
        Some(date) => httpdate::parse_http_date(date).is_ok_and(|date| date == modified),
    }
}
