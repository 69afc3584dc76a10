//! A request head, and what the reply to it is.

use crate::content::Shift;

/// A date that does not move: the content never changes.
const LAST_MODIFIED: &str = "Wed, 01 Jan 2025 00:00:00 GMT";

/// A reply: its head, and which bytes of which content follow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) head: Vec<u8>,
    pub(super) shift: Shift,
    /// First byte of the body.
    pub(super) offset: u64,
    /// One past its last byte; equal to `offset` when there is no body.
    pub(super) end: u64,
}

/// What the request line and the fields that count say.
#[derive(Debug, Default)]
struct Request<'a> {
    method: &'a str,
    path: &'a str,
    range: Option<&'a str>,
    if_range: Option<&'a str>,
    if_none_match: Option<&'a str>,
}

/// The reply to a head that ends with an empty line.
pub(super) fn answer(head: &[u8]) -> Reply {
    let text = std::str::from_utf8(head).unwrap_or_default();
    let request = parse(text).unwrap_or_default();
    let length = length_of(request.path).filter(|_| matches!(request.method, "GET" | "HEAD"));
    let Some(length) = length else { return empty("404 Not Found", "") };
    let etag = format!("\"{length:x}-1\"");
    if request.if_none_match.is_some_and(|asked| asked.contains(&etag)) {
        return empty("304 Not Modified", &format!("ETag: {etag}\r\n"));
    }
    let same = request.if_range.is_none_or(|asked| asked == etag || asked == LAST_MODIFIED);
    let range = request.range.filter(|_| same && request.method == "GET");
    let (status, offset, end, content_range) = match range.and_then(|range| satisfy(range, length)) {
        None => ("200 OK", 0, length, String::new()),
        Some(None) => {
            return empty("416 Range Not Satisfiable", &format!("Content-Range: bytes */{length}\r\n"));
        }
        Some(Some((first, last))) => {
            let field = format!("Content-Range: bytes {first}-{last}/{length}\r\n");
            ("206 Partial Content", first, last + 1, field)
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{content_range}ETag: {etag}\r\nLast-Modified: {LAST_MODIFIED}\r\n\
         Cache-Control: public, max-age=86400\r\nAccept-Ranges: bytes\r\nContent-Type: application/octet-stream\r\n\r\n",
        end - offset
    );
    let end = if request.method == "HEAD" { offset } else { end };
    Reply { head: head.into_bytes(), shift: Shift::of(request.path), offset, end }
}

fn empty(status: &str, fields: &str) -> Reply {
    let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 0\r\n\r\n");
    Reply { head: head.into_bytes(), shift: Shift::of(""), offset: 0, end: 0 }
}

fn parse(text: &str) -> Option<Request<'_>> {
    let mut lines = text.split("\r\n");
    let mut line = lines.next()?.split(' ');
    let (method, target) = (line.next()?, line.next()?);
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let mut request = Request { method, path, ..Request::default() };
    for field in lines.filter_map(|line| line.split_once(':')) {
        let (name, value) = (field.0, Some(field.1.trim()));
        match name {
            _ if name.eq_ignore_ascii_case("range") => request.range = value,
            _ if name.eq_ignore_ascii_case("if-range") => request.if_range = value,
            _ if name.eq_ignore_ascii_case("if-none-match") => request.if_none_match = value,
            _ => {}
        }
    }
    Some(request)
}

/// The length that stands in a path.
fn length_of(path: &str) -> Option<u64> {
    path.strip_prefix("/o/")?.split_once('/')?.0.parse().ok()
}

/// First and last byte of a single range. `None` = not a range that we know, so it is ignored; `Some(None)` = outside.
#[allow(clippy::option_option, reason = "ignored and unsatisfiable are different answers")]
fn satisfy(range: &str, length: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let suffix = last.parse::<u64>().ok()?.min(length);
        return Some((suffix > 0).then(|| (length - suffix, length - 1)));
    }
    let first: u64 = first.parse().ok()?;
    let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
    if last < first {
        return None;
    }
    Some((first < length).then(|| (first, last.min(length - 1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(lines: &str) -> (String, u64, u64) {
        let reply = answer(format!("{lines}\r\n\r\n").as_bytes());
        (String::from_utf8(reply.head).unwrap(), reply.offset, reply.end)
    }

    #[test]
    fn a_range_is_answered_by_its_bytes_only() {
        let (head, offset, end) = reply("GET /o/1000/a?x=1 HTTP/1.1\r\nrange: bytes=10-19");
        assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
        assert!(head.contains("\r\nContent-Length: 10\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Range: bytes 10-19/1000\r\n"), "{head}");
        assert_eq!((offset, end), (10, 20));
    }

    #[test]
    fn ranges_follow_rfc_9110() {
        assert_eq!(satisfy("bytes=0-", 10), Some(Some((0, 9))));
        assert_eq!(satisfy("bytes=-3", 10), Some(Some((7, 9))));
        assert_eq!(satisfy("bytes=-30", 10), Some(Some((0, 9))));
        assert_eq!(satisfy("bytes=5-100", 10), Some(Some((5, 9))));
        assert_eq!(satisfy("bytes=10-11", 10), Some(None));
        assert_eq!(satisfy("bytes=3-2", 10), None);
        assert_eq!(satisfy("pieces=0-1", 10), None);
    }

    #[test]
    fn a_whole_get_a_head_and_a_condition_are_told_apart() {
        let (head, offset, end) = reply("GET /o/1000/a HTTP/1.1\r\nHost: x");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!((offset, end), (0, 1000));
        let (head, offset, end) = reply("HEAD /o/1000/a HTTP/1.1\r\nHost: x");
        assert!(head.contains("Content-Length: 1000\r\n"), "{head}");
        assert_eq!((offset, end), (0, 0));
        let (head, ..) = reply("GET /o/1000/a HTTP/1.1\r\nIf-None-Match: \"3e8-1\"");
        assert!(head.starts_with("HTTP/1.1 304 "), "{head}");
        let (head, ..) = reply("GET /o/1000/a HTTP/1.1\r\nRange: bytes=0-1\r\nIf-Range: \"other\"");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }

    #[test]
    fn what_is_not_content_is_not_found() {
        for line in ["GET / HTTP/1.1", "GET /o/x/a HTTP/1.1", "POST /o/5/a HTTP/1.1", "nonsense"] {
            assert!(reply(line).0.starts_with("HTTP/1.1 404 "), "{line}");
        }
    }
}
