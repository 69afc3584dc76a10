//! Waiting for a condition: asked again until it holds or the time is over, and the last answer is kept for the error.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use crate::error::{Error, Result};

/// How often a condition is asked.
const INTERVAL: Duration = Duration::from_millis(100);

/// One answer: `Ok(Ok(_))` it holds, `Ok(Err(_))` not yet and why, `Err(_)` it never will.
pub(crate) type Answer<T> = Result<Result<T, String>>;

/// Asks `check` until it holds; the last "not yet" goes into the error when `limit` is over.
pub(crate) async fn until<T, F>(what: &str, limit: Duration, mut check: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Answer<T>>,
{
    let started = Instant::now();
    loop {
        let remaining = limit.saturating_sub(started.elapsed());
        let last_seen = match tokio::time::timeout(remaining.max(INTERVAL), check()).await {
            Ok(Ok(Ok(value))) => return Ok(value),
            Ok(Ok(Err(last_seen))) => last_seen,
            Ok(Err(error)) => return Err(error),
            Err(_) => "no answer".to_owned(),
        };
        if started.elapsed() >= limit {
            return Err(Error::Timeout { what: what.to_owned(), seconds: limit.as_secs(), last_seen });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_condition_is_asked_until_it_holds() {
        let mut asked = 0;
        let value = until("three", Duration::from_secs(5), || {
            asked += 1;
            let answer = if asked == 3 { Ok(asked) } else { Err(format!("only {asked}")) };
            async move { Ok(answer) }
        })
        .await
        .unwrap();
        assert_eq!(value, 3);
    }

    #[tokio::test]
    async fn the_last_answer_is_in_the_error() {
        let error = until::<(), _>("a thing", Duration::ZERO, || async { Ok(Err("still blue".to_owned())) })
            .await
            .unwrap_err();
        assert!(error.to_string().contains("still blue"), "{error}");
    }

    #[tokio::test]
    async fn what_never_will_hold_ends_the_wait() {
        let error =
            until::<(), _>("a thing", Duration::from_mins(10), || async { Err(Error::NotRunning) }).await;
        assert!(matches!(error, Err(Error::NotRunning)), "{error:?}");
    }
}
