//! A time of the day as a clock on the wall shows it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Hour and minute, `00:00` to `23:59`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay {
    hour: u8,
    minute: u8,
}

/// Why a text is not a time of the day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a time of the day: write hours and minutes in quotes from 00:00 to 23:59, such as 08:00"
)]
pub struct ParseTimeOfDayError {
    /// What was written.
    text: String,
}

impl TimeOfDay {
    /// `00:00`.
    pub const MIDNIGHT: Self = Self { hour: 0, minute: 0 };

    /// 0 to 23.
    #[must_use]
    pub const fn hour(self) -> u8 {
        self.hour
    }

    /// 0 to 59.
    #[must_use]
    pub const fn minute(self) -> u8 {
        self.minute
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:02}:{:02}", self.hour, self.minute)
    }
}

impl FromStr for TimeOfDay {
    type Err = ParseTimeOfDayError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str, most: u8| {
            let is_two_digits = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|number| is_two_digits && *number <= most)
        };
        text.split_once(':')
            .and_then(|(hour, minute)| Some(Self { hour: number(hour, 23)?, minute: number(minute, 59)? }))
            .ok_or_else(|| ParseTimeOfDayError { text: text.to_owned() })
    }
}

impl Serialize for TimeOfDay {
    fn serialize<Target: Serializer>(&self, target: Target) -> Result<Target::Ok, Target::Error> {
        target.collect_str(self)
    }
}

impl<'text> Deserialize<'text> for TimeOfDay {
    fn deserialize<Source: Deserializer<'text>>(source: Source) -> Result<Self, Source::Error> {
        String::deserialize(source)?.parse().map_err(Source::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_and_minutes_are_read_and_printed() {
        for (text, hour, minute) in [("00:00", 0, 0), ("08:05", 8, 5), ("23:59", 23, 59)] {
            let time: TimeOfDay = text.parse().unwrap();
            assert_eq!((time.hour(), time.minute(), time.to_string().as_str()), (hour, minute, text));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", ":", "8:00", "24:00", "12:60", "+1:00", "12:00:00", "-1:30", "1200", "12:0a", "१२:००"]
        {
            assert!(text.parse::<TimeOfDay>().is_err(), "{text}");
        }
    }
}
