//! Swarms in memory: two to eight peers with the real connections, pickers, bans and slots, joined by links that delay, hold,
//! partition and cut, among them peers that send bad pieces, answer nothing, choke at random or break the protocol. No real time
//! passes. Whatever happens: every honest peer ends with every right piece as long as honest ones have them, honest peers are
//! never refused by honest ones, a referee who reads every message finds no rule broken, and nothing stays behind.
//!
//! A seed that fails is printed and can be run alone by `CONNECTEDCACHE_SWARM_SEED`; `CONNECTEDCACHE_SWARM_LIVES` runs more.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that meets the unexpected has failed")]

mod network;
mod peer;
mod random;
mod referee;
mod scenario;
mod vandal;
mod world;

use peer::Sabotage;
use scenario::Scenario;
use world::World;

const SEED: &str = "CONNECTEDCACHE_SWARM_SEED";
const MANY: &str = "CONNECTEDCACHE_SWARM_LIVES";
const LIVES: u64 = 1_000;

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

#[test]
fn every_download_ends_with_right_pieces_whatever_others_do() {
    if let Some(seed) = number_of(SEED) {
        World::new(Scenario::of(seed), Sabotage::None).run().unwrap();
        return;
    }
    let mut sums = world::Figures::default();
    for seed in 0..number_of(MANY).unwrap_or(LIVES) {
        match World::new(Scenario::of(seed), Sabotage::None).run() {
            Ok(figures) => sums.add(&figures),
            Err(broken) => panic!("{broken}; alone: {SEED}={seed}"),
        }
    }
    println!("{sums:?}");
    // What never happens is not tested.
    assert!(sums.is_nonzero(), "{sums:?}");
}

/// Some seeds have to notice, and see what it is.
fn notices(sabotage: Sabotage, what: &str) {
    let noticed: Vec<String> =
        (0..200).filter_map(|seed| World::new(Scenario::of(seed), sabotage).run().err()).collect();
    assert!(noticed.iter().any(|broken| broken.contains(what)), "{sabotage:?} leads to {noticed:?}");
}

#[test]
fn a_download_that_does_not_ask_again_for_what_was_lost_is_noticed() {
    notices(Sabotage::ForgetsLost, "not done");
}

#[test]
fn a_download_that_waits_for_who_has_stalled_is_noticed() {
    notices(Sabotage::WaitsForStalled, "not done");
}

#[test]
fn a_peer_that_keeps_what_it_did_not_check_is_noticed() {
    notices(Sabotage::SkipsCheck, "keeps a wrong piece");
}

#[test]
fn a_peer_that_asks_while_it_is_choked_is_noticed() {
    notices(Sabotage::IgnoresChokes, "must not send Request");
}

#[test]
fn a_peer_that_gives_away_more_slots_than_it_has_is_noticed() {
    notices(Sabotage::UnchokesAll, "must not send Unchoke");
}
