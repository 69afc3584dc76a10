//! How long to wait before a service is asked again.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, header};

/// The longest that a service may ask us to stay away.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Pauses that double: each is twice the one before, up to a longest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Pauses {
    pub(super) const fn doubling(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The next pause; at least what the service asked for.
    pub(super) fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        pause.max(retry_after.unwrap_or_default())
    }

    /// After success.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A quarter more or less, so that pods that failed together don't come back together.
pub(super) fn with_jitter(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.75..=1.25))
}

/// `Retry-After` as seconds or as a date (RFC 9110 10.2.3), at most an hour. `now` is in seconds since 1970.
pub(super) fn retry_after(headers: &HeaderMap, now: u64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = if let Ok(seconds) = text.parse::<u64>() {
        seconds
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().saturating_sub(now)
    };
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

/// `max-age` of `Cache-Control`, seconds. `no-store` and `no-cache` count as 0.
pub(super) fn max_age(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut found = None;
    for directive in values.flat_map(|value| value.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(0),
            "max-age" => found = value.trim().trim_matches('"').parse().ok().or(found),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_never_shorter_than_asked_for() {
        let mut pauses = Pauses::doubling(Duration::from_secs(5), Duration::from_mins(5));
        let seen: Vec<u64> = (0..8).map(|_| pauses.next(None).as_secs()).collect();
        assert_eq!(seen, [5, 10, 20, 40, 80, 160, 300, 300]);
        pauses.reset();
        assert_eq!(pauses.next(Some(Duration::from_secs(90))).as_secs(), 90);
        assert_eq!(pauses.next(Some(Duration::from_secs(1))).as_secs(), 10);
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        let pauses: Vec<Duration> = (0..500).map(|_| with_jitter(Duration::from_secs(4))).collect();
        assert!(pauses.iter().all(|pause| (3.0..=5.0).contains(&pause.as_secs_f64())), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "all pauses are the same");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let read = |text| retry_after(&headers(header::RETRY_AFTER, text), 784_111_777 - 30);
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        // The example of RFC 9110 5.6.7.
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("99999999999"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn max_age_is_found_among_other_directives() {
        let read = |text| max_age(&headers(header::CACHE_CONTROL, text));
        assert_eq!(read("private, Max-Age=300"), Some(300));
        assert_eq!(read("max-age=300, no-store"), Some(0));
        assert_eq!(read("public"), None);
        assert_eq!(read("max-age=x"), None);
    }
}
