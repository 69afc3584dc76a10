//! The access log: a line for a sample of the replies, written when the last byte has left or the connection has ended.
//! Nothing in it tells more about a client than the configuration allows, and of queries only the names of parameters are
//! written, because their values are signatures.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::body::Body;
use connected_cache_config::{AccessLog as Settings, ClientAddress};
use connected_cache_core::ContentClass;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use parking_lot::Mutex;

use crate::metrics::{CacheResult, Source, class_label};

/// Where lines go: the name of the logger.
const TARGET: &str = "access";
/// Failures that are logged each second beside the sample.
const FAILURES_PER_SECOND: u32 = 10;
/// Longest path or value of a header that is written, in bytes.
const LONGEST: usize = 1024;

/// Decides which replies get a line.
#[derive(Debug)]
pub(crate) struct AccessLog {
    settings: Settings,
    replies: AtomicU64,
    failures: Mutex<Allowance>,
}

/// So many a second.
#[derive(Debug)]
struct Allowance {
    second: Instant,
    taken: u32,
}

/// What is known of a reply when its head is made.
pub(crate) struct Reply<'a> {
    pub(crate) request: &'a Request<Body>,
    pub(crate) response: &'a Response<Body>,
    pub(crate) client: Option<IpAddr>,
    pub(crate) https: bool,
    /// The origin host that was asked for, if it is served.
    pub(crate) origin: Option<(&'a str, ContentClass)>,
    pub(crate) result: CacheResult,
    pub(crate) begun: Instant,
}

impl AccessLog {
    pub(crate) fn new(settings: Settings) -> Self {
        let failures = Mutex::new(Allowance { second: Instant::now(), taken: 0 });
        Self { settings, replies: AtomicU64::new(0), failures }
    }

    /// A record for this reply, if it is one of the sample.
    pub(crate) fn record(&self, reply: &Reply<'_>) -> Option<Arc<Record>> {
        let one_in = u64::from(self.settings.sample_one_in);
        if one_in == 0 || !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            return None;
        }
        let number = self.replies.fetch_add(1, Ordering::Relaxed);
        let failed = reply.response.status().as_u16() >= 400;
        let sampled = is_sampled(number, one_in) || (failed && self.failures.lock().take(reply.begun));
        sampled.then(|| Arc::new(Record::new(reply, self.settings.client_address)))
    }
}

/// Whether this one is in the sample: spread as evenly as chance would, so that no rhythm of the requests hides some of them
/// (the finalizer of SplitMix64).
const fn is_sampled(number: u64, one_in: u64) -> bool {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).is_multiple_of(one_in)
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second).as_secs() >= 1 {
            *self = Self { second: now, taken: 0 };
        }
        self.taken += 1;
        self.taken <= FAILURES_PER_SECOND
    }
}

/// One reply on its way. Its line is written when the last holder lets it go: the body, and the bytes of it that are still to
/// leave.
#[derive(Debug)]
pub(crate) struct Record {
    begun: Instant,
    head_milliseconds: u64,
    client: Option<String>,
    method: http::Method,
    scheme: &'static str,
    origin: String,
    path: String,
    user_agent: String,
    range: String,
    class: &'static str,
    status: StatusCode,
    result: CacheResult,
    announced: Option<u64>,
    sent: [AtomicU64; Source::ALL.len()],
}

impl Record {
    fn new(reply: &Reply<'_>, address: ClientAddress) -> Self {
        let (request, response) = (reply.request, reply.response);
        let text = |headers: &HeaderMap, name: HeaderName| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(shortened).unwrap_or_default()
        };
        let announced = text(response.headers(), header::CONTENT_LENGTH).parse().ok();
        let has_body =
            request.method() != http::Method::HEAD && response.status() != StatusCode::NOT_MODIFIED;
        Self {
            begun: reply.begun,
            head_milliseconds: milliseconds_since(reply.begun),
            client: reply.client.and_then(|client| shown(client, address)),
            method: request.method().clone(),
            scheme: if reply.https { "https" } else { "http" },
            origin: reply.origin.map(|(host, _)| host.to_owned()).unwrap_or_default(),
            path: redacted(request.uri().path(), request.uri().query()),
            user_agent: text(request.headers(), header::USER_AGENT),
            range: text(response.headers(), header::CONTENT_RANGE),
            class: reply.origin.map_or("none", |(_, class)| class_label(class)),
            status: response.status(),
            result: reply.result,
            announced: announced.filter(|_| has_body),
            sent: Default::default(),
        }
    }

    /// These bytes were handed to the kernel.
    pub(crate) fn sent(&self, source: Source, bytes: u64) {
        self.sent[source as usize].fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let from = |source: Source| self.sent[source as usize].load(Ordering::Relaxed);
        let sent: u64 = Source::ALL.into_iter().map(from).sum();
        // A short text of our own is no content and was not counted.
        let complete = self.status.as_u16() >= 400 || sent == self.announced.unwrap_or(0);
        tracing::info!(
            target: TARGET,
            client = self.client,
            method = %self.method,
            scheme = self.scheme,
            origin = self.origin,
            path = self.path,
            range = self.range,
            user_agent = self.user_agent,
            content_class = self.class,
            status = self.status.as_u16(),
            cache_status = self.result.as_str(),
            memory_bytes = from(Source::Memory),
            disk_bytes = from(Source::Disk),
            peer_bytes = from(Source::Peer),
            origin_bytes = from(Source::Origin),
            sent_bytes = sent,
            complete,
            head_milliseconds = self.head_milliseconds,
            duration_milliseconds = milliseconds_since(self.begun),
            "reply"
        );
    }
}

