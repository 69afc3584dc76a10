//! What an origin's answer means: which bytes of which state it carries, how long they may be used, and whether they may be
//! used for others at all (RFC 9111 3).

use connected_cache_core::{
    AnswerTimes, ByteRange, CacheControl, ContentRange, Freshness, Generation, PIECE_LENGTH_BYTES,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::ObjectHead;
use crate::upstream::UpstreamError;

/// Headers of the origin that replies repeat. `Set-Cookie` is none of them: nothing here is for one client.
const PASSED_ON: [HeaderName; 8] = [
    header::CONTENT_TYPE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
];

/// Fields of a request to an origin that depend on the client's.
const FROM_CLIENTS: [&str; 4] = ["user-agent", "ms-cv", "x-forwarded-for", "x-forwarded-proto"];

/// The longest content that is believed to exist. The largest game packages have a tenth of it; and as memory grows with the
/// number of pieces, an origin must not be able to name any number it likes.
const MAX_CONTENT_LENGTH_BYTES: u64 = 1 << 40;

/// A usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Bytes of an object.
    Content {
        head: ObjectHead,
        /// `None` = the body is the whole content from byte 0.
        part: Option<ByteRange>,
        shared: bool,
    },
    /// All of an object, of a length that only its end will tell.
    Unmeasured,
    /// What is known is still right; with its new times and headers.
    NotModified { freshness: Freshness, headers: Vec<(HeaderName, HeaderValue)> },
}

/// When the request was sent and when its answer came, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) requested_at: u64,
    pub(super) received_at: u64,
}

/// Reads the head of an answer.
pub(super) fn understand(
    status: StatusCode,
    headers: &HeaderMap,
    clock: Clock,
) -> Result<Meaning, UpstreamError> {
    let (length, part) = match status {
        StatusCode::NOT_MODIFIED => {
            let freshness = freshness(headers, clock);
            return Ok(Meaning::NotModified { freshness, headers: passed_on(headers) });
        }
        StatusCode::PARTIAL_CONTENT => match content_range(headers) {
            Some(ContentRange::Part { range, total }) => (total, Some(range)),
            _ => return Err(UpstreamError::Protocol { reason: "206 without a usable Content-Range" }),
        },
        StatusCode::OK => match content_length(headers) {
            Some(length) => (length, None),
            None => return Ok(Meaning::Unmeasured),
        },
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(match content_range(headers) {
                Some(ContentRange::Unsatisfied { total }) => UpstreamError::OutsideContent { total },
                _ => UpstreamError::Protocol { reason: "416 without a usable Content-Range" },
            });
        }
        status => return Err(UpstreamError::Status { status }),
    };
    let head = head(headers, length, clock)?;
    let shared = is_shared(headers, &head.generation);
    Ok(Meaning::Content { head, part, shared })
}

/// What replies repeat of a content of this length.
pub(super) fn head(headers: &HeaderMap, length: u64, clock: Clock) -> Result<ObjectHead, UpstreamError> {
    if length > MAX_CONTENT_LENGTH_BYTES {
        return Err(UpstreamError::Protocol { reason: "content of more than 1 TiB" });
    }
    let generation = Generation {
        content_length_bytes: length,
        etag: text_of(headers, &header::ETAG),
        last_modified: text_of(headers, &header::LAST_MODIFIED),
    };
    let (headers, freshness) = (passed_on(headers), freshness(headers, clock));
    Ok(ObjectHead { generation, headers, freshness, policy: None })
}

/// Whether the answer may be kept and given to others: nothing forbids it, it does not depend on what one client sent, and if
/// it comes in several pieces, these can be told from those of another state.
pub(super) fn is_shared(headers: &HeaderMap, generation: &Generation) -> bool {
    let control = control(headers);
    if control.no_store || control.private {
        return false;
    }
    // Of what a client sends only these go on to the origin, so others that are named are always the same.
    let varies = headers.get_all(header::VARY).iter().filter_map(|value| value.to_str().ok());
    let depends = varies.flat_map(|value| value.split(',')).map(str::trim).any(|name| {
        name == "*" || FROM_CLIENTS.iter().any(|from_client| name.eq_ignore_ascii_case(from_client))
    });
    !depends && (generation.is_named() || generation.content_length_bytes <= PIECE_LENGTH_BYTES)
}

