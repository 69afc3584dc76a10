//! Both page caches evicted and filled again by reading: what a read leaves in the page cache is not what a write leaves.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{hot, megabytes_per_second};
use crate::figure::{Figures, Pairs};
use crate::lab::{Lab, turns};
use crate::load::{Group, Order};
use crate::measure;
use crate::server::Kind;

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    let shuffled = super::mixed::shuffled(lab.large());
    let (mut reading, mut after) = (Pairs::default(), Pairs::default());
    for round in lab.rounds("ranges from disk") {
        let mut measured = BTreeMap::new();
        for kind in turns(round, [Kind::Sidecar, Kind::Nginx]) {
            let server = lab.start_evicted(kind)?;
            let group =
                Group { to: server.target(), connections: 16, requests: &shuffled, order: Order::Once };
            let cold = measure::to_the_end(&server, &group)?.outcome.bytes_per_second();
            let hot = hot::ranges(lab, &server, 16)?.outcome.bytes_per_second();
            measured.insert(kind, (cold, hot));
        }
        let (ours, nginx) = (measured[&Kind::Sidecar], measured[&Kind::Nginx]);
        reading.add(ours.0, nginx.0);
        after.add(ours.1, nginx.1);
    }
    Ok(Figures::from([
        ("reread-throughput", after.figure("nginx", megabytes_per_second)),
        ("cold-throughput", reading.figure("nginx", megabytes_per_second)),
    ]))
}
