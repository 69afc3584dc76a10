//! Caps by time of the day. A schedule runs from one time on the clocks of its zone to another, so it is as long as those clocks
//! make it: an hour shorter or longer when they are changed meanwhile.

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, DateTime, Time, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};

use super::BandwidthLimits;

/// Days before a local date on which a schedule that still runs may have begun, and days after: clocks that are set back at
/// midnight show the old date again although the new one has begun.
const DAYS_BACK: i32 = 2;
const DAYS_ON: i32 = 1;
/// A schedule begins at least once in so many days.
const LONGEST_REST_DAYS: i32 = 8;

/// The caps of every instant.
#[derive(Clone, Debug)]
pub struct BandwidthPlan {
    general: BandwidthLimits,
    schedules: Vec<Schedule>,
}

/// Other caps at some time of the day.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// For people.
    pub name: String,
    /// Whose clocks count.
    pub zone: TimeZone,
    /// Days on which it begins; empty = every day.
    pub days: Vec<Weekday>,
    /// When it begins. Where the clocks skip this time, it begins at the skip; where they show it twice, at the first.
    pub from: Time,
    /// When it ends; at or before `from` = on the next day.
    pub to: Time,
    /// The caps while it runs.
    pub limits: BandwidthLimits,
}

impl BandwidthPlan {
    /// The first of the schedules that runs wins; while none does, the general caps hold.
    #[must_use]
    pub const fn new(general: BandwidthLimits, schedules: Vec<Schedule>) -> Self {
        Self { general, schedules }
    }

    /// Whether any cap is ever in force.
    #[must_use]
    pub fn has_caps(&self) -> bool {
        self.every_limits().any(|limits| limits != BandwidthLimits::default())
    }

    /// Whether a cap of what is fetched is ever in force.
    #[must_use]
    pub fn caps_upstream(&self) -> bool {
        self.every_limits().any(|limits| limits.upstream.is_some())
    }

    fn every_limits(&self) -> impl Iterator<Item = BandwidthLimits> {
        self.schedules.iter().map(|schedule| schedule.limits).chain([self.general])
    }

    /// The schedule that is in force at an instant; `None` = none of them, the general caps hold.
    #[must_use]
    pub fn schedule_at(&self, now: Timestamp) -> Option<&Schedule> {
        self.schedules.iter().find(|schedule| schedule.is_running(now))
    }

    /// The caps in force at an instant.
    #[must_use]
    pub fn limits_at(&self, now: Timestamp) -> BandwidthLimits {
        self.schedule_at(now).map_or(self.general, |schedule| schedule.limits)
    }

    /// The next instant, later than this one, at which a schedule begins or ends; `None` = never again.
    #[must_use]
    pub fn changes_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.schedules.iter().filter_map(|schedule| schedule.changes_after(now)).min()
    }
}

impl Schedule {
    fn is_running(&self, now: Timestamp) -> bool {
        self.runs_around(now, DAYS_ON).any(|(begins, ends)| begins <= now && now < ends)
    }

    fn changes_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.runs_around(now, LONGEST_REST_DAYS)
            // Clocks that skip all of it leave nothing.
            .filter(|(begins, ends)| begins < ends)
            .flat_map(|(begins, ends)| [begins, ends])
            .filter(|change| *change > now)
            .min()
    }

    /// Begin and end of every run that begins at most so many days after the local date.
    fn runs_around(&self, now: Timestamp, days_on: i32) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(now).date();
        (-DAYS_BACK..=days_on)
            .filter_map(move |days| today.checked_add(days.days()).ok())
            .filter(|date| self.days.is_empty() || self.days.contains(&date.weekday()))
            .filter_map(|date| self.run_of(date))
    }

    fn run_of(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        let last_date = if self.to <= self.from { date.tomorrow().ok()? } else { date };
        let begins = self.instant_of(date.to_datetime(self.from))?;
        Some((begins, self.instant_of(last_date.to_datetime(self.to))?))
    }

    /// When the clocks first show this time or a later one.
    fn instant_of(&self, local: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                offset.to_timestamp(local).ok()
            }
            AmbiguousOffset::Gap { after, .. } => {
                // Read by the clocks as they are after the skip, the time lies before it.
                let before_skip = after.to_timestamp(local).ok()?;
                self.zone.following(before_skip).next().map(|skip| skip.timestamp())
            }
        }
    }
}

#[cfg(test)]
mod tests;
