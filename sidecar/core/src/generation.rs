//! One state of an object at its origin (dossier delivery-optimization 1.5): pieces of two states are never mixed.

/// What identifies a state: length and validators. Two fills belong together only if they agree in all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Generation {
    /// Length of the whole content.
    pub content_length_bytes: u64,
    /// `ETag` as it was received, quotes and `W/` included.
    pub etag: Option<String>,
    /// `Last-Modified` as it was received.
    pub last_modified: Option<String>,
}

impl Generation {
    /// Whether a fill that reports `other` delivers bytes of this state. A strong entity tag decides by itself, because
    /// mirrors of one origin disagree about dates; else everything must be the same, and weak tags prove nothing against
    /// a different date. A state without strong tag and date agrees with none, not even with itself: nothing says that the
    /// bytes behind it are still those of a moment ago.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        if self.content_length_bytes != other.content_length_bytes {
            return false;
        }
        match (self.strong_etag(), other.strong_etag()) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (None, None) => {
                self.last_modified.is_some()
                    && self.etag == other.etag
                    && self.last_modified == other.last_modified
            }
            _ => false,
        }
    }

    /// Whether it has a validator by which another answer can be found to be of this state: a strong entity tag or a date.
    /// Without one nothing agrees with it, not even itself.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.strong_etag().is_some() || self.last_modified.is_some()
    }

    /// The entity tag, if it is a strong one.
    #[must_use]
    pub fn strong_etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|tag| tag.starts_with('"') && tag.ends_with('"') && tag.len() >= 2)
    }

    /// Whether an `If-Range` value names this state (RFC 9110 13.1.5): a strong entity tag, or exactly the date.
    #[must_use]
    pub fn satisfies_if_range(&self, value: &str) -> bool {
        let value = value.trim();
        if value.starts_with('"') || value.starts_with("W/") {
            self.strong_etag() == Some(value)
        } else {
            self.last_modified.as_deref() == Some(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(length: u64, etag: Option<&str>, last_modified: Option<&str>) -> Generation {
        Generation {
            content_length_bytes: length,
            etag: etag.map(str::to_owned),
            last_modified: last_modified.map(str::to_owned),
        }
    }

    const MONDAY: Option<&str> = Some("Mon, 05 Jan 2026 00:00:00 GMT");
    const TUESDAY: Option<&str> = Some("Tue, 06 Jan 2026 00:00:00 GMT");

    #[test]
    fn states_agree_by_length_and_strong_validator() {
        let cases = [
            (generation(1, Some("\"a\""), MONDAY), generation(1, Some("\"a\""), TUESDAY), true),
            (generation(1, Some("\"a\""), MONDAY), generation(1, Some("\"b\""), MONDAY), false),
            (generation(1, Some("\"a\""), None), generation(2, Some("\"a\""), None), false),
            (generation(1, None, MONDAY), generation(1, None, MONDAY), true),
            (generation(1, None, MONDAY), generation(1, None, TUESDAY), false),
            (generation(1, None, MONDAY), generation(1, None, None), false),
            (generation(1, None, None), generation(1, None, None), false),
            (generation(1, Some("W/\"a\""), None), generation(1, Some("W/\"a\""), None), false),
            (generation(1, Some("W/\"a\""), MONDAY), generation(1, Some("W/\"a\""), MONDAY), true),
            (generation(1, Some("\"a\""), MONDAY), generation(1, None, MONDAY), false),
            (generation(1, Some("W/\"a\""), MONDAY), generation(1, Some("W/\"a\""), TUESDAY), false),
        ];
        for (left, right, expected) in cases {
            assert_eq!(left.agrees_with(&right), expected, "{left:?} {right:?}");
            assert_eq!(right.agrees_with(&left), expected, "{right:?} {left:?}");
        }
    }

    #[test]
    fn a_state_is_named_exactly_when_it_agrees_with_itself() {
        for etag in [None, Some("\"a\""), Some("W/\"a\""), Some("\"a"), Some("\"")] {
            for date in [None, MONDAY] {
                let state = generation(1, etag, date);
                assert_eq!(state.is_named(), state.agrees_with(&state), "{state:?}");
            }
        }
    }

    #[test]
    fn if_range_needs_a_strong_tag_or_the_exact_date() {
        let strong = generation(1, Some("\"a\""), MONDAY);
        let weak = generation(1, Some("W/\"a\""), None);
        let cases = [
            (&strong, "\"a\"", true),
            (&strong, " \"a\" ", true),
            (&strong, "\"b\"", false),
            (&strong, "W/\"a\"", false),
            (&weak, "W/\"a\"", false),
            (&strong, "Mon, 05 Jan 2026 00:00:00 GMT", true),
            (&strong, "Tue, 06 Jan 2026 00:00:00 GMT", false),
            (&weak, "", false),
        ];
        for (state, value, expected) in cases {
            assert_eq!(state.satisfies_if_range(value), expected, "{value} {state:?}");
        }
    }
}
