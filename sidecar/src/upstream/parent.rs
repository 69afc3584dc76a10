//! `upstream.parent`: a cache that is asked instead of the origins (dossier delivery-optimization 1.10). It gets what clients send:
//! path and query byte for byte, and `cacheHostOrigin` behind them. Whatever is not the origin's word about the content, the
//! origin is asked for itself, so that a parent that fails or refuses costs nobody anything but time.

use std::time::Duration;

use connected_cache_wire::delivery_optimization::CACHE_HOST_ORIGIN;
use http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use parking_lot::Mutex;
use tokio::time::Instant;
use url::Url;

use super::{FetchTarget, UpstreamError, uri_of};

/// By which scheme the origin is to be asked, where that is another one than the parent's own.
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// For so long a parent that was not there or said nothing is left alone.
const REST: Duration = Duration::from_secs(5);

/// The parent.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) https: bool,
    /// Host, and port where it is not that of the scheme.
    authority: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rests_until: Option<Instant>,
    answered_at: Option<Instant>,
}

impl Parent {
    /// `None` = the URL has no host, which validation refuses.
    pub(super) fn new(url: &Url) -> Option<Self> {
        let host = url.host_str()?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Some(Self { https: url.scheme() == "https", authority, state: Mutex::default() })
    }

    /// Whether it may be asked for this: never in the clear what the client asked over TLS, and not again when it may have
    /// passed a bad piece on.
    pub(super) const fn is_for(&self, target: &FetchTarget) -> bool {
        (self.https || !target.https) && !target.past_parent
    }

    /// What it is asked.
    pub(super) fn uri(&self, target: &FetchTarget) -> Result<Uri, UpstreamError> {
        let separator = if target.path_and_query.contains('?') { '&' } else { '?' };
        let origin = target.origin.authority();
        let path_and_query = format!("{}{separator}{CACHE_HOST_ORIGIN}={origin}", target.path_and_query);
        uri_of(if self.https { "https" } else { "http" }, &self.authority, &path_and_query)
    }

    pub(super) fn rests(&self) -> bool {
        self.state.lock().rests_until.is_some_and(|until| Instant::now() < until)
    }

    /// It answered, whatever it was.
    pub(super) fn answered(&self) {
        self.state.lock().answered_at = Some(Instant::now());
    }

    /// It was silent about what it was asked then. If it has answered others since, it waits for an origin itself, or we for a
    /// connection, and it is there.
    pub(super) fn was_silent_since(&self, asked_at: Instant) {
        if self.state.lock().answered_at.is_none_or(|answered_at| answered_at < asked_at) {
            self.rest();
        }
    }

    /// It was not there: others don't wait for it meanwhile.
    pub(super) fn rest(&self) {
        self.state.lock().rests_until = Some(Instant::now() + REST);
    }
}

/// Whether an answer of the parent is what the origin would say too. It may have 4xx of its own: about its allow-list or its load.
/// That something is gone is believed if a cache says that it passed that on, and not of a load balancer before it.
pub(super) fn is_of_the_origin(status: StatusCode, headers: &HeaderMap) -> bool {
    match status.as_u16() {
        200 | 206 | 304 | 416 => true,
        404 | 410 => headers.contains_key(header::VIA) || headers.contains_key(CACHE_STATUS),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_parent_rests_for_five_seconds() {
        let parent = Parent::new(&"http://parent".parse().unwrap()).unwrap();
        assert!(!parent.rests());
        parent.rest();
        tokio::time::advance(REST.checked_sub(Duration::from_millis(1)).unwrap()).await;
        assert!(parent.rests());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!parent.rests());
    }

    #[tokio::test(start_paused = true)]
    async fn a_parent_that_answers_others_is_there() {
        let parent = Parent::new(&"http://parent".parse().unwrap()).unwrap();
        let asked_at = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        parent.answered();
        parent.was_silent_since(asked_at);
        assert!(!parent.rests());
        tokio::time::advance(Duration::from_secs(1)).await;
        parent.was_silent_since(Instant::now());
        assert!(parent.rests());
    }
}
