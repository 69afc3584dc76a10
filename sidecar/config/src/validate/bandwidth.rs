//! Rules of `bandwidth`.

use std::collections::BTreeSet;

use super::Problems;
use crate::{Bandwidth, BandwidthSchedule, ScheduledCap, spelling};

pub(super) fn check(bandwidth: &Bandwidth, problems: &mut Problems) {
    let caps = [bandwidth.upstream_mbps, bandwidth.client_mbps, bandwidth.per_client_mbps];
    check_caps("bandwidth", caps, problems);
    let mut names = BTreeSet::new();
    for (index, schedule) in bandwidth.schedules.iter().enumerate() {
        let entry = format!("bandwidth.schedules[{index}]");
        let name = &schedule.name;
        if name.trim().is_empty() {
            problems
                .add(format!("{entry}.name"), "is required: a name for people and the log, such as lessons");
        } else if !names.insert(name) {
            problems.add(format!("{entry}.name"), format!("`{name}` stands here twice, choose another name"));
        }
        check_schedule(&entry, schedule, problems);
    }
}

fn check_schedule(entry: &str, schedule: &BandwidthSchedule, problems: &mut Problems) {
    if schedule.from == schedule.to {
        let message = format!(
            "is the same as `from` ({}): write when it ends, or leave the schedule out and set the general caps",
            schedule.from
        );
        problems.add(format!("{entry}.to"), message);
    }
    if schedule.zone().is_err() {
        problems.add(format!("{entry}.timeZone"), unknown_zone(&schedule.time_zone));
    }
    let instead = |cap: ScheduledCap| cap.or(None);
    let caps =
        [instead(schedule.upstream_mbps), instead(schedule.client_mbps), instead(schedule.per_client_mbps)];
    check_caps(entry, caps, problems);
}

fn check_caps(section: &str, caps: [Option<u32>; 3], problems: &mut Problems) {
    for (key, cap) in ["upstreamMbps", "clientMbps", "perClientMbps"].into_iter().zip(caps) {
        if cap == Some(0) {
            problems.add(format!("{section}.{key}"), "must be at least 1; write null for no cap");
        }
    }
}

fn unknown_zone(name: &str) -> String {
    let known: Vec<String> = jiff::tz::db().available().map(|known| known.to_string()).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let guess =
        spelling::nearest(name, &known).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
    format!(
        "`{name}` is not a time zone{guess} (write a name of the IANA database such as Europe/Paris or UTC)"
    )
}
