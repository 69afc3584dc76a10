//! Content that is not shared: what an origin forbids to keep, or what can't be told from another state of itself. Each request
//! for it goes to the origin by itself, and its answer is passed on while it comes.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use connected_cache_core::{ByteRange, Generation, PIECE_LENGTH_BYTES, RangeHeader, RangeSpec, Selection};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    Catalog,
    answer::{Clock, Meaning, head, understand},
    fetch::unasked_304,
    now_seconds,
};
use crate::{
    metrics::Counters,
    upstream::{FetchTarget, OriginBody, UpstreamError},
};

/// What the client asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Only what the head says.
    pub(crate) is_head: bool,
    pub(crate) range: RangeHeader,
    pub(crate) if_range: Option<&'a str>,
}

/// An answer on its way from the origin to one client.
pub(crate) struct PassedOn {
    pub(crate) generation: Generation,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// What of the content is passed on; `None` = the whole of it.
    pub(crate) part: Option<ByteRange>,
    pub(crate) body: PassedBody,
}

/// Its bytes: so many are left out first, then so many follow.
pub(crate) struct PassedBody {
    source: Source,
    skip: u64,
    remaining: u64,
    /// Read before anybody asked, to see that there is something.
    first: Option<Bytes>,
    counters: Arc<Counters>,
}

enum Source {
    Arriving(OriginBody),
    Here(Option<Bytes>),
}

impl PassedBody {
    /// Bytes that are still to come.
    pub(crate) fn remaining(&self) -> u64 {
        self.remaining + self.first.as_ref().map_or(0, |first| first.len() as u64)
    }

