//! `bandwidth`: how much of the links may be used, and when. Caps are kept by pacing; nobody is refused because of them.

mod time_of_day;

use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use time_of_day::{ParseTimeOfDayError, TimeOfDay};

/// Caps in Mbps: 1 Mbps = 1,000,000 bit/s of body bytes, integers from 1. `None` = no cap. A transfer is never held below
/// 8,000 bytes a second, even if all together then pass a cap, because slower caches are left by their clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Bandwidth {
    /// What is fetched from origins, all together.
    pub upstream_mbps: Option<u32>,
    /// What is sent to clients, all together.
    pub client_mbps: Option<u32>,
    /// What is sent to each client address; of IPv6 the /64 network counts as one.
    pub per_client_mbps: Option<u32>,
    /// Times with other caps. The first that is running wins.
    pub schedules: Vec<BandwidthSchedule>,
}

/// Other caps at some time of the day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct BandwidthSchedule {
    /// For people and the log; no two schedules have the same. Required.
    pub name: String,
    /// IANA name of the zone whose clocks count, such as Europe/Paris.
    pub time_zone: String,
    /// Days on which it begins; empty = every day.
    pub days: Vec<Weekday>,
    /// When it begins. A time that the clocks skip is the moment of the skip; one that they show twice is the first of the two.
    pub from: TimeOfDay,
    /// When it ends; at or before `from` = on the next day. Never equal to `from`.
    pub to: TimeOfDay,
    /// Replaces `bandwidth.upstreamMbps`.
    #[serde(skip_serializing_if = "ScheduledCap::is_general")]
    pub upstream_mbps: ScheduledCap,
    /// Replaces `bandwidth.clientMbps`.
    #[serde(skip_serializing_if = "ScheduledCap::is_general")]
    pub client_mbps: ScheduledCap,
    /// Replaces `bandwidth.perClientMbps`.
    #[serde(skip_serializing_if = "ScheduledCap::is_general")]
    pub per_client_mbps: ScheduledCap,
}

impl BandwidthSchedule {
    /// The zone of `time_zone`; an error for one that the IANA database does not have. UTC needs no database.
    pub fn zone(&self) -> Result<TimeZone, jiff::Error> {
        if self.time_zone == "UTC" {
            return Ok(TimeZone::UTC);
        }
        let zone = TimeZone::get(&self.time_zone)?;
        if zone.is_unknown() {
            return Err(jiff::Error::from_args(format_args!("{} stands for no zone", self.time_zone)));
        }
        Ok(zone)
    }
}

impl Default for BandwidthSchedule {
    /// An entry without a name or times is refused by validation.
    fn default() -> Self {
        Self {
            name: String::new(),
            time_zone: "UTC".to_owned(),
            days: Vec::new(),
            from: TimeOfDay::MIDNIGHT,
            to: TimeOfDay::MIDNIGHT,
            upstream_mbps: ScheduledCap::General,
            client_mbps: ScheduledCap::General,
            per_client_mbps: ScheduledCap::General,
        }
    }
}

/// What a schedule says of one cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScheduledCap {
    /// It does not name the key: the general value holds.
    #[default]
    General,
    /// It names the key with this value; `None` (null in the file) = no cap meanwhile.
    Instead(Option<u32>),
}

