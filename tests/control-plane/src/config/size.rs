//! Byte counts as people write them: a plain number, or a text with a unit as Kubernetes spells it.

use serde::{Deserialize, Deserializer};

/// The text names no byte count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no size: write bytes as digits, optionally followed by k, M, G, T, Ki, Mi, Gi or Ti")]
pub struct ParseSizeError {
    text: String,
}

/// Bytes named by `text`: `64Mi` is 67,108,864 and `1M` is 1,000,000.
pub fn parse_size(text: &str) -> Result<u64, ParseSizeError> {
    let refused = || ParseSizeError { text: text.to_owned() };
    let digits_end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(refused()),
    };
    digits.parse::<u64>().ok().and_then(|count| count.checked_mul(factor)).ok_or_else(refused)
}

/// A byte count in a configuration file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size(pub(super) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a byte count such as 4096 or \"64Mi\"")]
        enum Spelling {
            Number(u64),
            Text(String),
        }
        match Spelling::deserialize(deserializer)? {
            Spelling::Number(bytes) => Ok(Self(bytes)),
            Spelling::Text(text) => parse_size(&text).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_of_kubernetes() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("64Mi"), Ok(67_108_864));
        assert_eq!(parse_size("3M"), Ok(3_000_000));
        assert_eq!(parse_size("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "Mi", "-1", "1.5Mi", "1 Mi", "1MiB", "18446744073709551616", "18014398509481984Ki"] {
            assert!(parse_size(text).is_err(), "{text:?} was taken");
        }
    }
}
