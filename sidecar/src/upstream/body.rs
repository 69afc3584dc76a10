//! The body of an origin's answer, taken at no less than the pace that clients need: one that falls silent or trickles ends
//! with an error in time for another try. Under a bandwidth cap it is given out in turns, and what has not been given out is not
//! asked for: the origin's packets wait where the kernel keeps them, and then at the origin.

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout};

use super::{UpstreamError, error::chain, parent::Parent, pool::Lease};
use crate::bandwidth::Pace;

/// Clients leave a cache that gives them less than 4,000 bytes a second over 20 seconds (dossier delivery-optimization 1.5).
const SLOWEST_BYTES: u64 = 4_000 * 10;
/// Over which the pace is measured. Only the time counts in which we want bytes: neither our own caps nor a slow client are the
/// origin's fault.
const WINDOW: Duration = Duration::from_secs(10);

/// Bytes at the front that are not held back by a cap, because a client's reply head may wait for them.
const FIRST_BYTES: u64 = 1024;

/// The body.
#[derive(Debug)]
pub(crate) struct OriginBody {
    body: Incoming,
    /// The connection that it comes on, until all of it is here. Dropped after the body.
    lease: Option<Lease>,
    /// Who sends it, if that is the parent.
    parent: Option<Arc<Parent>>,
    idle: Duration,
    window_waited: Duration,
    window_bytes: u64,
    /// Bytes that are here and may not be given out yet.
    held_back: Bytes,
    /// So many more are given out as they come.
    at_once: u64,
    pace: Option<Box<Pace>>,
}

impl OriginBody {
    /// `pace` = `None`: there is no cap.
    pub(super) fn new(
        body: Incoming,
        lease: Lease,
        parent: Option<Arc<Parent>>,
        idle: Duration,
        pace: Option<Pace>,
    ) -> Self {
        let lease = Some(lease).filter(|_| !body.is_end_stream());
        Self {
            body,
            lease,
            parent,
            idle,
            window_waited: Duration::ZERO,
            window_bytes: 0,
            held_back: Bytes::new(),
            at_once: FIRST_BYTES,
            pace: pace.map(Box::new),
        }
    }

    /// All of it is needed before a reply can begin, so no cap holds it back; others wait the longer.
    pub(crate) fn all_at_once(mut self) -> Self {
        self.at_once = u64::MAX;
        self
    }

    /// The next bytes; `None` at its proper end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        if self.held_back.is_empty() {
            let received = self.receive().await;
            if let (Err(_), Some(parent)) = (&received, &self.parent) {
                // The next try is made at the origin.
                parent.rest();
            }
            let Some(bytes) = received? else { return Ok(None) };
            self.held_back = bytes;
        }
        let length = self.held_back.len();
        let allowed = self.allowed(length as u64).await;
        Ok(Some(self.held_back.split_to(usize::try_from(allowed).unwrap_or(length))))
    }

    /// Waits until some of so many bytes may be given out.
    async fn allowed(&mut self, wanted: u64) -> u64 {
        let Some(pace) = &mut self.pace else { return wanted };
        if self.at_once > 0 {
            let allowed = wanted.min(self.at_once);
            self.at_once -= allowed;
            pace.charge(allowed);
            return allowed;
        }
        let allowed = poll_fn(|context| pace.poll_allowance(context, wanted)).await;
        pace.spend(allowed);
        allowed
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            let left = WINDOW.saturating_sub(self.window_waited);
            if left.is_zero() {
                if self.window_bytes < SLOWEST_BYTES {
                    return Err(UpstreamError::TimedOut);
                }
                (self.window_waited, self.window_bytes) = (Duration::ZERO, 0);
                continue;
            }
            let began = Instant::now();
            let outcome = timeout(self.idle.min(left), self.body.frame()).await;
            self.window_waited += began.elapsed();
            let Ok(frame) = outcome else {
                if self.idle <= left {
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
