//! Objects of 4 KiB on connections that stay open.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::per_second;
use crate::figure::{Figures, Pairs};
use crate::lab::{Lab, turns};
use crate::load::{Group, Order};
use crate::measure::{self, Measured};
use crate::server::{Kind, Server};

/// How long a server is measured in each round.
const TIME: Duration = Duration::from_millis(500);
/// The same with many connections, each of which has its turn more rarely.
const TIME_MANY: Duration = Duration::from_secs(1);

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    let mut servers = BTreeMap::new();
    for kind in [Kind::Sidecar, Kind::Nginx] {
        servers.insert(kind, lab.start_filled(kind, None)?);
    }
    let (mut rate, mut cpu, mut rate_many) = (Pairs::default(), Pairs::default(), Pairs::default());
    for round in lab.rounds("small objects") {
        let (mut few, mut many) = (BTreeMap::new(), BTreeMap::new());
        for kind in turns(round, [Kind::Sidecar, Kind::Nginx]) {
            few.insert(kind, objects(lab, &servers[&kind], 16, TIME)?);
        }
        for kind in turns(round, [Kind::Sidecar, Kind::Nginx]) {
            many.insert(kind, objects(lab, &servers[&kind], 5_000, TIME_MANY)?.outcome.replies_per_second());
        }
        let (ours, nginx) = (&few[&Kind::Sidecar], &few[&Kind::Nginx]);
        rate.add(ours.outcome.replies_per_second(), nginx.outcome.replies_per_second());
        cpu.add(ours.processor_per_reply(), nginx.processor_per_reply());
        rate_many.add(many[&Kind::Sidecar], many[&Kind::Nginx]);
    }
    Ok(Figures::from([
        ("small-rate", rate.figure("nginx", per_second)),
        ("small-cpu", cpu.figure("nginx", |figure| format!("{figure:.1} us"))),
        ("small-5000-rate", rate_many.figure("nginx", per_second)),
    ]))
}

fn objects(lab: &Lab, server: &Server, connections: usize, time: Duration) -> Result<Measured> {
    let group = Group { to: server.target(), connections, requests: lab.small(), order: Order::Random };
    measure::for_a_while(server, &group, time)
}
