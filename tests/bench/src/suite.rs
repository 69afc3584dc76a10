//! The measurements. A suite starts its servers, alternates between them in every round, and gives the figures of its rows.

mod cold;
mod collapse;
mod hot;
mod idle;
mod miss;
mod mixed;
mod sibling;
mod small;
mod start;
mod swarm;
mod swarm_idle;
mod tls;
mod verified;
mod whole_miss;

use anyhow::Result;

use crate::figure::{Figure, Figures};
use crate::goals::Goal;
use crate::interrupt::{self, Interrupted};
use crate::lab::Lab;

pub(crate) use start::{open_store, write_index};
pub(crate) use swarm::{fetch_swarm, serve_swarm};

/// What is measured together, in the order of running: what reads caches as misses wrote them comes before what evicts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Suite {
    Hot,
    Small,
    Tls,
    Idle,
    Cold,
    Mixed,
    Miss,
    WholeMiss,
    Collapse,
    GroupCommit,
    Verified,
    Sibling,
    Swarm,
    SwarmIdle,
    Start,
}

/// Something can't be measured here, which is nobody's failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unmeasurable(pub(crate) String);

/// Runs the suites of these rows; gives a figure for each.
pub(crate) fn run(lab: &mut Lab, goals: &[&'static Goal]) -> Result<Figures> {
    let mut suites: Vec<Suite> = goals.iter().map(|goal| goal.suite).collect();
    suites.sort_unstable();
    suites.dedup();
    let mut figures = Figures::new();
    for suite in suites {
        let missing = match suite.run(lab) {
            Ok(measured) => {
                figures.extend(measured);
                Figure::Failed("nothing was measured".to_owned())
            }
            Err(error) if error.is::<Interrupted>() => return Err(error),
            // Whatever failed while somebody ended us.
            Err(_) if interrupt::check().is_err() => return Err(Interrupted.into()),
            Err(error) => match error.downcast_ref::<Unmeasurable>() {
                Some(reason) => Figure::Missing(reason.to_string()),
                None => Figure::Failed(format!("{error:#}")),
            },
        };
        for goal in goals.iter().filter(|goal| goal.suite == suite) {
            figures.entry(goal.id).or_insert_with(|| missing.clone());
        }
    }
    Ok(figures)
}

impl Suite {
    fn run(self, lab: &mut Lab) -> Result<Figures> {
        match self {
            Self::Hot => hot::run(lab),
            Self::Small => small::run(lab),
            Self::Tls => tls::run(lab),
            Self::Idle => idle::run(lab),
            Self::Cold => cold::run(lab),
            Self::Mixed => mixed::run(lab),
            Self::Miss => miss::run(lab),
            Self::WholeMiss => whole_miss::run(lab),
            Self::Collapse => collapse::run(lab),
            Self::GroupCommit => miss::run_group_commit(lab),
            Self::Verified => verified::run(lab),
            Self::Sibling => sibling::run(lab),
            Self::Swarm => swarm::run(lab),
            Self::SwarmIdle => swarm_idle::run(lab),
            Self::Start => start::run(lab),
        }
    }
}

/// 10^6 bytes per second.
fn megabytes_per_second(figure: f64) -> String {
    format!("{:.0} MB/s", figure / 1e6)
}

/// Processor seconds per 10^9 bytes.
fn seconds_per_gigabyte(figure: f64) -> String {
    format!("{figure:.4} s/GB")
}

/// Replies per second.
fn per_second(figure: f64) -> String {
    format!("{figure:.0}/s")
}

/// Seconds, for people.
fn milliseconds(figure: f64) -> String {
    format!("{:.1} ms", figure * 1e3)
}
