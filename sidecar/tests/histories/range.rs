//! Byte ranges (RFC 9110 14) read a second time, apart from the cache's own reader: what the origin and the checker go by.

use crate::object::Label;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Everything: no range, several, or none that can be read.
    Whole,
    /// Both included.
    FromTo(usize, usize),
    From(usize),
    Suffix(usize),
}

/// What that is of content of a certain length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// Both included.
    Bytes {
        first: usize,
        last: usize,
    },
    Outside,
}

impl Asked {
    pub(crate) fn parse(value: &str) -> Self {
        Self::parse_single(value).unwrap_or(Self::Whole)
    }

    fn parse_single(value: &str) -> Option<Self> {
        let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(first) || !digits(last) {
            return None;
        }
        match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => (first <= last).then_some(Self::FromTo(first, last)),
            (Ok(first), Err(_)) => Some(Self::From(first)),
            (Err(_), Ok(count)) => Some(Self::Suffix(count)),
            (Err(_), Err(_)) => None,
        }
    }
}

/// An empty content has no range; the last n bytes of it are all that there are.
pub(crate) fn select(asked: Asked, length: usize) -> Part {
    match asked {
        Asked::Whole => Part::Whole,
        Asked::Suffix(1..) if length == 0 => Part::Whole,
        Asked::Suffix(0) => Part::Outside,
        Asked::Suffix(count) => Part::Bytes { first: length.saturating_sub(count), last: length - 1 },
        Asked::From(first) | Asked::FromTo(first, _) if first >= length => Part::Outside,
        Asked::From(first) => Part::Bytes { first, last: length - 1 },
        Asked::FromTo(first, last) => Part::Bytes { first, last: last.min(length - 1) },
    }
}

impl Label {
    /// RFC 9110 13.1.5: a strong entity tag, or exactly the date.
    pub(crate) fn satisfies_if_range(&self, value: &str) -> bool {
        let is_tag = value.starts_with('"') || value.starts_with("W/");
        if is_tag {
            value.starts_with('"') && self.etag.as_deref() == Some(value)
        } else {
            self.last_modified.as_deref() == Some(value)
        }
    }
}
