//! Small hot requests while others read from a disk: whoever reads a disk where requests are served makes them wait.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::milliseconds;
use crate::figure::{Figures, Pairs};
use crate::lab::{Lab, PATIENCE, PIECE, ask_once, turns};
use crate::load::{Bodies, Group, Load, Order, Request, Target, Until};
use crate::server::{Door, Kind};

/// Connections of each group.
const CONNECTIONS: usize = 4;
/// Small objects that are asked for.
const OBJECTS: usize = 1000;

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    let cold = shuffled(lab.large());
    let mut latency = Pairs::default();
    for round in lab.rounds("hot requests beside cold ranges") {
        let mut measured = BTreeMap::new();
        for kind in turns(round, [Kind::Sidecar, Kind::Nginx]) {
            measured.insert(kind, one(lab, kind, &cold)?);
        }
        latency.add(measured[&Kind::Sidecar], measured[&Kind::Nginx]);
    }
    Ok(Figures::from([("mixed-latency", latency.figure("nginx", milliseconds))]))
}

/// The latency in seconds that 99 of 100 small requests did not exceed.
fn one(lab: &mut Lab, kind: Kind, cold: &[Request]) -> Result<f64> {
    let server = lab.start_evicted(kind)?;
    let door = if kind == Kind::Nginx { Door::AioThreads } else { Door::Http };
    let to = Target { address: server.address(door), tls: None };
    let small = &lab.small()[..OBJECTS];
    // Twice, for a server that keeps in memory only what is asked for again.
    for _ in 0..2 {
        ask_once(&to, CONNECTIONS, small, Bodies::Dropped)?;
    }
    let groups = [
        Group { to: &to, connections: CONNECTIONS, requests: cold, order: Order::Once },
        Group { to: &to, connections: CONNECTIONS, requests: small, order: Order::Random },
    ];
    let outcomes = Load::connect(&groups, Bodies::Dropped)?.run(Until::Done(PATIENCE))?;
    let small = outcomes.last().context("two groups have two outcomes")?;
    Ok(small.latency(0.99).as_secs_f64())
}

/// The same requests in an order that no read-ahead guesses, the same in every run.
pub(super) fn shuffled(requests: &[Request]) -> Vec<Request> {
    let mut shuffled = requests.to_vec();
    // Sorted by a hash: multiples of an odd number differ, and their order looks like none.
    shuffled.sort_by_key(|request| (request.offset / PIECE + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    shuffled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffled_requests_are_the_same_ones_in_another_order() {
        let requests = Request::pieces("a", 1024 * PIECE, PIECE);
        let offsets =
            |requests: &[Request]| requests.iter().map(|request| request.offset).collect::<Vec<_>>();
        let mut shuffled = offsets(&shuffled(&requests));
        assert_ne!(shuffled, offsets(&requests));
        shuffled.sort_unstable();
        assert_eq!(shuffled, offsets(&requests));
    }
}