fn passed_on(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    PASSED_ON.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect()
}

fn control(headers: &HeaderMap) -> CacheControl {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    CacheControl::parse(&values.collect::<Vec<_>>().join(","))
}

fn freshness(headers: &HeaderMap, clock: Clock) -> Freshness {
    let date = |name| text_of(headers, name).and_then(|text| seconds_of(&text));
    let times = AnswerTimes {
        requested_at: clock.requested_at,
        received_at: clock.received_at,
        date: date(&header::DATE),
        age_seconds: text_of(headers, &header::AGE).and_then(|age| age.trim().parse().ok()),
        expires: text_of(headers, &header::EXPIRES).map(|text| seconds_of(&text).unwrap_or(0)),
        last_modified: date(&header::LAST_MODIFIED),
    };
    Freshness::of(&control(headers), &times)
}

fn seconds_of(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

pub(super) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    ContentRange::parse(headers.get(header::CONTENT_RANGE)?.to_str().ok()?)
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Clock = Clock { requested_at: 1000, received_at: 1000 };

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn shared(fields: &[(&'static str, &'static str)], length: u64) -> bool {
        let fields = headers(fields);
        is_shared(&fields, &head(&fields, length, CLOCK).unwrap().generation)
    }

    #[test]
    fn what_is_for_one_client_is_not_shared() {
        let tag = ("etag", "\"a\"");
        assert!(shared(&[tag, ("cache-control", "public, max-age=5"), ("set-cookie", "a=b")], 1 << 30));
        for field in [
            ("cache-control", "no-store"),
            ("cache-control", "private, max-age=5"),
            ("vary", "*"),
            ("vary", "Accept-Encoding, User-Agent"),
        ] {
            assert!(!shared(&[tag, field], 5), "{field:?}");
        }
        // We always send the same of these.
        assert!(shared(&[tag, ("vary", "Accept-Encoding, Origin")], 5));
    }

    #[test]
    fn several_pieces_need_a_validator_and_one_does_not() {
        assert!(shared(&[], PIECE_LENGTH_BYTES));
        assert!(!shared(&[], PIECE_LENGTH_BYTES + 1));
        assert!(!shared(&[("etag", "W/\"a\"")], PIECE_LENGTH_BYTES + 1));
        assert!(shared(&[("last-modified", "Mon, 05 Jan 2026 00:00:00 GMT")], PIECE_LENGTH_BYTES + 1));
    }

    #[test]
    fn answers_that_carry_no_content_say_why() {
        let error = |status: u16, fields: &[(&'static str, &'static str)]| {
            understand(StatusCode::from_u16(status).unwrap(), &headers(fields), CLOCK).unwrap_err()
        };
        assert_eq!(error(416, &[("content-range", "bytes */7")]), UpstreamError::OutsideContent { total: 7 });
        assert_eq!(error(404, &[]), UpstreamError::Status { status: StatusCode::NOT_FOUND });
        assert!(matches!(error(206, &[("content-range", "bytes 0-1/*")]), UpstreamError::Protocol { .. }));
        let long = [("content-length", "1099511627777")];
        assert!(matches!(error(200, &long), UpstreamError::Protocol { .. }));
    }

    #[test]
    fn a_304_brings_new_times_and_a_200_without_length_is_unmeasured() {
        let fields = headers(&[("cache-control", "max-age=9"), ("etag", "\"a\"")]);
        let Ok(Meaning::NotModified { freshness, headers }) =
            understand(StatusCode::NOT_MODIFIED, &fields, CLOCK)
        else {
            panic!("a 304 is not understood")
        };
        assert_eq!((freshness.born_at, freshness.lifetime_seconds, headers.len()), (1000, 9, 2));
        assert_eq!(understand(StatusCode::OK, &fields, CLOCK), Ok(Meaning::Unmeasured));
    }
}
