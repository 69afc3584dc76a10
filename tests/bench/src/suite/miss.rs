//! 1 MiB ranges that nobody asked for before: fetched from the origin, stored, and in our case hashed.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{megabytes_per_second, seconds_per_gigabyte};
use crate::disk;
use crate::figure::{Figures, Pairs};
use crate::lab::{LARGE, Lab, PIECE, Syncing, turns};
use crate::load::{Group, Order, Request};
use crate::measure::{self, Measured};
use crate::origin::Pace;
use crate::server::Kind;

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    lab.origin().set_pace(Pace::NONE);
    let (mut throughput, mut cpu) = (Pairs::default(), Pairs::default());
    for round in lab.rounds("misses") {
        let mut measured = BTreeMap::new();
        for kind in turns(round, [Kind::Sidecar, Kind::Nginx]) {
            measured.insert(kind, one(lab, kind, Syncing::AsUsual)?);
        }
        let (ours, nginx) = (&measured[&Kind::Sidecar], &measured[&Kind::Nginx]);
        throughput.add(ours.outcome.bytes_per_second(), nginx.outcome.bytes_per_second());
        cpu.add(ours.processor_per_gigabyte(), nginx.processor_per_gigabyte());
    }
    Ok(Figures::from([
        ("miss-throughput", throughput.figure("nginx", megabytes_per_second)),
        ("miss-cpu", cpu.figure("nginx", seconds_per_gigabyte)),
    ]))
}

/// The same, ours alone: what it costs that everything is synced in groups.
pub(super) fn run_group_commit(lab: &mut Lab) -> Result<Figures> {
    lab.origin().set_pace(Pace::NONE);
    let mut throughput = Pairs::default();
    for round in lab.rounds("group commit") {
        let mut measured = BTreeMap::new();
        for syncing in turns(round, [Syncing::AsUsual, Syncing::Off]) {
            measured.insert(syncing, one(lab, Kind::Sidecar, syncing)?);
        }
        let speed = |syncing| measured[&syncing].outcome.bytes_per_second();
        throughput.add(speed(Syncing::AsUsual), speed(Syncing::Off));
    }
    Ok(Figures::from([("group-commit", throughput.figure("without sync", megabytes_per_second))]))
}

fn one(lab: &mut Lab, kind: Kind, syncing: Syncing) -> Result<Measured> {
    let requests = Request::pieces("missed", LARGE, PIECE);
    let server = lab.start_empty(kind, syncing)?;
    disk::use_page_cache(lab.path(), LARGE + LARGE / 4)?;
    let group = Group { to: server.target(), connections: 8, requests: &requests, order: Order::Once };
    let measured = measure::to_the_end(&server, &group);
    drop(server);
    lab.wipe(kind)?;
    measured
}
