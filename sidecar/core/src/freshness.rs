//! How long an answer of an origin may be used (RFC 9111): what its header fields allow, how old it is, and what to do
//! once it is stale. No clock here: times are seconds since 1970 that the caller gives.

/// Directives of `Cache-Control` that matter to a shared cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a directive of its own, and any of them may be there"
)]
pub struct CacheControl {
    /// Not to be kept at all.
    pub no_store: bool,
    /// For one user only.
    pub private: bool,
    /// To be asked for again before every use.
    pub no_cache: bool,
    /// Never to be used stale.
    pub must_revalidate: bool,
    /// Seconds of freshness; `s-maxage` wins over `max-age`, as this is a shared cache.
    pub max_age_seconds: Option<u64>,
    /// The origin's own say on use while it is asked again (RFC 5861).
    pub stale_while_revalidate_seconds: Option<u64>,
    /// The origin's own say on use while it fails (RFC 5861).
    pub stale_if_error_seconds: Option<u64>,
}

impl CacheControl {
    /// Reads one or several fields joined by commas. Unknown directives mean nothing; an age that is no number counts as 0
    /// (RFC 9111 4.2.1: stale is the safe side).
    #[must_use]
    pub fn parse(value: &str) -> Self {
        let mut found = Self::default();
        let (mut max_age, mut shared_max_age) = (None, None);
        for directive in directives(value) {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = || Some(seconds_of(argument));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" => found.no_store = true,
                // With a list of fields it is about these fields only, which are not what is kept here.
                "private" => found.private |= argument.is_empty(),
                "no-cache" => found.no_cache |= argument.is_empty(),
                "must-revalidate" | "proxy-revalidate" => found.must_revalidate = true,
                "max-age" => max_age = max_age.or_else(seconds),
                "s-maxage" => shared_max_age = shared_max_age.or_else(seconds),
                "stale-while-revalidate" => found.stale_while_revalidate_seconds = seconds(),
                "stale-if-error" => found.stale_if_error_seconds = seconds(),
                _ => {}
            }
        }
        // RFC 9111 5.2.2.10: s-maxage implies proxy-revalidate.
        found.must_revalidate |= shared_max_age.is_some();
        found.max_age_seconds = shared_max_age.or(max_age);
        found
    }
}

/// Splits at commas outside of quoted strings.
fn directives(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    value
        .split(move |character| {
            quoted ^= character == '"';
            character == ',' && !quoted
        })
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
}

/// Digits, perhaps quoted; more than fit count as the most that fits.
fn seconds_of(argument: &str) -> u64 {
    let digits = argument.trim().trim_matches('"');
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    digits.parse().unwrap_or(u64::MAX)
}

/// What an answer says about its own age and time. Dates are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerTimes {
    /// When the request was sent.
    pub requested_at: u64,
    /// When the head of the answer came.
    pub received_at: u64,
    /// `Date`.
    pub date: Option<u64>,
    /// `Age` in seconds.
    pub age_seconds: Option<u64>,
    /// `Expires`; one that can't be read is given as 0, which is long past.
    pub expires: Option<u64>,
    /// `Last-Modified`.
    pub last_modified: Option<u64>,
}

/// Freshness of one answer: all that has to be kept of its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When its age was 0, seconds since 1970.
    pub born_at: u64,
    /// How long it is fresh from then on, in seconds.
    pub lifetime_seconds: u64,
    /// Never to be used stale.
    pub must_revalidate: bool,
    /// The origin's own limit for use while it is asked again.
    pub stale_while_revalidate_seconds: Option<u64>,
    /// The origin's own limit for use while it fails.
    pub stale_if_error_seconds: Option<u64>,
}

/// Limits for stale use where the origin does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleLimits {
    /// While it is asked again, in seconds; never longer than it was fresh.
    pub while_revalidate_seconds: u64,
    /// While the origin fails, in seconds.
    pub if_error_seconds: u64,
}

/// What may be done with an answer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is fresh.
    Fresh,
    /// It is stale and may be used while it is asked for again.
    StaleWhileRevalidate,
    /// It has to be asked for again first; `if_error` = it may still be used if that fails.
    Revalidate {
        /// Whether it may be used if the origin fails.
        if_error: bool,
    },
}

