//! How long one reply may keep its client waiting for bytes, all tries together. Clients leave a cache for 15 minutes that gives
//! them less than 4,000 bytes a second over 20 seconds; a body that ends early costs nothing, because they go on by a range
//! (dossier delivery-optimization 1.5, 1.7).

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::upstream::UpstreamError;

/// The longest wait for a byte.
const LONGEST: Duration = Duration::from_millis(8_500);
/// Bytes that buy another second: so many that whatever is slower than clients bear ends before their 20 seconds are over, and
/// less than bandwidth caps leave to everybody.
const BYTES_PER_SECOND: u32 = 7_000;

/// What is left of it. Only time spent waiting counts, not that of a client that reads slowly.
#[derive(Debug)]
pub(super) struct Patience {
    left: Duration,
}

impl Patience {
    pub(super) const fn new() -> Self {
        Self { left: LONGEST }
    }

    /// Waits for a step that brings bytes.
    pub(super) async fn wait_for<Output>(
        &mut self,
        step: impl Future<Output = Result<Output, UpstreamError>>,
    ) -> Result<Output, UpstreamError> {
        let begun = Instant::now();
        let outcome = timeout(self.left, step).await.map_err(|_| UpstreamError::TimedOut);
        self.left = self.left.saturating_sub(begun.elapsed());
        outcome?
    }

    pub(super) const fn is_over(&self) -> bool {
        self.left.is_zero()
    }

    /// So many bytes came.
    pub(super) fn got(&mut self, bytes: usize) {
        let bought = Duration::from_secs(1) * u32::try_from(bytes).unwrap_or(u32::MAX) / BYTES_PER_SECOND;
        self.left = LONGEST.min(self.left + bought);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of waiting until it ends, when so many bytes come in each of these intervals; `None` = it does not end.
    async fn ends_after(bytes: usize, interval: Duration) -> Option<f64> {
        let (mut patience, begun) = (Patience::new(), Instant::now());
        while begun.elapsed() < Duration::from_mins(10) {
            let step = async {
                tokio::time::sleep(interval).await;
                Ok(())
            };
            if patience.wait_for(step).await.is_err() {
                assert!(patience.is_over());
                return Some(begun.elapsed().as_secs_f64());
            }
            patience.got(bytes);
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_long_before_clients_lose_patience() {
        assert_eq!(ends_after(1_000_000, Duration::from_mins(1)).await, Some(8.5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_clients_would_leave_for_ends_before_they_do() {
        for bytes_per_second in [1, 100, 1_000, 2_000, 3_000, 3_999] {
            for milliseconds in [10, 100, 1_000, 5_000] {
                let bytes = bytes_per_second * milliseconds / 1_000;
                let ended = ends_after(bytes, Duration::from_millis(milliseconds as u64)).await;
                assert!(ended.is_some_and(|seconds| seconds <= 20.5), "{bytes_per_second}: {ended:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_clients_bear_well_goes_on() {
        for milliseconds in [1, 100, 1_000, 8_000] {
            let bytes = 7_000 * milliseconds / 1_000;
            assert_eq!(ends_after(bytes, Duration::from_millis(milliseconds as u64)).await, None);
        }
    }
}
