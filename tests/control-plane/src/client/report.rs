//! What a download showed: per object, and in sum.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Mode;
use super::check::Verdict;
use crate::content::ManifestEntry;

/// One way in which an answer was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Offset in the object of the request or byte it is about.
    pub offset: u64,
    /// What should have come.
    pub expected: String,
    /// What came.
    pub received: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at offset {}: expected {}, received {}", self.offset, self.expected, self.received)
    }
}

/// One download of one object.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectReport {
    /// Path of the object.
    pub path: String,
    /// Which repetition, from 1.
    pub round: u32,
    /// `whole` or `ranges`.
    pub mode: &'static str,
    /// Body bytes received, with those of the probe.
    pub bytes: u64,
    /// Time from the first request to the last byte.
    pub seconds: f64,
    /// Requests that were answered.
    pub requests: u64,
    /// Answers the cache had ready.
    pub hits: u64,
    /// Answers the cache had to fetch.
    pub misses: u64,
    /// Answers the cache had in part.
    pub partials: u64,
    /// SHA-256 of what came, when all of it came.
    pub sha256: Option<String>,
    /// Everything that was wrong; empty = the object is right.
    pub errors: Vec<Mismatch>,
}

impl ObjectReport {
    pub(super) fn new(entry: &ManifestEntry, mode: Mode, round: u32) -> Self {
        Self {
            path: entry.path.clone(),
            round,
            mode: match mode {
                Mode::Whole => "whole",
                Mode::Ranges => "ranges",
            },
            bytes: 0,
            seconds: 0.0,
            requests: 0,
            hits: 0,
            misses: 0,
            partials: 0,
            sha256: None,
            errors: Vec::new(),
        }
    }

    pub(super) fn count(&mut self, verdict: Verdict) {
        self.requests += 1;
        match verdict {
            Verdict::Hit => self.hits += 1,
            Verdict::Miss => self.misses += 1,
            Verdict::Partial => self.partials += 1,
            Verdict::Unknown => {}
        }
    }

    pub(super) fn wrong(&mut self, offset: u64, expected: impl fmt::Display, received: impl fmt::Display) {
        let (expected, received) = (expected.to_string(), received.to_string());
        self.errors.push(Mismatch { offset, expected, received });
    }

    pub(super) fn failed(mut self, offset: u64, expected: &str, received: &impl fmt::Display) -> Self {
        self.wrong(offset, expected, received);
        self
    }

    /// Decimal megabytes per second; 0 when nothing came.
    #[must_use]
    pub fn megabytes_per_second(&self) -> f64 {
        megabytes_per_second(self.bytes, self.seconds)
    }
}

/// Sums over a [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Totals {
    /// Downloads, repetitions counted each.
    pub objects: u64,
    /// Body bytes received.
    pub bytes: u64,
    /// Time from the start of the first to the end of the last download.
    pub seconds: f64,
    /// Answers the cache had ready.
    pub hits: u64,
    /// Answers the cache had to fetch.
    pub misses: u64,
    /// Answers the cache had in part.
    pub partials: u64,
    /// Mismatches of all objects.
    pub errors: u64,
}

impl Totals {
    /// Decimal megabytes per second; 0 when nothing came.
    #[must_use]
    pub fn megabytes_per_second(&self) -> f64 {
        megabytes_per_second(self.bytes, self.seconds)
    }
}

/// Everything that was downloaded.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order of the plan.
    pub objects: Vec<ObjectReport>,
    /// Sums.
    pub totals: Totals,
}

impl Report {
    /// Adds what was downloaded after this.
    pub fn append(&mut self, later: Self) {
        self.objects.extend(later.objects);
        let (totals, more) = (&mut self.totals, later.totals);
        totals.objects += more.objects;
        totals.bytes += more.bytes;
        totals.seconds += more.seconds;
        totals.hits += more.hits;
        totals.misses += more.misses;
        totals.partials += more.partials;
        totals.errors += more.errors;
    }

    pub(super) fn new(objects: Vec<ObjectReport>, elapsed: Duration) -> Self {
        let sum = |field: fn(&ObjectReport) -> u64| objects.iter().map(field).sum::<u64>();
        let totals = Totals {
            objects: objects.len() as u64,
            bytes: sum(|object| object.bytes),
            seconds: elapsed.as_secs_f64(),
            hits: sum(|object| object.hits),
            misses: sum(|object| object.misses),
            partials: sum(|object| object.partials),
            errors: sum(|object| object.errors.len() as u64),
        };
        Self { objects, totals }
    }

    /// Whether every byte and header was right.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.totals.errors == 0
    }

    /// All errors, each with its object.
    pub fn errors(&self) -> impl Iterator<Item = (&ObjectReport, &Mismatch)> {
        self.objects.iter().flat_map(|object| object.errors.iter().map(move |error| (object, error)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people, with a few digits")]
fn megabytes_per_second(bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { bytes as f64 / 1e6 / seconds } else { 0.0 }
}
