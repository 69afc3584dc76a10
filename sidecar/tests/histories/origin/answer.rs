//! Answers as HTTP has them (RFC 9110 13 and 14), and as a fault distorts them.

use std::fmt::Write;

use crate::{
    fault::Fault,
    object::{Label, OTHER_HOST, Object},
    range::{Asked, Part, select},
};

use super::{Announced, moved, request::Request};

/// Bytes to send, and what becomes of the connection.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    pub(super) then: Then,
    pub(super) said: Said,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Keep,
    Close,
    Reset,
    Stall,
}

/// What the cache may have learned from it.
#[derive(Debug)]
pub(super) enum Said {
    Content(Announced),
    /// Of a 416.
    Total(usize),
    Status(u16),
    Nothing,
}

impl Answer {
    pub(super) fn status(status: u16) -> Self {
        let text = "the origin's own words";
        // RFC 9110 15.3.5: no content and no length.
        let rest = if status == 204 {
            "\r\n".to_owned()
        } else {
            format!("Content-Length: {}\r\n\r\n{text}", text.len())
        };
        let bytes = format!("HTTP/1.1 {status} Status\r\n{rest}").into_bytes();
        Self { bytes, then: Then::Keep, said: Said::Status(status) }
    }

    fn redirect(location: &str) -> Self {
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        Self { bytes: head.into_bytes(), then: Then::Keep, said: Said::Status(302) }
    }

    fn nothing(then: Then) -> Self {
        Self { bytes: Vec::new(), then, said: Said::Nothing }
    }
}

/// The answer to a request for an object in one of its states.
pub(super) fn answer(
    object: &Object,
    number: usize,
    generation: usize,
    request: &Request,
    fault: Option<Fault>,
) -> Answer {
    match fault {
        Some(Fault::Status(status)) => return Answer::status(status),
        Some(Fault::Redirects) => return Answer::redirect(&format!("http://{OTHER_HOST}{}", moved(number))),
        Some(Fault::RedirectsAway) => return Answer::redirect("http://evil.example/f"),
        Some(Fault::RedirectsInCircles) => {
            return Answer::redirect(&format!("http://{}{}", object.host, request.target));
        }
        Some(Fault::ResetsAtOnce) => return Answer::nothing(Then::Reset),
        Some(Fault::Stalls) => return Answer::nothing(Then::Stall),
        _ => {}
    }
    let is_late = fault == Some(Fault::LaggingMirror);
    let generation = if is_late { generation.saturating_sub(1) } else { generation };
    let label = if fault == Some(Fault::OtherLabel) {
        object.other_label(generation)
    } else {
        object.label(generation)
    };
    if is_not_modified(request, &label) {
        let head = format!("HTTP/1.1 304 Not Modified\r\n{}\r\n", labels(object, &label));
        return Answer { bytes: head.into_bytes(), then: Then::Keep, said: Said::Nothing };
    }
    let asked = match request.header("range") {
        Some(range) if is_in_range_state(request, &label) && !ignores_range(fault) => Asked::parse(range),
        _ => Asked::Whole,
    };
    let bytes = object.bytes(generation);
    let part = match select(asked, bytes.len()) {
        Part::Outside => {
            let head = format!(
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{}\r\nContent-Length: 0\r\n\r\n",
                bytes.len()
            );
            return Answer { bytes: head.into_bytes(), then: Then::Keep, said: Said::Total(bytes.len()) };
        }
        Part::Whole => None,
        Part::Bytes { first, last } if fault == Some(Fault::OtherPart) => Some(other_part(first, last)),
        Part::Bytes { first, last } => Some((first, last)),
    };
    let body = part.map_or(&bytes[..], |(first, last)| &bytes[first..=last]);
    Content { object, label, generation, part, body, is_head: request.is_head }.write(fault)
}

/// As many bytes, one to the left, or one byte fewer.
fn other_part(first: usize, last: usize) -> (usize, usize) {
    if first > 0 { (first - 1, last - 1) } else { (first, last.saturating_sub(1)) }
}

/// An answer that has content.
struct Content<'a> {
    object: &'a Object,
    label: Label,
    generation: usize,
    part: Option<(usize, usize)>,
    body: &'a [u8],
    is_head: bool,
}