fn milliseconds_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The part of an address that may be written.
fn shown(address: IpAddr, how: ClientAddress) -> Option<String> {
    let address = address.to_canonical();
    match (how, address) {
        (ClientAddress::None, _) => None,
        (ClientAddress::Full, _) => Some(address.to_string()),
        (ClientAddress::Truncated, IpAddr::V4(address)) => {
            let [first, second, third, _] = address.octets();
            Some(format!("{first}.{second}.{third}.0/24"))
        }
        (ClientAddress::Truncated, IpAddr::V6(address)) => {
            let [first, second, third, ..] = address.segments();
            Some(format!("{}/48", Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0)))
        }
    }
}

/// A path, and the names of its query's parameters with a star for each value.
fn redacted(path: &str, query: Option<&str>) -> String {
    let mut text = shortened(path);
    for (index, parameter) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        let (name, _) = parameter.split_once('=').unwrap_or((parameter, ""));
        if text.len() + name.len() > LONGEST {
            text.push_str("...");
            break;
        }
        // Writing to a string can't fail.
        let _ = write!(text, "{}{name}=*", if index == 0 { '?' } else { '&' });
    }
    text
}

fn shortened(text: &str) -> String {
    match text.char_indices().take_while(|(index, _)| *index < LONGEST).last() {
        Some((index, last)) if index + last.len_utf8() < text.len() => format!("{}...", &text[..index]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn addresses_are_full_truncated_or_absent() {
        let cases = [
            ("192.0.2.77", "192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ];
        for (address, full, truncated) in cases {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(shown(address, ClientAddress::Full).as_deref(), Some(full));
            assert_eq!(shown(address, ClientAddress::Truncated).as_deref(), Some(truncated));
            assert_eq!(shown(address, ClientAddress::None), None);
        }
    }

    #[test]
    fn values_of_a_query_are_not_written() {
        let cases = [
            ("/f", None, "/f"),
            ("/f", Some("P1=1700000000&P4=c2VjcmV0%3d&cacheHostOrigin=h"), "/f?P1=*&P4=*&cacheHostOrigin=*"),
            ("/f", Some("a=b=c"), "/f?a=*"),
        ];
        for (path, query, expected) in cases {
            assert_eq!(redacted(path, query), expected);
        }
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!(shortened(&"a".repeat(LONGEST)), "a".repeat(LONGEST));
        for character in ["a", "é", "𝄞"] {
            let text = shortened(&character.repeat(LONGEST + 1));
            assert!(text.len() <= LONGEST + 3 && text.ends_with("..."), "{}", text.len());
        }
        let many = redacted("/f", Some(&"name=value&".repeat(1000)));
        assert!(many.len() <= LONGEST + 8 && many.ends_with("..."), "{}", many.len());
    }

    #[test]
    fn a_sample_is_as_large_as_asked_and_follows_no_rhythm() {
        for one_in in [1, 2, 10, 1000] {
            for stride in [1, 2, 3, 10] {
                let sampled =
                    (0..1_000_000 / stride).filter(|number| is_sampled(number * stride, one_in)).count();
                let expected = 1_000_000 / stride / one_in;
                let deviation = (sampled as u64).abs_diff(expected);
                assert!(deviation * deviation <= 25 * expected, "{sampled} of {expected}");
            }
        }
    }

    #[test]
    fn failures_are_written_up_to_so_many_a_second() {
        let start = Instant::now();
        let mut allowance = Allowance { second: start, taken: 0 };
        let taken = |allowance: &mut Allowance, now| (0..100).filter(|_| allowance.take(now)).count();
        assert_eq!(taken(&mut allowance, start), FAILURES_PER_SECOND as usize);
        assert_eq!(taken(&mut allowance, start + Duration::from_millis(999)), 0);
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(1)), FAILURES_PER_SECOND as usize);
    }
}
