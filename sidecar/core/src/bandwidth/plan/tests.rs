//! Known answers: the offsets are those that the zones publish for 2026.

use jiff::civil::time;
use proptest::prelude::*;

use super::*;
use crate::BitRate;

fn cap(megabits: u32) -> BandwidthLimits {
    BandwidthLimits { upstream: BitRate::from_megabits(megabits), ..BandwidthLimits::default() }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn schedule(zone: &str, days: &[Weekday], from: Time, to: Time, megabits: u32) -> Schedule {
    let name = zone.to_owned();
    Schedule {
        name,
        zone: TimeZone::get(zone).unwrap(),
        days: days.to_vec(),
        from,
        to,
        limits: cap(megabits),
    }
}

/// A plan of one schedule with cap 1 over a general cap of 9.
fn plan(zone: &str, days: &[Weekday], from: (i8, i8), to: (i8, i8)) -> BandwidthPlan {
    let (from, to) = (time(from.0, from.1, 0, 0), time(to.0, to.1, 0, 0));
    BandwidthPlan::new(cap(9), vec![schedule(zone, days, from, to, 1)])
}

fn runs(plan: &BandwidthPlan, instant: &str) -> bool {
    plan.limits_at(at(instant)) == cap(1)
}

/// The next changes after an instant, in order.
fn changes(plan: &BandwidthPlan, after: &str, count: usize) -> Vec<String> {
    let first = plan.changes_after(at(after));
    std::iter::successors(first, |change| plan.changes_after(*change))
        .take(count)
        .map(|change| change.to_string())
        .collect()
}

const WORKDAYS: [Weekday; 5] =
    [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday];

#[test]
fn lessons_run_on_workdays_by_the_clocks_of_their_zone() {
    let plan = plan("Europe/Paris", &WORKDAYS, (8, 0), (17, 0));
    // Friday 16 January 2026, UTC+1.
    assert!(!runs(&plan, "2026-01-16T06:59:59.999Z") && runs(&plan, "2026-01-16T07:00:00Z"));
    assert!(runs(&plan, "2026-01-16T15:59:59.999Z") && !runs(&plan, "2026-01-16T16:00:00Z"));
    assert!(!runs(&plan, "2026-01-17T10:00:00Z"), "Saturday");
    // Summer: UTC+2.
    assert!(runs(&plan, "2026-07-15T06:00:00Z") && !runs(&plan, "2026-07-15T15:00:00Z"));
    let expected = ["2026-01-16T16:00:00Z", "2026-01-19T07:00:00Z", "2026-01-19T16:00:00Z"];
    assert_eq!(changes(&plan, "2026-01-16T07:00:00Z", 3), expected);
}

#[test]
fn a_night_belongs_to_the_day_it_begins_on() {
    let plan = plan("UTC", &[Weekday::Saturday], (22, 0), (6, 0));
    // Saturday 17 January 2026.
    assert!(!runs(&plan, "2026-01-17T03:00:00Z"), "the night from Friday");
    assert!(runs(&plan, "2026-01-17T22:00:00Z") && runs(&plan, "2026-01-18T05:59:59Z"));
    assert!(!runs(&plan, "2026-01-18T06:00:00Z") && !runs(&plan, "2026-01-18T23:00:00Z"));
    let expected = ["2026-01-17T22:00:00Z", "2026-01-18T06:00:00Z", "2026-01-24T22:00:00Z"];
    assert_eq!(changes(&plan, "2026-01-12T00:00:00Z", 3), expected);
}

#[test]
fn a_night_is_an_hour_shorter_when_the_clocks_go_forward_and_longer_when_they_go_back() {
    // Paris: forward on 29 March 2026 at 01:00 UTC, back on 25 October at 01:00 UTC.
    let paris = plan("Europe/Paris", &[], (22, 0), (6, 0));
    assert_eq!(changes(&paris, "2026-03-28T12:00:00Z", 2), ["2026-03-28T21:00:00Z", "2026-03-29T04:00:00Z"]);
    assert_eq!(changes(&paris, "2026-10-24T12:00:00Z", 2), ["2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z"]);
    // New York: forward on 8 March 2026 at 07:00 UTC, back on 1 November at 06:00 UTC.
    let new_york = plan("America/New_York", &[], (22, 0), (6, 0));
    let expected = ["2026-03-08T03:00:00Z", "2026-03-08T10:00:00Z"];
    assert_eq!(changes(&new_york, "2026-03-07T20:00:00Z", 2), expected);
    let expected = ["2026-11-01T02:00:00Z", "2026-11-01T11:00:00Z"];
    assert_eq!(changes(&new_york, "2026-10-31T20:00:00Z", 2), expected);
    for instant in
        ["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]
    {
        assert!(runs(&paris, instant), "{instant}");
    }
}

#[test]
fn a_time_that_the_clocks_skip_is_the_moment_of_the_skip() {
    let begins_in_it = plan("Europe/Paris", &[], (2, 30), (5, 0));
    let expected = ["2026-03-29T01:00:00Z", "2026-03-29T03:00:00Z"];
    assert_eq!(changes(&begins_in_it, "2026-03-28T12:00:00Z", 2), expected);
    let ends_in_it = plan("Europe/Paris", &[], (1, 0), (2, 30));
    let expected = ["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"];
    assert_eq!(changes(&ends_in_it, "2026-03-28T12:00:00Z", 2), expected);
    // All of it is skipped: the next one is on the day after.
    let inside = plan("Europe/Paris", &[], (2, 10), (2, 50));
    assert_eq!(changes(&inside, "2026-03-28T12:00:00Z", 1), ["2026-03-30T00:10:00Z"]);
    assert!(!runs(&inside, "2026-03-29T01:00:00Z"));
}

#[test]
fn a_time_that_the_clocks_show_twice_is_the_first_of_the_two() {
    let before = plan("Europe/Paris", &[], (22, 0), (2, 30));
    assert_eq!(changes(&before, "2026-10-24T12:00:00Z", 2), ["2026-10-24T20:00:00Z", "2026-10-25T00:30:00Z"]);
    assert!(!runs(&before, "2026-10-25T01:15:00Z"), "it does not begin again");
    let after = plan("Europe/Paris", &[], (2, 30), (4, 0));
    assert_eq!(changes(&after, "2026-10-24T12:00:00Z", 2), ["2026-10-25T00:30:00Z", "2026-10-25T03:00:00Z"]);
}

#[test]
fn clocks_that_go_back_over_midnight_confuse_nothing() {
    // St John's went from 00:01 back to 23:01 on 7 November 2010, 02:31 UTC.
    let plan = plan("America/St_Johns", &[], (0, 0), (1, 0));
    let expected = ["2010-11-07T02:30:00Z", "2010-11-07T04:30:00Z"];
    assert_eq!(changes(&plan, "2010-11-06T12:00:00Z", 2), expected);
    for instant in ["2010-11-07T02:30:30Z", "2010-11-07T03:00:00Z", "2010-11-07T04:00:00Z"] {
        assert!(runs(&plan, instant), "{instant}");
    }
}

#[test]
fn the_first_schedule_that_runs_wins() {
    let (from, to) = (time(8, 0, 0, 0), time(17, 0, 0, 0));
    let lunch = schedule("UTC", &[], time(12, 0, 0, 0), time(13, 0, 0, 0), 2);
    let plan = BandwidthPlan::new(cap(9), vec![lunch, schedule("UTC", &[], from, to, 1)]);
    for (hour, megabits) in [(7, 9), (8, 1), (12, 2), (13, 1), (17, 9)] {
        assert_eq!(plan.limits_at(at(&format!("2026-01-16T{hour:02}:00:00Z"))), cap(megabits), "{hour}");
    }
    assert_eq!(changes(&plan, "2026-01-16T08:00:00Z", 2), ["2026-01-16T12:00:00Z", "2026-01-16T13:00:00Z"]);
}

#[test]
fn without_schedules_nothing_ever_changes() {
    let plan = BandwidthPlan::new(cap(3), Vec::new());
    assert_eq!((plan.limits_at(Timestamp::MAX), plan.changes_after(Timestamp::MIN)), (cap(3), None));
    assert!(plan.has_caps() && plan.caps_upstream());
    assert!(!BandwidthPlan::new(BandwidthLimits::default(), Vec::new()).has_caps());
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    let plan = plan("Europe/Paris", &[], (22, 0), (6, 0));
    for instant in [Timestamp::MIN, Timestamp::MAX] {
        let _ = (plan.limits_at(instant), plan.changes_after(instant));
    }
}

proptest! {
    /// Between two changes the caps are the same at every instant, and each change is one of what runs.
    #[test]
    fn caps_change_only_at_the_announced_instants(
        second in 1_767_225_600_i64..1_830_297_600,
        later in 0_i64..700_000,
        (from, to) in (0_i8..24, 0_i8..24).prop_filter("equal", |(from, to)| from != to),
        zone in prop_oneof![Just("Europe/Paris"), Just("America/New_York"), Just("Australia/Lord_Howe"), Just("UTC")],
        days in proptest::sample::subsequence(WORKDAYS.to_vec(), 0..=5),
    ) {
        let plan = plan(zone, &days, (from, 0), (to, 0));
        let now = Timestamp::from_second(second).unwrap();
        let change = plan.changes_after(now).unwrap();
        prop_assert!(change > now);
        let meanwhile = Timestamp::from_second((second + later).min(change.as_second() - 1).max(second)).unwrap();
        prop_assert_eq!(plan.limits_at(meanwhile), plan.limits_at(now));
        // One schedule alone: each of its changes shows.
        prop_assert_ne!(plan.limits_at(change), plan.limits_at(now));
    }
}
