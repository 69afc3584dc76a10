//! Conditions of a request that may be answered 304 (RFC 9110 13): `If-None-Match`, else `If-Modified-Since`.

use std::time::SystemTime;

use crate::Generation;

/// The conditions as they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// `If-Modified-Since`; means nothing beside `If-None-Match` (RFC 9110 13.1.3).
    pub if_modified_since: Option<String>,
}

impl Conditions {
    /// Whether the client has this state already.
    #[must_use]
    pub fn say_not_modified(&self, generation: &Generation) -> bool {
        if let Some(tags) = &self.if_none_match {
            return generation.etag.as_deref().map_or(tags.trim() == "*", |etag| lists(tags, etag));
        }
        let since = self.if_modified_since.as_deref().and_then(date);
        let changed = generation.last_modified.as_deref().and_then(date);
        matches!((since, changed), (Some(since), Some(changed)) if changed <= since)
    }
}

/// Whether a list of entity tags, or `*`, names this one; by the weak comparison (RFC 9110 8.8.3.2).
fn lists(tags: &str, etag: &str) -> bool {
    if tags.trim() == "*" {
        return true;
    }
    let opaque = |tag: &'_ str| tag.trim().strip_prefix("W/").unwrap_or(tag.trim()).to_owned();
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
        };
        conditions.say_not_modified(state)
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
