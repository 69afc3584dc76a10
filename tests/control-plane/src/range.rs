//! Byte ranges (RFC 9110 section 14): which part of an object a `Range` header asks for.

/// A part of an object: offset of its first byte, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub first: u64,
    /// Number of bytes.
    pub length: u64,
}

/// What to send for a `Range` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeAnswer {
    /// 200 and everything: no range, one that can't be read, another unit, or several ranges.
    Whole,
    /// 206 and this part, which is never empty.
    Part(Span),
    /// 416: readable, but nothing of it exists.
    Unsatisfiable,
}

/// Decides for an object of `length` bytes.
#[must_use]
pub fn answer(header: Option<&str>, length: u64) -> RangeAnswer {
    let Some((first, last)) = header.and_then(specification) else {
        return RangeAnswer::Whole;
    };
    let span = match (first, last) {
        (None, Some(suffix)) => {
            let part = suffix.min(length);
            Span { first: length - part, length: part }
        }
        (Some(first), _) if first >= length => Span { first: 0, length: 0 },
        (Some(first), last) => {
            let end = last.map_or(length, |last| last.saturating_add(1).min(length));
            Span { first, length: end - first }
        }
        (None, None) => return RangeAnswer::Whole,
    };
    if span.length == 0 { RangeAnswer::Unsatisfiable } else { RangeAnswer::Part(span) }
}

/// The two sides of a single well-formed range; `None` for everything a server has to ignore.
fn specification(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, set) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let sides = (side(first).ok()?, side(last).ok()?);
    match sides {
        (None, None) => None,
        (Some(first), Some(last)) if last < first => None,
        _ => Some(sides),
    }
}

/// One side of a range, which may be empty. Numbers beyond 64 bits are as good as the largest one: no object is that
/// long.
fn side(text: &str) -> Result<Option<u64>, NotANumber> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotANumber);
    }
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}

struct NotANumber;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(first: u64, length: u64) -> RangeAnswer {
        RangeAnswer::Part(Span { first, length })
    }

    #[test]
    fn the_forms_of_the_specification_are_answered() {
        // RFC 9110 14.1.2, its own examples for an object of 10,000 bytes.
        assert_eq!(answer(Some("bytes=0-499"), 10_000), part(0, 500));
        assert_eq!(answer(Some("bytes=500-999"), 10_000), part(500, 500));
        assert_eq!(answer(Some("bytes=-500"), 10_000), part(9_500, 500));
        assert_eq!(answer(Some("bytes=9500-"), 10_000), part(9_500, 500));
        assert_eq!(answer(Some("bytes=0-0,-1"), 10_000), RangeAnswer::Whole);
    }

    #[test]
    fn edges_are_exact() {
        assert_eq!(answer(None, 10), RangeAnswer::Whole);
        assert_eq!(answer(Some("bytes=9-9"), 10), part(9, 1));
        assert_eq!(answer(Some("bytes=9-10"), 10), part(9, 1));
        assert_eq!(answer(Some("bytes=10-10"), 10), RangeAnswer::Unsatisfiable);
        assert_eq!(answer(Some("bytes=-0"), 10), RangeAnswer::Unsatisfiable);
        assert_eq!(answer(Some("bytes=-11"), 10), part(0, 10));
        assert_eq!(answer(Some("bytes=0-"), 0), RangeAnswer::Unsatisfiable);
        assert_eq!(answer(Some("bytes=-1"), 0), RangeAnswer::Unsatisfiable);
        assert_eq!(answer(Some("bytes=0-18446744073709551615"), 10), part(0, 10));
        assert_eq!(answer(Some("bytes=0-99999999999999999999999"), 10), part(0, 10));
        assert_eq!(answer(Some("bytes=0-18446744073709551615"), u64::MAX), part(0, u64::MAX));
    }

    #[test]
    fn unreadable_ranges_are_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1 -2",
            "items=0-1",
        ] {
            assert_eq!(answer(Some(header), 10), RangeAnswer::Whole, "{header:?}");
        }
    }

    proptest! {
        /// The model is a filter over every position, with no arithmetic to get wrong.
        #[test]
        fn a_part_covers_exactly_the_positions_asked_for(
            length in 0_u64..40, first in proptest::option::of(0_u64..50), last in proptest::option::of(0_u64..50)
        ) {
            let header = format!(
                "bytes={}-{}",
                first.map(|value| value.to_string()).unwrap_or_default(),
                last.map(|value| value.to_string()).unwrap_or_default(),
            );
            let wanted: Vec<u64> = (0..length)
                .filter(|position| match (first, last) {
                    (Some(first), Some(last)) => first <= *position && *position <= last,
                    (Some(first), None) => first <= *position,
                    (None, Some(suffix)) => position + suffix >= length,
                    (None, None) => true,
                })
                .collect();
            let ignored = matches!((first, last), (None, None)) || matches!((first, last), (Some(a), Some(b)) if b < a);
            match answer(Some(&header), length) {
                RangeAnswer::Whole => prop_assert!(ignored, "{} was ignored", header),
                RangeAnswer::Unsatisfiable => prop_assert!(!ignored && wanted.is_empty(), "{}", header),
                RangeAnswer::Part(span) => {
                    let covered: Vec<u64> = (span.first..span.first + span.length).collect();
                    prop_assert!(!ignored);
                    prop_assert_eq!(covered, wanted);
                }
            }
        }

        #[test]
        fn no_header_breaks_it(header in ".{0,40}", length in any::<u64>()) {
            if let RangeAnswer::Part(span) = answer(Some(&header), length) {
                prop_assert!(span.length > 0 && span.first.checked_add(span.length).is_some_and(|end| end <= length));
            }
        }
    }
}