    /// The next bytes; `None` once all have come.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        while self.remaining > 0 {
            let mut bytes = match &mut self.source {
                Source::Arriving(body) => body.next().await?.ok_or(UpstreamError::WrongLength)?,
                Source::Here(bytes) => bytes.take().ok_or(UpstreamError::WrongLength)?,
            };
            if matches!(self.source, Source::Arriving(_)) {
                self.counters.origin_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            let skipped = self.skip.min(bytes.len() as u64);
            self.skip -= skipped;
            drop(bytes.split_to(usize::try_from(skipped).unwrap_or(bytes.len())));
            bytes.truncate(usize::try_from(self.remaining).unwrap_or(usize::MAX));
            if !bytes.is_empty() {
                self.remaining -= bytes.len() as u64;
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

impl Catalog {
    /// Asks the origin for exactly what the client wants, and returns once its head and first bytes, if any, are here.
    pub(crate) async fn pass_on(
        &self,
        target: &FetchTarget,
        wanted: Wanted<'_>,
    ) -> Result<PassedOn, UpstreamError> {
        if wanted.is_head
            && let Some(passed) = self.pass_head_on(target).await?
        {
            return Ok(passed);
        }
        let counters = &self.shared.counters;
        counters.origin_requests.fetch_add(1, Ordering::Relaxed);
        let requested_at = now_seconds();
        let response = self.shared.upstream.get(target, &asking_for(wanted)).await?;
        let clock = Clock { requested_at, received_at: now_seconds() };
        let (parts, body) = response.into_parts();
        let (head, came, source) = match understand(parts.status, &parts.headers, clock)? {
            Meaning::Content { head, part, .. } => (head, part, Source::Arriving(body)),
            Meaning::Unmeasured => {
                let room = self.shared.room.wait(PIECE_LENGTH_BYTES).await.ok_or(UpstreamError::NoRoom)?;
                let bytes = self.take_unmeasured(body).await?;
                drop(room);
                let head = head(&parts.headers, bytes.len() as u64, clock)?;
                (head, None, Source::Here(Some(bytes)))
            }
            Meaning::NotModified { .. } => return Err(unasked_304()),
        };
        let total = head.generation.content_length_bytes;
        let still_the_same = wanted.if_range.is_none_or(|value| head.generation.satisfies_if_range(value));
        let selection = if still_the_same { wanted.range.select(total) } else { Selection::Whole };
        let (part, skip, remaining) = match (selection, came) {
            (Selection::Unsatisfiable, _) => return Err(UpstreamError::OutsideContent { total }),
            // The origin judged the validator, or ignored the range.
            (Selection::Part(part), None) => (Some(part), part.first, part.length()),
            (Selection::Part(part), Some(came)) if part == came => (Some(part), 0, part.length()),
            (Selection::Whole, None) => (None, 0, total),
            (_, Some(_)) => {
                return Err(UpstreamError::Protocol { reason: "another range came than was asked for" });
            }
        };
        let counters = counters.clone();
        let mut body = PassedBody { source, skip, remaining, first: None, counters };
        body.first = body.next().await?;
        Ok(PassedOn { generation: head.generation, headers: head.headers, part, body })
    }
}

impl Catalog {
    /// As [`Self::pass_on`], without the content. `None` = the origin knows no HEAD or says no length, so only its content tells.
    async fn pass_head_on(&self, target: &FetchTarget) -> Result<Option<PassedOn>, UpstreamError> {
        let counters = &self.shared.counters;
        counters.origin_requests.fetch_add(1, Ordering::Relaxed);
        let requested_at = now_seconds();
        let response = self.shared.upstream.head(target).await?;
        let clock = Clock { requested_at, received_at: now_seconds() };
        let head = match understand(response.status(), response.headers(), clock) {
            Ok(Meaning::Content { head, part: None, .. }) => head,
            Ok(Meaning::Content { .. }) => {
                return Err(UpstreamError::Protocol { reason: "206 to a request without a range" });
            }
            Ok(Meaning::Unmeasured) => return Ok(None),
            // Some signatures are for one method, and some origins know no other than GET.
            Err(UpstreamError::Status { status }) if may_be_about_head(status) => return Ok(None),
            Ok(Meaning::NotModified { .. }) => return Err(unasked_304()),
            Err(error) => return Err(error),
        };
        let counters = counters.clone();
        let body = PassedBody { source: Source::Here(None), skip: 0, remaining: 0, first: None, counters };
        Ok(Some(PassedOn { generation: head.generation, headers: head.headers, part: None, body }))
    }
}

/// Whether a refusal of HEAD may be none of GET.
fn may_be_about_head(status: StatusCode) -> bool {
    status == StatusCode::NOT_IMPLEMENTED
        || (status.is_client_error() && !matches!(status.as_u16(), 404 | 408 | 410 | 425 | 429))
}

/// The client's range and its condition, as the origin is asked.
fn asking_for(wanted: Wanted<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let RangeHeader::Single(spec) = wanted.range else { return headers };
    let range = match spec {
        RangeSpec::From(first) => format!("bytes={first}-"),
        RangeSpec::FromTo(first, last) => format!("bytes={first}-{last}"),
        RangeSpec::Suffix(length) => format!("bytes=-{length}"),
    };
    headers.extend(HeaderValue::try_from(range).ok().map(|value| (header::RANGE, value)));
    let condition = wanted.if_range.and_then(|value| HeaderValue::try_from(value).ok());
    headers.extend(condition.map(|value| (header::IF_RANGE, value)));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(content: &'static [u8], skip: u64, remaining: u64) -> PassedBody {
        let source = Source::Here(Some(Bytes::from_static(content)));
        PassedBody { source, skip, remaining, first: None, counters: Arc::default() }
    }

    #[tokio::test]
    async fn exactly_the_wanted_bytes_are_passed_on() {
        let mut part = body(b"0123456789", 3, 4);
        assert_eq!(part.next().await.unwrap().unwrap(), "3456");
        assert_eq!((part.next().await, part.remaining()), (Ok(None), 0));
        let mut short = body(b"012", 1, 4);
        assert_eq!(short.next().await.unwrap().unwrap(), "12");
        assert_eq!(short.next().await, Err(UpstreamError::WrongLength));
    }
}