/// Freshness without any word of the origin about it and without a date of change.
const DEFAULT_LIFETIME_SECONDS: u64 = 300;
/// The least and the most that is inferred from the time since the last change: what was just published is asked for again
/// and again piece by piece, and an origin that does not mind saying nothing does not mind a minute.
const INFERRED_SECONDS: std::ops::RangeInclusive<u64> = 60..=24 * 3600;

impl Freshness {
    /// RFC 9111 4.2.1 to 4.2.3. Without explicit times a tenth of the time since the last change is taken, at least a minute
    /// and at most a day.
    #[must_use]
    pub fn of(control: &CacheControl, times: &AnswerTimes) -> Self {
        let delay = times.received_at.saturating_sub(times.requested_at);
        let apparent = times.date.map_or(0, |date| times.received_at.saturating_sub(date));
        let corrected = times.age_seconds.unwrap_or(0).saturating_add(delay);
        let initial_age = apparent.max(corrected);
        let date = times.date.unwrap_or(times.received_at);
        let inferred = || match times.last_modified {
            Some(changed) => {
                (date.saturating_sub(changed) / 10).clamp(*INFERRED_SECONDS.start(), *INFERRED_SECONDS.end())
            }
            None => DEFAULT_LIFETIME_SECONDS,
        };
        let lifetime = match (control.no_cache, control.max_age_seconds, times.expires) {
            (true, ..) => 0,
            (false, Some(seconds), _) => seconds,
            (false, None, Some(expires)) => expires.saturating_sub(date),
            (false, None, None) => inferred(),
        };
        Self {
            born_at: times.received_at.saturating_sub(initial_age),
            lifetime_seconds: lifetime,
            must_revalidate: control.must_revalidate || control.no_cache,
            stale_while_revalidate_seconds: control.stale_while_revalidate_seconds,
            stale_if_error_seconds: control.stale_if_error_seconds,
        }
    }

    /// Seconds since its origin made it: the `Age` field.
    #[must_use]
    pub const fn age_seconds(&self, now: u64) -> u64 {
        now.saturating_sub(self.born_at)
    }

