//! Downloading one object: whole, or in ranges that arrive over several connections and are hashed in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::StreamExt as _;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio_util::task::AbortOnDropHandle;

use super::check::{self, Difference, Expected, Verdict};
use super::connection::{AnswerHead, CacheAddress, Connection, TransferError};
use super::report::ObjectReport;
use super::{Mode, Plan, RANGE_BYTES};
use crate::content::ManifestEntry;

const USER_AGENT: &str = "Microsoft-Delivery-Optimization/10.1";
/// Largest manifest that is read.
const SMALL_BODY_LIMIT_BYTES: u64 = 64 << 20;

/// What all downloads of one plan have in common.
#[derive(Debug)]
pub(super) struct Shared {
    address: CacheAddress,
    origin_host: String,
    mode: Mode,
    parallel: usize,
    silence_limit: Duration,
    /// Kept connections nobody uses at the moment; never more than were used at once.
    idle: Mutex<Vec<Connection>>,
    correlation_base: String,
    correlation_count: AtomicU64,
}

/// One answered request.
#[derive(Debug)]
struct Exchange {
    verdict: Option<Verdict>,
    body_bytes: u64,
    /// Offset and difference.
    wrong: Vec<(u64, Difference)>,
    complete: bool,
}

impl Shared {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            address: plan.cache.clone(),
            origin_host: plan.origin_host.clone(),
            mode: plan.mode,
            parallel: plan.parallel.max(1),
            silence_limit: plan.silence_limit,
            idle: Mutex::default(),
            correlation_base: correlation_base(),
            correlation_count: AtomicU64::new(0),
        }
    }

    fn target(&self, path: &str) -> String {
        let separator = if path.contains('?') { '&' } else { '?' };
        format!("{path}{separator}cacheHostOrigin={}", self.origin_host)
    }

    /// Sends one request and reads the head of its answer, on a kept connection if there is one.
    async fn ask(
        &self,
        target: &str,
        range: Option<(u64, u64)>,
    ) -> Result<(Connection, AnswerHead), TransferError> {
        let count = self.correlation_count.fetch_add(1, Ordering::Relaxed);
        let mut headers = Vec::with_capacity(3);
        if let Some((first, last)) = range {
            headers.push(("Range", format!("bytes={first}-{last}")));
        }
        headers.push(("User-Agent", USER_AGENT.to_owned()));
        headers.push(("MS-CV", format!("{}.0.{count}", self.correlation_base)));
        let kept = self.idle.lock().pop();
        if let Some(mut connection) = kept
            && let Some(answer) = connection.ask(target, &headers).await?
        {
            return Ok((connection, answer));
        }
        let mut connection = Connection::open(&self.address, self.silence_limit).await?;
        let answer = connection.ask(target, &headers).await?.ok_or(TransferError::Closed)?;
        Ok((connection, answer))
    }

    /// One request with all checks; body bytes go to `sink`.
    async fn exchange(
        &self,
        target: &str,
        range: Option<(u64, u64)>,
        expected: Expected,
        mut sink: impl FnMut(&[u8]),
    ) -> Exchange {
        let start = range.map_or(0, |(first, _)| first);
        let mut exchange = Exchange { verdict: None, body_bytes: 0, wrong: Vec::new(), complete: false };
        let (mut connection, answer) = match self.ask(target, range).await {
            Ok(answered) => answered,
            Err(error) => {
                exchange.wrong.push((start, ("an answer".to_owned(), error.to_string())));
                return exchange;
            }
        };
        exchange.verdict = Some(check::verdict(&answer.head));
        exchange.wrong.extend(check::minor(&answer.head).into_iter().map(|difference| (start, difference)));
        let fatal = check::fatal(&answer, expected);
        if !fatal.is_empty() {
            exchange.wrong.extend(fatal.into_iter().map(|difference| (start, difference)));
            return exchange;
        }
        let length = expected.body_length();
        let received = connection
            .body(length, |bytes| {
                exchange.body_bytes += bytes.len() as u64;
                sink(bytes);
            })
            .await;
        let offset = start + exchange.body_bytes;
        // A 416 may explain itself; that text is not read.
        let may_have_text = matches!(expected, Expected::Unsatisfiable { .. });
        match received {
            Err(error) => exchange.wrong.push((offset, (format!("{length} body bytes"), error.to_string()))),
            Ok(()) if connection.surplus_bytes() > 0 && !may_have_text => {
                let surplus = format!("{} bytes more", connection.surplus_bytes());
                exchange.wrong.push((offset, (format!("{length} body bytes"), surplus)));
            }
            Ok(()) => {
                exchange.complete = true;
                let closes =
                    answer.head.header("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
                // With text left to read the connection is in an unknown state.
                if !closes && !may_have_text {
                    self.idle.lock().push(connection);
                }
            }
        }
        exchange
    }
}

