//! Sixty pods in three zones share what they fetch, with the real placement: an hour of clients at random pods who read contents
//! of very different popularity, while pods restart, come, go and crash, and while some of them see old members. No real time
//! passes. What it counts stands in `docs/sharing-at-scale.md`; what has to hold follows from the design, not from the count.
//!
//! `CONNECTEDCACHE_SHARING_SEED` runs another hour, `CONNECTEDCACHE_SHARING_PODS` more pods or fewer; `--nocapture` prints the table.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that meets the unexpected has failed")]

mod figures;
mod pod;
#[path = "../swarm/random.rs"]
mod random;
mod scenario;
mod simulation;

use figures::Figures;
use scenario::{Scenario, Trouble, ZONES};
use simulation::Simulation;

const SEED: &str = "CONNECTEDCACHE_SHARING_SEED";
const PODS: &str = "CONNECTEDCACHE_SHARING_PODS";

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

fn run(trouble: Trouble) -> Figures {
    let pods = usize::try_from(number_of(PODS).unwrap_or(60)).unwrap();
    let figures = Simulation::new(Scenario::of(number_of(SEED).unwrap_or(1), pods, trouble)).run();
    println!("{}", Figures::HEADER);
    println!("{}", figures.row(trouble));
    figures
}

/// What holds whatever happens.
fn holds_always(figures: &Figures) {
    assert!(figures.reads > 10_000, "too few reads to say anything: {figures:?}");
    // A pod asks the home of its zone, which asks the home of all: nobody forwards more.
    assert!(figures.most_hops <= 2, "{figures:?}");
    // These two, and two former homes that the last one asks; and as many again for each member that did not answer.
    let failures = figures.unanswered + figures.broken_off;
    assert!(figures.questions <= 4 * figures.misses + 4 * failures, "{figures:?}");
    // Never worse than each pod alone.
    assert!(figures.origin <= figures.alone, "{figures:?}");
    // The limits that the configuration sets for a pod's connections hold without closing one that is in use.
    assert!(figures.most_connections <= 200, "{figures:?}");
}

#[test]
fn while_nothing_happens_the_origin_gives_each_group_once() {
    let figures = run(Trouble::None);
    holds_always(&figures);
    assert_eq!(figures.origin, figures.groups);
    assert_eq!((figures.unanswered, figures.broken_off), (0, 0));
    // Each of the other two zones gets it once.
    assert!(figures.between_zones <= 2 * figures.groups, "{figures:?}");
    // The home gives a group to the pods of its zone and to the homes of the other two.
    let others = figures.pods.div_ceil(ZONES as u64) - 1 + 2;
    assert!(u64::from(figures.most_given_of_a_group) <= others, "{figures:?}");
}

#[test]
fn while_all_pods_restart_one_after_the_other_little_is_fetched_again() {
    let figures = run(Trouble::RollingRestart);
    holds_always(&figures);
    assert!(figures.restarts + 1 >= figures.pods, "{figures:?}");
    // Each group loses its home once, and has a new one that may fetch it again; who had the old home in mind fetches itself.
    assert!(figures.origin <= 2 * figures.groups + figures.unanswered + figures.broken_off, "{figures:?}");
}

#[test]
fn while_pods_are_replaced_former_homes_give_what_they_have() {
    let figures = run(Trouble::Replacement);
    holds_always(&figures);
    // A pod that comes takes over one part in sixty of all groups, as do those behind a pod that goes.
    let moved = figures.groups * 2 * figures.replacements / figures.pods;
    let failures = figures.unanswered + figures.broken_off;
    // Three standard deviations of the share that moves are far below a tenth.
    assert!(figures.origin <= figures.groups + moved * 11 / 10 + failures, "{figures:?}");
    assert!(figures.from_holders > 0, "{figures:?}");
}

#[test]
fn while_some_pods_see_old_members_the_others_go_on() {
    let figures = run(Trouble::OldViews);
    holds_always(&figures);
    assert!(figures.old_views > 0, "{figures:?}");
}

#[test]
fn while_everything_happens_at_once_pods_are_better_off_than_alone() {
    let figures = run(Trouble::Everything);
    holds_always(&figures);
    assert!(figures.unanswered > 0 && figures.broken_off > 0, "{figures:?}");
}

#[test]
fn the_simulation_of_a_seed_is_the_same_each_time() {
    let figures = || Simulation::new(Scenario::of(3, 12, Trouble::Everything)).run();
    assert_eq!(figures(), figures());
}