    /// What may be done with it at this time.
    #[must_use]
    pub fn use_at(&self, now: u64, limits: StaleLimits) -> Use {
        let age = self.age_seconds(now);
        if age < self.lifetime_seconds {
            return Use::Fresh;
        }
        if self.must_revalidate {
            return Use::Revalidate { if_error: false };
        }
        let stale = age - self.lifetime_seconds;
        // Without the origin's say at most for as long as it was fresh: what changes often is not served long after.
        let by_default = || limits.while_revalidate_seconds.min(self.lifetime_seconds);
        let while_revalidate = self.stale_while_revalidate_seconds.unwrap_or_else(by_default);
        let if_error = self.stale_if_error_seconds.unwrap_or(limits.if_error_seconds);
        if stale < while_revalidate {
            Use::StaleWhileRevalidate
        } else {
            Use::Revalidate { if_error: stale < if_error }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: StaleLimits = StaleLimits { while_revalidate_seconds: 60, if_error_seconds: 600 };

    fn times(received_at: u64) -> AnswerTimes {
        AnswerTimes { requested_at: received_at, received_at, ..AnswerTimes::default() }
    }

    #[test]
    fn directives_are_read_as_a_shared_cache_has_to() {
        let read =
            CacheControl::parse(r#"Public, max-age=60, S-MaxAge="120", stale-if-error=5, x="a, no-store""#);
        assert_eq!(read.max_age_seconds, Some(120));
        assert!(read.must_revalidate && !read.no_store && !read.private);
        assert_eq!(read.stale_if_error_seconds, Some(5));
        let read = CacheControl::parse("no-store, PRIVATE, no-cache");
        assert!(read.no_store && read.private && read.no_cache);
        // About some fields only (RFC 9111 5.2.2.4, 5.2.2.7).
        let read = CacheControl::parse(r#"private="set-cookie", no-cache="set-cookie""#);
        assert!(!read.private && !read.no_cache);
    }

    #[test]
    fn an_age_that_is_no_number_is_stale_and_one_beyond_measure_is_the_largest() {
        for (text, seconds) in [
            ("max-age=abc", 0),
            ("max-age=", 0),
            ("max-age=-1", 0),
            ("max-age=99999999999999999999", u64::MAX),
        ] {
            assert_eq!(CacheControl::parse(text).max_age_seconds, Some(seconds), "{text}");
        }
    }

    #[test]
    fn the_age_counts_from_the_oldest_evidence() {
        let control = CacheControl { max_age_seconds: Some(100), ..CacheControl::default() };
        // RFC 9111 4.2.3: apparent age 20, Age 5 plus a second on the way.
        let times = AnswerTimes { requested_at: 999, date: Some(980), age_seconds: Some(5), ..times(1000) };
        let freshness = Freshness::of(&control, &times);
        assert_eq!(freshness.age_seconds(1000), 20);
        assert_eq!(freshness.use_at(1079, LIMITS), Use::Fresh);
        assert_eq!(freshness.use_at(1080, LIMITS), Use::StaleWhileRevalidate);
        assert_eq!(freshness.use_at(1140, LIMITS), Use::Revalidate { if_error: true });
        assert_eq!(freshness.use_at(1680, LIMITS), Use::Revalidate { if_error: false });
    }

    #[test]
    fn what_was_fresh_for_a_moment_is_used_stale_for_a_moment_only() {
        for (control, last_use, then) in [
            ("max-age=0", None, Use::Revalidate { if_error: true }),
            ("max-age=5", Some(9), Use::Revalidate { if_error: true }),
            ("max-age=5, stale-while-revalidate=20", Some(24), Use::Revalidate { if_error: true }),
            ("max-age=500", Some(559), Use::Revalidate { if_error: true }),
        ] {
            let freshness = Freshness::of(&CacheControl::parse(control), &times(1000));
            if let Some(last_use) = last_use {
                assert_eq!(freshness.use_at(1000 + last_use, LIMITS), Use::StaleWhileRevalidate, "{control}");
            }
            assert_eq!(
                freshness.use_at(1000 + last_use.map_or(0, |last| last + 1), LIMITS),
                then,
                "{control}"
            );
        }
    }

    #[test]
    fn explicit_times_win_in_their_order_and_else_a_tenth_of_the_age_of_the_change_is_taken() {
        let with_expires = AnswerTimes { date: Some(1000), expires: Some(1030), ..times(1000) };
        assert_eq!(Freshness::of(&CacheControl::default(), &with_expires).lifetime_seconds, 30);
        let control = CacheControl::parse("max-age=7");
        assert_eq!(Freshness::of(&control, &with_expires).lifetime_seconds, 7);
        let past = AnswerTimes { expires: Some(0), ..times(1000) };
        assert_eq!(Freshness::of(&CacheControl::default(), &past).lifetime_seconds, 0);
        let changed = AnswerTimes { last_modified: Some(0), ..times(1000) };
        assert_eq!(Freshness::of(&CacheControl::default(), &changed).lifetime_seconds, 100);
        let just_now = AnswerTimes { last_modified: Some(999), ..times(1000) };
        assert_eq!(Freshness::of(&CacheControl::default(), &just_now).lifetime_seconds, 60);
        let long_ago = AnswerTimes { last_modified: Some(0), ..times(100_000_000) };
        assert_eq!(Freshness::of(&CacheControl::default(), &long_ago).lifetime_seconds, 86_400);
    }

    #[test]
    fn what_must_be_revalidated_is_never_used_stale() {
        for text in ["no-cache", "max-age=0, must-revalidate", "s-maxage=0"] {
            let freshness = Freshness::of(&CacheControl::parse(text), &times(1000));
            assert_eq!(freshness.use_at(1000, LIMITS), Use::Revalidate { if_error: false }, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,80}") {
            let _ = CacheControl::parse(&text);
        }

        #[test]
        fn any_times_give_an_answer(requested: u64, received: u64, date: Option<u64>, age: Option<u64>, expires: Option<u64>, changed: Option<u64>, now: u64) {
            let times = AnswerTimes { requested_at: requested, received_at: received, date, age_seconds: age, expires, last_modified: changed };
            let freshness = Freshness::of(&CacheControl::default(), &times);
            prop_assert!(freshness.born_at <= received);
            let _ = freshness.use_at(now, LIMITS);
        }
    }
}
