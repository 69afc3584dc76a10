//! Byte ranges (RFC 9110 14): our own small reader, because a wrong answer to a range corrupts clients' files (dossier
//! delivery-optimization 1.4). One range is honoured; several, or what is no range, count as no `Range` header at all.

use std::fmt;

/// Bytes `first` to `last`, both included: never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte, not below `first`.
    pub last: u64,
}

impl ByteRange {
    /// Number of bytes.
    #[must_use]
    pub const fn length(self) -> u64 {
        self.last - self.first + 1
    }

    /// The bytes that are in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Self { first, last })
    }
}

/// What a `Range` header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeHeader {
    /// No header, several ranges, another unit, or not a range: the whole content is asked for.
    Ignored,
    /// Exactly one range.
    Single(RangeSpec),
}

/// One range before the content's length is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `a-`: from an offset to the end.
    From(u64),
    /// `a-b`: both included; `b` may lie beyond the end.
    FromTo(u64, u64),
    /// `-n`: the last n bytes.
    Suffix(u64),
}

/// What a request selects of content of a known length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything: 200.
    Whole,
    /// A part, possibly all of it: 206.
    Part(ByteRange),
    /// Nothing: 416.
    Unsatisfiable,
}

impl RangeHeader {
    /// Reads a field value such as `bytes=0-1`.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        Self::parse_single(value).map_or(Self::Ignored, Self::Single)
    }

    fn parse_single(value: &str) -> Option<RangeSpec> {
        let (unit, set) = value.trim().split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        // Empty list elements are allowed by RFC 9110 5.6.1.2.
        let mut specs =
            set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty());
        let spec = specs.next()?;
        if specs.next().is_some() {
            return None;
        }
        match spec.split_once('-')? {
            ("", length) => Some(RangeSpec::Suffix(number(length)?)),
            (first, "") => Some(RangeSpec::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(RangeSpec::FromTo(first, last))
            }
        }
    }

    /// What it selects of content of this length.
    #[must_use]
    pub fn select(self, content_length_bytes: u64) -> Selection {
        let Self::Single(spec) = self else { return Selection::Whole };
        let part = |first, last| Selection::Part(ByteRange { first, last });
        match (spec, content_length_bytes.checked_sub(1)) {
            // RFC 9110 14.1.2: satisfiable, yet no Content-Range can say so; the whole is the same nothing.
            (RangeSpec::Suffix(1..), None) => Selection::Whole,
            (RangeSpec::Suffix(0), _) | (_, None) => Selection::Unsatisfiable,
            (RangeSpec::Suffix(length), Some(end)) => part(content_length_bytes.saturating_sub(length), end),
            (RangeSpec::From(first) | RangeSpec::FromTo(first, _), Some(end)) if first > end => {
                Selection::Unsatisfiable
            }
            (RangeSpec::From(first), Some(end)) => part(first, end),
            (RangeSpec::FromTo(first, last), Some(end)) => part(first, last.min(end)),
        }
    }
}

/// Digits only; what is larger than 2^64 - 1 is as good as 2^64 - 1, since no content is that long.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// A `Content-Range` field with a numeric total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentRange {
    /// `bytes a-b/total`.
    Part {
        /// The bytes in this message.
        range: ByteRange,
        /// Length of the whole content.
        total: u64,
    },
    /// `bytes */total`, of a 416.
    Unsatisfied {
        /// Length of the whole content.
        total: u64,
    },
}

impl ContentRange {
    /// Reads a field value; `None` = broken, of another unit, or without a numeric total.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, rest) = value.trim().split_once(' ')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, total) = rest.trim().split_once('/')?;
        let total = exact_number(total)?;
        if range == "*" {
            return Some(Self::Unsatisfied { total });
        }
        let (first, last) = range.split_once('-')?;
        let (first, last) = (exact_number(first)?, exact_number(last)?);
        (first <= last && last < total).then_some(Self::Part { range: ByteRange { first, last }, total })
    }
}

