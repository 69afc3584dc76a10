//! A scripted Windows client: it downloads objects through a cache the way Delivery Optimization does and checks
//! everything it gets.
//!
//! What it sends follows section 1.1 of the Delivery Optimization dossier: the path and query of the original URL with
//! `cacheHostOrigin` as the last parameter, `User-Agent: Microsoft-Delivery-Optimization/10.1`, a correlation vector
//! in `MS-CV`, and in [`Mode::Ranges`] a size probe `bytes=0-1` followed by 1 MiB-aligned ranges. What it demands
//! follows section 1.4: exact status, `Content-Length` and `Content-Range` with a numeric total, header names in their
//! canonical case, no chunked coding, a body as long as announced, and the right SHA-256.
//!
//! It never follows redirects, never retries an answer and never falls back: a test has to see the first failure. Only
//! a kept connection that the cache closed before the first byte of an answer is opened again, as every client does.
//! Memory is bounded by 1 MiB per connection.

mod check;
mod connection;
mod object;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt as _, StreamExt as _};
use tokio_util::task::AbortOnDropHandle;

use crate::content::ManifestEntry;
pub use connection::{CacheAddress, CacheAddressError};
pub use report::{Mismatch, ObjectReport, Report, Totals};

/// Ranges of the Windows client are this long and aligned to it, except for the last one.
pub const RANGE_BYTES: u64 = 1 << 20;

/// How an object is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One GET without `Range`.
    #[default]
    Whole,
    /// A probe of two bytes, then 1 MiB-aligned ranges.
    Ranges,
}

/// What to download, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cache.
    pub cache: CacheAddress,
    /// Host of the original URLs, sent as `cacheHostOrigin`.
    pub origin_host: String,
    /// The objects with their expected lengths and hashes.
    pub objects: Vec<ManifestEntry>,
    /// How each object is asked for.
    pub mode: Mode,
    /// Connections at the same time, at least 1: objects in [`Mode::Whole`], ranges of one object in [`Mode::Ranges`].
    pub parallel: usize,
    /// How often everything is downloaded, one round after the other.
    pub repeat: u32,
    /// Longest silence before an answer or inside of one. The real agent gives up after 20 s.
    pub silence_limit: Duration,
}

impl Plan {
    /// All of `objects` once, whole, over one connection.
    #[must_use]
    pub fn new(cache: CacheAddress, origin_host: impl Into<String>, objects: Vec<ManifestEntry>) -> Self {
        Self {
            cache,
            origin_host: origin_host.into(),
            objects,
            mode: Mode::Whole,
            parallel: 1,
            repeat: 1,
            silence_limit: Duration::from_secs(20),
        }
    }
}

/// How often [`reachable`] tries.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// Waits until the cache takes connections, at most `limit`; then the error is that of the last try.
pub async fn reachable(cache: &CacheAddress, limit: Duration) -> Result<(), UnreachableError> {
    let deadline = Instant::now() + limit;
    loop {
        match connection::Connection::open(cache, limit).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(UnreachableError(error.to_string())),
            Err(_) => tokio::time::sleep(RETRY_EVERY).await,
        }
    }
}

/// The cache took no connection in time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnreachableError(String);

/// Downloads everything in the plan and reports what came; it never fails as a whole, every failure is a
/// [`Mismatch`] of its object. `progress` is called after each object.
pub async fn fetch(plan: &Plan, mut progress: impl FnMut(&ObjectReport)) -> Report {
    let started = Instant::now();
    let shared = Arc::new(object::Shared::new(plan));
    let at_once = match plan.mode {
        Mode::Whole => plan.parallel.max(1),
        Mode::Ranges => 1,
    };
    let mut objects = Vec::new();
    for round in 1..=plan.repeat {
        let downloads = plan.objects.clone().into_iter().map(|entry| {
            let shared = Arc::clone(&shared);
            let unfinished = ObjectReport::new(&entry, plan.mode, round);
            // A task each, so that hashing uses more than one processor.
            let download = tokio::spawn(async move { object::download(&shared, &entry, round).await });
            AbortOnDropHandle::new(download).map(|result| {
                result.unwrap_or_else(|error| unfinished.failed(0, "a finished download", &error))
            })
        });
        let mut downloads = futures::stream::iter(downloads).buffered(at_once);
        while let Some(report) = downloads.next().await {
            progress(&report);
            objects.push(report);
        }
    }
    Report::new(objects, started.elapsed())
}

/// Downloads a manifest (`/_manifest` of the mock) and reads it.
pub async fn manifest(url: &str) -> Result<Vec<ManifestEntry>, ManifestFetchError> {
    let (address, target) = CacheAddress::split_url(url)?;
    let body = object::small_body(&address, &target).await.map_err(ManifestFetchError::Transfer)?;
    Ok(serde_json::from_slice(&body)?)
}

/// Whether a URL is answered with success. A URL that can't be used is an error; no answer is no success.
pub async fn is_served(url: &str) -> Result<bool, CacheAddressError> {
    let (address, target) = CacheAddress::split_url(url)?;
    Ok(object::small_body(&address, &target).await.is_ok())
}

/// No manifest came.
#[derive(Debug, thiserror::Error)]
pub enum ManifestFetchError {
    /// The URL is not usable.
    #[error(transparent)]
    Address(#[from] CacheAddressError),
    /// The transfer failed.
    #[error("failed to download the manifest: {0}")]
    Transfer(String),
    /// The body is something else.
    #[error("the body is no manifest, a JSON list of {{path, length, sha256}}: {0}")]
    Parse(#[from] serde_json::Error),
}