impl Content<'_> {
    fn write(self, fault: Option<Fault>) -> Answer {
        let mut head = match self.part {
            Some(_) => "HTTP/1.1 206 Partial Content\r\n".to_owned(),
            None => "HTTP/1.1 200 OK\r\n".to_owned(),
        };
        head.push_str(&labels(self.object, &self.label));
        head.push_str("Content-Type: application/octet-stream\r\nX-Private: not for clients\r\n");
        let mut total = self.label.total;
        if let Some((first, last)) = self.part {
            if fault == Some(Fault::OtherTotal) {
                total += 1;
            }
            let shown = if fault == Some(Fault::NoTotal) { "*".to_owned() } else { total.to_string() };
            if fault != Some(Fault::NoContentRange) {
                let _ = write!(head, "Content-Range: bytes {first}-{last}/{shown}\r\n");
            }
        }
        let is_chunked = matches!(fault, Some(Fault::Chunked | Fault::ChunkedCut));
        let length = match fault {
            Some(Fault::AnnouncesMore(more)) => self.body.len() + more,
            Some(Fault::AnnouncesLess(less)) => self.body.len().saturating_sub(less),
            _ => self.body.len(),
        };
        if is_chunked {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        } else {
            let _ = write!(head, "Content-Length: {length}\r\n\r\n");
        }
        // For want of a Content-Range the length is what the cache learns.
        if self.part.is_none() && !is_chunked {
            total = length;
        }
        let announced = Announced { generation: self.generation, label: Label { total, ..self.label } };
        let mut bytes = head.into_bytes();
        let then = if self.is_head { Then::Keep } else { send_body(&mut bytes, self.body, fault) };
        Answer { bytes, then, said: Said::Content(announced) }
    }
}

fn send_body(bytes: &mut Vec<u8>, body: &[u8], fault: Option<Fault>) -> Then {
    let up_to = |count: usize| &body[..count.min(body.len())];
    match fault {
        Some(Fault::CutsAfter(count)) => {
            bytes.extend_from_slice(up_to(count));
            return Then::Close;
        }
        Some(Fault::ResetsAfter(count)) => {
            bytes.extend_from_slice(up_to(count));
            return Then::Reset;
        }
        // With nothing left to hold back there is nothing to stall.
        Some(Fault::StallsAfter(count)) if count < body.len() => {
            bytes.extend_from_slice(up_to(count));
            return Then::Stall;
        }
        Some(Fault::Chunked | Fault::ChunkedCut) => {
            if !body.is_empty() {
                bytes.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
                bytes.extend_from_slice(body);
                bytes.extend_from_slice(b"\r\n");
            }
            if fault == Some(Fault::ChunkedCut) {
                return Then::Close;
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            return Then::Keep;
        }
        _ => bytes.extend_from_slice(body),
    }
    match fault {
        Some(Fault::Surplus) => bytes.extend_from_slice(&[0xee; 300]),
        Some(Fault::SecondAnswer) => {
            bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nETag: \"evil\"\r\nContent-Length: 4\r\n\r\nEVIL");
        }
        Some(Fault::AnnouncesMore(_) | Fault::ClosesSilently) => return Then::Close,
        _ => {}
    }
    Then::Keep
}

fn labels(object: &Object, label: &Label) -> String {
    let mut lines = String::new();
    let validators = [("ETag", &label.etag), ("Last-Modified", &label.last_modified)];
    let known = validators.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    for (name, value) in known.chain(object.policy.header()) {
        let _ = write!(lines, "{name}: {value}\r\n");
    }
    lines
}

fn ignores_range(fault: Option<Fault>) -> bool {
    matches!(fault, Some(Fault::IgnoresRange | Fault::Chunked | Fault::ChunkedCut))
}

/// RFC 9110 13.1.2 and 13.1.3; dates are compared as texts, because a state has exactly one.
fn is_not_modified(request: &Request, label: &Label) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    match (request.header("if-none-match"), request.header("if-modified-since")) {
        (Some(tags), _) => {
            let own = label.etag.as_deref().map(opaque);
            tags.trim() == "*" || own.is_some_and(|own| tags.split(',').any(|tag| opaque(tag) == own))
        }
        (None, Some(date)) => label.last_modified.as_deref() == Some(date),
        (None, None) => false,
    }
}

/// RFC 9110 13.1.5.
fn is_in_range_state(request: &Request, label: &Label) -> bool {
    request.header("if-range").is_none_or(|value| label.satisfies_if_range(value))
}
