//! A number of bytes as people write it: `512Mi`, `100Gi`, `10M` or a plain integer.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A size in bytes. Written with a suffix (`Ki` to `Ei` are powers of 1024, `k` to `E` powers of 1000) or as plain bytes;
/// printed with the suffix that gives the fewest digits and loses nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseByteSizeError {
    /// Neither digits nor digits with a known suffix.
    #[error(
        "`{text}` is not a size: write whole bytes or a whole number with one of Ki Mi Gi Ti Pi Ei k M G T P E, such as 100Gi"
    )]
    Malformed {
        /// What was written.
        text: String,
    },
    /// More than 2^64 - 1 bytes.
    #[error("`{text}` is larger than 2^64 - 1 bytes")]
    TooLarge {
        /// What was written.
        text: String,
    },
}

/// Binary ones first: on equal length the binary spelling wins.
const SUFFIXES: [(&str, u64); 12] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];

impl ByteSize {
    /// A size of so many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of so many mebibytes (1,048,576 bytes).
    #[must_use]
    pub const fn from_mebibytes(mebibytes: u32) -> Self {
        Self((mebibytes as u64) << 20)
    }

    /// A size of so many gibibytes (1,073,741,824 bytes).
    #[must_use]
    pub const fn from_gibibytes(gibibytes: u32) -> Self {
        Self((gibibytes as u64) << 30)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let best = SUFFIXES
            .iter()
            .filter(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit))
            .min_by_key(|(_, unit)| (self.0 / unit).to_string().len());
        match best {
            Some((suffix, unit)) => write!(formatter, "{}{suffix}", self.0 / unit),
            None => write!(formatter, "{}", self.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits_end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
        let (digits, suffix) = text.split_at(digits_end);
        let unit = match suffix {
            "" => Some(1),
            "K" => Some(1_000),
            _ => SUFFIXES.iter().find(|(name, _)| *name == suffix).map(|(_, unit)| *unit),
        };
        let Some(unit) = unit.filter(|_| !digits.is_empty()) else {
            return Err(ParseByteSizeError::Malformed { text: text.to_owned() });
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .map(Self)
            .ok_or_else(|| ParseByteSizeError::TooLarge { text: text.to_owned() })
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl de::Visitor<'_> for SizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a size such as 100Gi, 10M or a whole number of bytes")
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(bytes))
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
        u64::try_from(bytes).map(ByteSize).map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn suffixes_are_powers_of_1024_and_of_1000() {
        let cases = [
            ("0", 0),
            ("1", 1),
            ("512Mi", 536_870_912),
            ("100Gi", 107_374_182_400),
            ("10M", 10_000_000),
            ("3k", 3_000),
            ("3K", 3_000),
            ("15Ei", 17_293_822_569_102_704_640),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize::from_bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "Gi", "-1", "1.5Gi", "10 Gi", "10GiB", "10gi", "0x10", "+5"] {
            assert!(
                matches!(text.parse::<ByteSize>(), Err(ParseByteSizeError::Malformed { .. })),
                "{text} was accepted"
            );
        }
        for text in ["16Ei", "18446744073709551616", "99999999999999999999999Gi"] {
            assert!(matches!(text.parse::<ByteSize>(), Err(ParseByteSizeError::TooLarge { .. })), "{text}");
        }
    }

    #[test]
    fn printed_with_the_suffix_that_gives_fewest_digits() {
        let cases = [
            (0, "0"),
            (107_374_182_400, "100Gi"),
            (10_000_000, "10M"),
            (1_048_577, "1048577"),
            (1_024_000, "1000Ki"),
            (67_108_864, "64Mi"),
        ];
        for (bytes, text) in cases {
            assert_eq!(ByteSize::from_bytes(bytes).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(bytes: u64) {
            prop_assert_eq!(ByteSize::from_bytes(bytes).to_string().parse(), Ok(ByteSize::from_bytes(bytes)));
        }

        #[test]
        fn any_text_is_a_size_or_an_error(text: String) {
            let _ = text.parse::<ByteSize>();
        }
    }
}
