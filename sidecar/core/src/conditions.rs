//! Conditions of a request (RFC 9110 13): what the client relies on, which is answered 412 when it doesn't hold, and what it has
//! already, which is answered 304.

use std::time::SystemTime;

use crate::Generation;

/// The conditions as they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `If-Unmodified-Since`; means nothing beside `If-Match` (RFC 9110 13.1.4).
    pub if_unmodified_since: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// `If-Modified-Since`; means nothing beside `If-None-Match` (RFC 9110 13.1.3).
    pub if_modified_since: Option<String>,
}

/// What conditions say of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer as if there were none.
    Hold,
    /// The client has this state already.
    NotModified,
    /// It is not the state that the client goes on from.
    Failed,
}

impl Conditions {
    /// In the order of RFC 9110 13.2.2.
    #[must_use]
    pub fn judge(&self, generation: &Generation) -> Verdict {
        if self.fail(generation) {
            Verdict::Failed
        } else if self.say_not_modified(generation) {
            Verdict::NotModified
        } else {
            Verdict::Hold
        }
    }

    fn fail(&self, generation: &Generation) -> bool {
        if let Some(tags) = &self.if_match {
            let matches = |etag| lists(tags, etag, Comparison::Strong);
            return tags.trim() != "*" && !generation.strong_etag().is_some_and(matches);
        }
        changed_since(self.if_unmodified_since.as_deref(), generation) == Some(true)
    }

    fn say_not_modified(&self, generation: &Generation) -> bool {
        if let Some(tags) = &self.if_none_match {
            let matches = |etag| lists(tags, etag, Comparison::Weak);
            return generation.etag.as_deref().map_or(tags.trim() == "*", matches);
        }
        changed_since(self.if_modified_since.as_deref(), generation) == Some(false)
    }
}

/// Whether a state is later than a condition's date; `None` = one of the two is missing or no date.
fn changed_since(condition: Option<&str>, generation: &Generation) -> Option<bool> {
    let since = date(condition?)?;
    Some(date(generation.last_modified.as_deref()?)? > since)
}

/// How tags are compared (RFC 9110 8.8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags, or `*`, names this one.
fn lists(tags: &str, etag: &str, comparison: Comparison) -> bool {
    if tags.trim() == "*" {
        return true;
    }
    let opaque = |tag: &'_ str| match comparison {
        Comparison::Strong => tag.trim().to_owned(),
        Comparison::Weak => tag.trim().strip_prefix("W/").unwrap_or(tag.trim()).to_owned(),
    };
    let wanted = opaque(etag);
    let mut quoted = false;
    tags.split(move |character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    })
    .any(|tag| opaque(tag) == wanted)
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONDAY: &str = "Mon, 05 Jan 2026 00:00:00 GMT";
    const TUESDAY: &str = "Tue, 06 Jan 2026 00:00:00 GMT";

    fn generation(etag: Option<&str>, last_modified: Option<&str>) -> Generation {
        Generation {
            content_length_bytes: 1,
            etag: etag.map(str::to_owned),
            last_modified: last_modified.map(str::to_owned),
        }
    }

    fn not_modified(tags: Option<&str>, since: Option<&str>, state: &Generation) -> bool {
        let conditions = Conditions {
            if_none_match: tags.map(str::to_owned),
            if_modified_since: since.map(str::to_owned),
            ..Conditions::default()
        };
        conditions.judge(state) == Verdict::NotModified
    }

    fn failed(tags: Option<&str>, since: Option<&str>, state: &Generation) -> bool {
        let conditions = Conditions {
            if_match: tags.map(str::to_owned),
            if_unmodified_since: since.map(str::to_owned),
            ..Conditions::default()
        };
        conditions.judge(state) == Verdict::Failed
    }

    #[test]
    fn who_goes_on_from_another_state_is_told_so() {
        let state = generation(Some("\"a\""), Some(TUESDAY));
        for (tags, expected) in [
            ("\"a\"", false),
            ("\"x\", \"a\"", false),
            ("*", false),
            ("\"b\"", true),
            ("W/\"a\"", true),
            ("", true),
        ] {
            // The date means nothing beside a tag.
            assert_eq!(failed(Some(tags), Some(MONDAY), &state), expected, "{tags}");
        }
        assert!(failed(Some("W/\"w\""), None, &generation(Some("W/\"w\""), None)), "weak tags never match");
        assert!(failed(None, Some(MONDAY), &state));
        assert!(!failed(None, Some(TUESDAY), &state));
        assert!(!failed(None, Some("soon"), &state));
        // RFC 9110 13.1.4: ignored without a date to compare with.
        assert!(!failed(None, Some(MONDAY), &generation(Some("\"a\""), None)));
    }

    #[test]
    fn what_fails_is_said_before_what_is_not_modified() {
        let conditions = Conditions {
            if_match: Some("\"b\"".into()),
            if_none_match: Some("\"a\"".into()),
            ..Conditions::default()
        };
        assert_eq!(conditions.judge(&generation(Some("\"a\""), None)), Verdict::Failed);
        assert_eq!(conditions.judge(&generation(Some("\"b\""), None)), Verdict::Hold);
    }

    #[test]
    fn tags_are_compared_weakly_and_win_over_dates() {
        let state = generation(Some("\"a,b\""), Some(MONDAY));
        for (tags, expected) in
            [("\"a,b\"", true), ("\"x\", W/\"a,b\"", true), ("*", true), ("\"a\"", false), ("", false)]
        {
            assert_eq!(not_modified(Some(tags), Some(MONDAY), &state), expected, "{tags}");
        }
        assert!(not_modified(Some("\"w\""), None, &generation(Some("W/\"w\""), None)));
        assert!(!not_modified(Some("\"w\""), None, &generation(None, None)));
    }

    #[test]
    fn dates_count_when_there_is_no_tag_to_compare() {
        let state = generation(None, Some(MONDAY));
        assert!(not_modified(None, Some(MONDAY), &state));
        assert!(not_modified(None, Some(TUESDAY), &state));
        assert!(!not_modified(None, Some("Sun, 04 Jan 2026 00:00:00 GMT"), &state));
        assert!(!not_modified(None, Some("soon"), &state));
        assert!(!not_modified(None, Some(MONDAY), &generation(None, None)));
        assert!(!not_modified(None, None, &state));
    }
}
