//! From configuration to the types that the parts work with.

mod class_rules;
mod policy;

use std::path::PathBuf;

use connected_cache_config::{self as config, ScheduledCap, TimeOfDay};
use connected_cache_core::{
    AllowList, AllowedOrigin, BandwidthLimits, BandwidthPlan, BitRate, ContentClass, OriginPatternError,
    QueryRule, Schedule,
};
use connected_cache_store::VolumeOptions;
use connected_cache_wire::delivery_optimization::OriginName;
use jiff::civil;

pub(crate) use class_rules::RulesByClass;
pub(crate) use policy::{policy, shares};

/// The allow-list of a configuration.
pub(crate) fn allow_list(content: &config::Content) -> Result<AllowList, OriginPatternError> {
    let mut extra = Vec::new();
    for origin in &content.extra_origins {
        extra.push(AllowedOrigin {
            pattern: origin.name().parse()?,
            port: origin.port(),
            class: origin.class.map_or(ContentClass::Other, class_of),
            // Validation has seen that it is a name.
            alias: origin.alias.as_deref().and_then(|alias| OriginName::parse(alias).ok()),
        });
    }
    let denied = content.deny_origins.iter().map(|pattern| pattern.parse()).collect::<Result<_, _>>()?;
    Ok(AllowList::new(extra, denied))
}

pub(crate) const fn query_rule(content: &config::Content) -> QueryRule {
    match content.key.ignore_query {
        config::IgnoreQuery::Auto => QueryRule::DropSignatures,
        config::IgnoreQuery::Never => QueryRule::KeepAll,
    }
}

/// Where what the control plane said survives restarts: on the first volume, beside what the store has there.
pub(crate) fn control_plane_file(storage: &config::Storage) -> PathBuf {
    storage.volumes.first().map_or_else(PathBuf::new, |volume| volume.path.join("control-plane.json"))
}

/// The caps of every time of the day; an error for a zone that nobody knows here.
pub(crate) fn bandwidth_plan(bandwidth: &config::Bandwidth) -> Result<BandwidthPlan, jiff::Error> {
    let rate = |megabits: Option<u32>| BitRate::from_megabits(megabits?);
    let limits_of = |schedule: Option<&config::BandwidthSchedule>| {
        let cap = |instead: Option<ScheduledCap>, general| rate(instead.unwrap_or_default().or(general));
        BandwidthLimits {
            upstream: cap(schedule.map(|schedule| schedule.upstream_mbps), bandwidth.upstream_mbps),
            client: cap(schedule.map(|schedule| schedule.client_mbps), bandwidth.client_mbps),
            per_client: cap(schedule.map(|schedule| schedule.per_client_mbps), bandwidth.per_client_mbps),
        }
    };
    let time =
        |time: TimeOfDay| civil::Time::new(time.hour().cast_signed(), time.minute().cast_signed(), 0, 0);
    let schedule = |schedule: &config::BandwidthSchedule| {
        Ok(Schedule {
            name: schedule.name.clone(),
            zone: schedule.zone()?,
            days: schedule.days.iter().map(|day| weekday_of(*day)).collect(),
            from: time(schedule.from)?,
            to: time(schedule.to)?,
            limits: limits_of(Some(schedule)),
        })
    };
    let schedules: Result<_, jiff::Error> = bandwidth.schedules.iter().map(schedule).collect();
    Ok(BandwidthPlan::new(limits_of(None), schedules?))
}

const fn weekday_of(day: config::Weekday) -> civil::Weekday {
    match day {
        config::Weekday::Mon => civil::Weekday::Monday,
        config::Weekday::Tue => civil::Weekday::Tuesday,
        config::Weekday::Wed => civil::Weekday::Wednesday,
        config::Weekday::Thu => civil::Weekday::Thursday,
        config::Weekday::Fri => civil::Weekday::Friday,
        config::Weekday::Sat => civil::Weekday::Saturday,
        config::Weekday::Sun => civil::Weekday::Sunday,
    }
}