/// Downloads one object and checks it.
pub(super) async fn download(shared: &Arc<Shared>, entry: &ManifestEntry, round: u32) -> ObjectReport {
    let started = Instant::now();
    let mut report = ObjectReport::new(entry, shared.mode, round);
    let hasher = match shared.mode {
        Mode::Whole => whole(shared, entry, &mut report).await,
        Mode::Ranges => ranges(shared, entry, &mut report).await,
    };
    report.seconds = started.elapsed().as_secs_f64();
    if let Some(hasher) = hasher {
        let sha256 = hex::encode(hasher.finalize());
        if !sha256.eq_ignore_ascii_case(&entry.sha256) {
            report.wrong(0, format!("sha256 {}", entry.sha256), format!("sha256 {sha256}"));
        }
        report.sha256 = Some(sha256);
    }
    report
}

/// The hasher is returned when every byte came.
async fn whole(shared: &Shared, entry: &ManifestEntry, report: &mut ObjectReport) -> Option<Sha256> {
    let mut hasher = Sha256::new();
    let target = shared.target(&entry.path);
    let expected = Expected::Whole { length: entry.length };
    let exchange = shared.exchange(&target, None, expected, |bytes| hasher.update(bytes)).await;
    take_over(report, exchange).then_some(hasher)
}

async fn ranges(shared: &Arc<Shared>, entry: &ManifestEntry, report: &mut ObjectReport) -> Option<Sha256> {
    let target: Arc<str> = shared.target(&entry.path).into();
    let length = entry.length;
    let mut probed = Vec::new();
    let expected = match length {
        0 => Expected::Unsatisfiable { length },
        _ => Expected::Part { first: 0, last: 1.min(length - 1), length },
    };
    let probe =
        shared.exchange(&target, Some((0, 1)), expected, |bytes| probed.extend_from_slice(bytes)).await;
    if !take_over(report, probe) {
        return None;
    }
    let mut hasher = Sha256::new();
    let parts = (0..length.div_ceil(RANGE_BYTES)).map(|index| {
        let first = index * RANGE_BYTES;
        let last = (first + RANGE_BYTES).min(length) - 1;
        let (shared, target) = (Arc::clone(shared), Arc::clone(&target));
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut body = Vec::with_capacity(usize::try_from(last - first + 1).unwrap_or_default());
            let expected = Expected::Part { first, last, length };
            let exchange = shared
                .exchange(&target, Some((first, last)), expected, |bytes| body.extend_from_slice(bytes))
                .await;
            (first, exchange, body)
        }))
    });
    let mut parts = futures::stream::iter(parts).buffered(shared.parallel);
    while let Some(part) = parts.next().await {
        let (first, exchange, body) = match part {
            Ok(part) => part,
            Err(error) => {
                report.wrong(report.bytes, "a finished request", error);
                return None;
            }
        };
        if !take_over(report, exchange) {
            return None;
        }
        if first == 0 && !body.starts_with(&probed) {
            report.wrong(
                0,
                format!("the bytes of the probe, {probed:02x?}"),
                format!("{:02x?}", &body[..probed.len()]),
            );
        }
        hasher.update(&body);
    }
    Some(hasher)
}

/// Adds one exchange to the report; whether its body came completely.
fn take_over(report: &mut ObjectReport, exchange: Exchange) -> bool {
    report.bytes += exchange.body_bytes;
    if let Some(verdict) = exchange.verdict {
        report.count(verdict);
    }
    for (offset, (expected, received)) in exchange.wrong {
        report.wrong(offset, expected, received);
    }
    exchange.complete
}

/// A body for people and programs, such as a manifest.
pub(super) async fn small_body(address: &CacheAddress, target: &str) -> Result<Vec<u8>, String> {
    // The mock hashes all its content before it can answer.
    let patience = Duration::from_mins(10);
    let read = async {
        let mut connection = Connection::open(address, patience).await?;
        let answer = connection.ask(target, &[]).await?.ok_or(TransferError::Closed)?;
        let length = answer.head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = Vec::new();
        if answer.status == 200 && length <= SMALL_BODY_LIMIT_BYTES {
            connection.body(length, |bytes| body.extend_from_slice(bytes)).await?;
        }
        Ok((answer.status, length, body))
    };
    match read.await.map_err(|error: TransferError| error.to_string())? {
        (200, length, body) if length <= SMALL_BODY_LIMIT_BYTES => Ok(body),
        (200, length, _) => Err(format!("it has {length} bytes, which is too much")),
        (status, ..) => Err(format!("status {status}")),
    }
}

/// 22 characters that differ between runs, as a correlation vector begins.
fn correlation_base() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let digest = Sha256::digest(format!("{now}-{}", std::process::id()));
    digest.iter().take(22).map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect()
}