impl ScheduledCap {
    /// The cap while the schedule runs.
    #[must_use]
    pub const fn or(self, general: Option<u32>) -> Option<u32> {
        match self {
            Self::General => general,
            Self::Instead(cap) => cap,
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    const fn is_general(&self) -> bool {
        matches!(self, Self::General)
    }
}

impl Serialize for ScheduledCap {
    fn serialize<Target: Serializer>(&self, target: Target) -> Result<Target::Ok, Target::Error> {
        self.or(None).serialize(target)
    }
}

impl<'text> Deserialize<'text> for ScheduledCap {
    fn deserialize<Source: Deserializer<'text>>(source: Source) -> Result<Self, Source::Error> {
        Option::deserialize(source).map(Self::Instead)
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn problems(text: &str) -> Vec<(String, String)> {
        let error = Config::from_yaml(text).expect_err("this configuration has problems");
        error.problems.into_iter().map(|problem| (problem.path, problem.message)).collect()
    }

    #[test]
    fn each_key_may_stand_alone_and_is_in_effect() {
        for key in ["upstreamMbps", "clientMbps", "perClientMbps"] {
            let config = Config::from_yaml(&format!("bandwidth: {{{key}: 1}}")).unwrap();
            assert_ne!(config.bandwidth, Bandwidth::default(), "{key}");
            assert_eq!(config.not_in_effect(), Vec::<&str>::new(), "{key}");
        }
    }

    #[test]
    fn a_schedule_keeps_what_it_does_not_name_and_null_lifts_a_cap() {
        let text = "bandwidth:\n  upstreamMbps: 50\n  clientMbps: 200\n  schedules:\n  \
                    - {name: night, timeZone: Europe/Paris, days: [Fri, Sat], from: \"22:00\", to: 06:00, \
                    upstreamMbps: null, perClientMbps: 7}\n";
        let bandwidth = Config::from_yaml(text).unwrap().bandwidth;
        let night = &bandwidth.schedules[0];
        assert_eq!(night.days, [Weekday::Fri, Weekday::Sat]);
        assert_eq!((night.from.hour(), night.from.minute(), night.to.hour()), (22, 0, 6));
        assert_eq!(night.upstream_mbps.or(bandwidth.upstream_mbps), None);
        assert_eq!(night.client_mbps.or(bandwidth.client_mbps), Some(200));
        assert_eq!(night.per_client_mbps.or(bandwidth.per_client_mbps), Some(7));
    }

    #[test]
    fn what_can_t_be_kept_is_refused_by_path_all_at_once() {
        let found = problems(
            "bandwidth:\n  clientMbps: 0\n  schedules:\n  - {name: a, from: \"08:00\", to: \"08:00\"}\n  \
             - {name: a, to: \"01:00\", upstreamMbps: 0}\n  - {to: \"01:00\"}\n  \
             - {name: b, to: \"01:00\", timeZone: Europe/Pari}\n",
        );
        let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        let expected = [
            "bandwidth.clientMbps",
            "bandwidth.schedules[0].to",
            "bandwidth.schedules[1].name",
            "bandwidth.schedules[1].upstreamMbps",
            "bandwidth.schedules[2].name",
            "bandwidth.schedules[3].timeZone",
        ];
        assert_eq!(paths, expected, "{found:?}");
        assert!(found[5].1.contains("did you mean `Europe/Paris`?"), "{found:?}");
    }

    #[test]
    fn zones_are_those_of_the_iana_database() {
        for zone in ["UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu"] {
            let text = format!("bandwidth: {{schedules: [{{name: a, to: \"01:00\", timeZone: {zone}}}]}}");
            assert!(Config::from_yaml(&text).is_ok(), "{zone}");
        }
        for zone in ["CET-1CEST", "+01:00", "Etc/Unknown", "\"\"", "../etc/passwd", "Mars/Olympus"] {
            let found = problems(&format!(
                "bandwidth: {{schedules: [{{name: a, to: \"01:00\", timeZone: {zone}}}]}}"
            ));
            assert_eq!(found[0].0, "bandwidth.schedules[0].timeZone", "{zone}");
            assert!(found[0].1.contains("Europe/Paris"), "{found:?}");
        }
    }

    #[test]
    fn zones_need_no_files_of_the_system() {
        let bundled = jiff::tz::TimeZoneDatabase::bundled();
        for zone in ["UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu"] {
            assert!(bundled.get(zone).is_ok(), "{zone}");
        }
    }

    #[test]
    fn wrong_types_and_unknown_keys_are_named_inside_the_entry() {
        let found = problems(
            "bandwidth:\n  upstreamMbps: fast\n  schedules:\n  - {name: a, to: \"25:00\", days: [Monday]}\n  \
             - {name: b, to: \"01:00\", upstream: 5}\n",
        );
        let paths: std::collections::BTreeSet<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        let expected = [
            "bandwidth.schedules[0].days",
            "bandwidth.schedules[0].to",
            "bandwidth.schedules[1].upstream",
            "bandwidth.upstreamMbps",
        ];
        assert_eq!(paths, expected.into(), "{found:?}");
        let of_time = found.iter().filter(|(path, _)| path == "bandwidth.schedules[0].to");
        let messages: Vec<&str> = of_time.map(|(_, message)| message.as_str()).collect();
        assert!(messages.len() == 1 && messages[0].contains("such as 08:00"), "{found:?}");
    }

    #[test]
    fn schedules_survive_printing() {
        let text = "bandwidth: {schedules: [{name: a, days: [Sun], from: \"00:05\", to: \"23:59\", clientMbps: null, \
                    upstreamMbps: 3}]}";
        let config = Config::from_yaml(text).unwrap();
        let printed = config.to_yaml();
        assert_eq!(Config::from_yaml(&printed), Ok(config), "{printed}");
    }
}