fn exact_number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for ContentRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part { range, total } => write!(formatter, "bytes {}-{}/{total}", range.first, range.last),
            Self::Unsatisfied { total } => write!(formatter, "bytes */{total}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn select(value: &str, length: u64) -> Selection {
        RangeHeader::parse(value).select(length)
    }

    fn part(first: u64, last: u64) -> Selection {
        Selection::Part(ByteRange { first, last })
    }

    #[test]
    fn single_ranges_select_their_bytes() {
        let cases = [
            ("bytes=0-1", 10, part(0, 1)),
            ("bytes=0-0", 1, part(0, 0)),
            ("BYTES = 2-3", 10, part(2, 3)),
            ("bytes=5-", 10, part(5, 9)),
            ("bytes=9-", 10, part(9, 9)),
            ("bytes=5-100", 10, part(5, 9)),
            ("bytes=0-99999999999999999999999", 10, part(0, 9)),
            ("bytes=-3", 10, part(7, 9)),
            ("bytes=-10", 10, part(0, 9)),
            ("bytes=-11", 10, part(0, 9)),
            ("bytes=-99999999999999999999999", 10, part(0, 9)),
            ("bytes=, 1-2 ,", 10, part(1, 2)),
            ("bytes=00-01", 10, part(0, 1)),
        ];
        for (value, length, expected) in cases {
            assert_eq!(select(value, length), expected, "{value} of {length}");
        }
    }

    #[test]
    fn ranges_outside_the_content_are_unsatisfiable() {
        let cases = [
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=-0", 10),
            ("bytes=0-0", 0),
            ("bytes=0-", 0),
            ("bytes=-0", 0),
        ];
        for (value, length) in cases {
            assert_eq!(select(value, length), Selection::Unsatisfiable, "{value} of {length}");
        }
        assert_eq!(select("bytes=99999999999999999999999-", u64::MAX), Selection::Unsatisfiable);
        assert_eq!(select("bytes=-5", 0), Selection::Whole);
    }

    #[test]
    fn several_ranges_and_what_is_none_are_ignored() {
        let cases = [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=2-1",
            "bytes=0-1,4-5",
            "bytes=0-1,",
            "items=0-1",
            "bytes=+1-2",
            "bytes=0x1-2",
            "bytes=1-2-3",
            "bytes=--1",
            "bytes 0-1",
            "bytes=1 -2",
        ];
        for value in cases.into_iter().filter(|value| *value != "bytes=0-1,") {
            assert_eq!(RangeHeader::parse(value), RangeHeader::Ignored, "{value}");
        }
        assert_eq!(RangeHeader::parse("bytes=0-1,"), RangeHeader::Single(RangeSpec::FromTo(0, 1)));
    }

    #[test]
    fn content_ranges_need_a_numeric_total_and_bytes_inside_it() {
        let part = ContentRange::Part { range: ByteRange { first: 0, last: 9 }, total: 25_006_511 };
        assert_eq!(ContentRange::parse("bytes 0-9/25006511"), Some(part));
        assert_eq!(part.to_string(), "bytes 0-9/25006511");
        assert_eq!(ContentRange::parse("bytes */7"), Some(ContentRange::Unsatisfied { total: 7 }));
        assert_eq!(ContentRange::Unsatisfied { total: 7 }.to_string(), "bytes */7");
        for value in [
            "bytes 0-9/*",
            "bytes 9-0/10",
            "bytes 0-10/10",
            "bytes 0-9",
            "items 0-9/10",
            "bytes -9/10",
            "bytes 0-/10",
            "bytes /",
            "",
        ] {
            assert_eq!(ContentRange::parse(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_range_or_ignored(value: String, length: u64) {
            let _ = RangeHeader::parse(&value).select(length);
            let _ = ContentRange::parse(&value);
        }

        #[test]
        fn what_is_selected_lies_inside_the_content(a: u64, b: u64, length: u64, form in 0u8..3) {
            let value = match form {
                0 => format!("bytes={a}-{b}"),
                1 => format!("bytes={a}-"),
                _ => format!("bytes=-{a}"),
            };
            if let Selection::Part(range) = select(&value, length) {
                prop_assert!(range.first <= range.last && range.last < length, "{value} of {length}: {range:?}");
            }
        }

        #[test]
        fn content_ranges_are_read_as_written(first: u64, more: u64, beyond in 1u64..1000) {
            let last = first.saturating_add(more).min(u64::MAX - 1000);
            prop_assume!(first <= last);
            let written = ContentRange::Part { range: ByteRange { first, last }, total: last + beyond };
            prop_assert_eq!(ContentRange::parse(&written.to_string()), Some(written));
        }
    }
}
