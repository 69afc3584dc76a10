//! The body of an origin's answer, taken at no less than the pace that clients need: one that falls silent or trickles ends
//! with an error in time for another try.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

use super::{UpstreamError, error::chain, pool::Lease};

/// Clients leave a cache that gives them less than 4,000 bytes a second over 20 seconds (dossier delivery-optimization 1.5).
const SLOWEST_BYTES: u64 = 4_000 * 10;
/// Over which the pace is measured.
const WINDOW: Duration = Duration::from_secs(10);

/// The body.
#[derive(Debug)]
pub(crate) struct OriginBody {
    body: Incoming,
    /// The connection that it comes on, until all of it is here. Dropped after the body.
    lease: Option<Lease>,
    idle: Duration,
    window_ends: Option<Instant>,
    window_bytes: u64,
}

impl OriginBody {
    pub(super) fn new(body: Incoming, lease: Lease, idle: Duration) -> Self {
        let lease = Some(lease).filter(|_| !body.is_end_stream());
        Self { body, lease, idle, window_ends: None, window_bytes: 0 }
    }

    /// The next bytes; `None` at its proper end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            let now = Instant::now();
            let window_ends = *self.window_ends.get_or_insert(now + WINDOW);
            if window_ends <= now {
                if self.window_bytes < SLOWEST_BYTES {
                    return Err(UpstreamError::TimedOut);
                }
                (self.window_ends, self.window_bytes) = (Some(now + WINDOW), 0);
                continue;
            }
            let idle_ends = now + self.idle;
            let Ok(frame) = timeout_at(idle_ends.min(window_ends), self.body.frame()).await else {
                if idle_ends <= window_ends {
                    return Err(UpstreamError::TimedOut);
                }
                continue;
            };
            if self.body.is_end_stream() || !matches!(frame, Some(Ok(_))) {
                self.lease = None;
            }
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(UpstreamError::Unreachable { reason: chain(&error) }),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data()
                        && !bytes.is_empty()
                    {
                        self.window_bytes += bytes.len() as u64;
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}