/// The volumes of a configuration.
pub(crate) fn volumes(storage: &config::Storage) -> Vec<VolumeOptions> {
    let options = |volume: &config::Volume| VolumeOptions {
        path: volume.path.clone(),
        limit: volume.limit.bytes(),
        min_free: storage.min_free.bytes(),
    };
    storage.volumes.iter().map(options).collect()
}

/// The least and the most memory that is taken without being told.
const MEMORY_BYTES: (u64, u64) = (64 << 20, 1 << 30);

/// Memory for hot objects and pieces in transit: configured, else a quarter of what the cgroup may use.
pub(crate) fn memory_bytes(storage: &config::Storage) -> u64 {
    let (least, most) = MEMORY_BYTES;
    let by_system = || cgroup_limit().map_or(least * 4, |limit| limit / 4).clamp(least, most);
    storage.memory.map_or_else(by_system, config::ByteSize::bytes)
}

/// `None` = there is no limit, or none that can be read.
fn cgroup_limit() -> Option<u64> {
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
}

/// Name of this pod: configured, else the host's.
pub(crate) fn node_name(node: &config::Node) -> String {
    node.name.clone().unwrap_or_else(|| {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if host.is_empty() { "localhost".to_owned() } else { host }
    })
}

/// Most connections unless configured: each may hold some hundred KiB of a slow client's reply, and a small pod has 1 GiB.
const MAX_DEFAULT_CONNECTIONS: usize = 4096;

/// Content connections at once: configured, else by the files that may be open.
pub(crate) fn connections(limits: &config::Limits) -> usize {
    let by_system = || {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        by_file_limit(limit.unwrap_or(65_536))
    };
    limits.connections.map_or_else(by_system, |count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// Three quarters of the files that may be open, within reason.
fn by_file_limit(open_files: u64) -> usize {
    usize::try_from(open_files / 4 * 3).unwrap_or(usize::MAX).clamp(64, MAX_DEFAULT_CONNECTIONS)
}

const fn class_of(class: config::ContentClass) -> ContentClass {
    match class {
        config::ContentClass::WindowsUpdate => ContentClass::WindowsUpdate,
        config::ContentClass::Edge => ContentClass::Edge,
        config::ContentClass::Office => ContentClass::Office,
        config::ContentClass::Intune => ContentClass::Intune,
        config::ContentClass::Teams => ContentClass::Teams,
        config::ContentClass::Outlook => ContentClass::Outlook,
        config::ContentClass::Xbox => ContentClass::Xbox,
        config::ContentClass::DeviceUpdate => ContentClass::DeviceUpdate,
        config::ContentClass::Other => ContentClass::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_changes_the_caps_that_it_names() {
        let text = "bandwidth: {upstreamMbps: 50, clientMbps: 200, schedules: [{name: lessons, timeZone: Europe/Paris, \
                    days: [Mon], from: \"08:00\", to: \"17:00\", upstreamMbps: 10, perClientMbps: 5, clientMbps: null}]}";
        let plan = bandwidth_plan(&config::Config::from_yaml(text).unwrap().bandwidth).unwrap();
        let limits = |upstream, client, per_client| {
            let rate = |megabits: Option<u32>| BitRate::from_bits(u64::from(megabits?) * 1_000_000);
            BandwidthLimits { upstream: rate(upstream), client: rate(client), per_client: rate(per_client) }
        };
        // A Monday, at 07:59 and 08:00 in Paris.
        let at = |text: &str| plan.limits_at(text.parse().unwrap());
        assert_eq!(at("2026-01-19T06:59:00Z"), limits(Some(50), Some(200), None));
        assert_eq!(at("2026-01-19T07:00:00Z"), limits(Some(10), None, Some(5)));
    }

    #[test]
    fn the_default_of_connections_follows_the_file_limit_up_to_what_memory_bears() {
        for (open_files, connections) in [(10, 64), (1024, 768), (1 << 20, 4096), (u64::MAX, 4096)] {
            assert_eq!(by_file_limit(open_files), connections, "{open_files}");
        }
    }
}
