//! 1 MiB ranges of an object of 1 GiB that is in the page cache as misses wrote it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::{megabytes_per_second, seconds_per_gigabyte};
use crate::figure::{Figures, Pairs};
use crate::lab::{Lab, turns};
use crate::load::{Group, Order};
use crate::measure::{self, Measured};
use crate::server::{Kind, Server};

/// How long a server is measured in each round.
pub(super) const TIME: Duration = Duration::from_millis(500);

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    let mut servers = BTreeMap::new();
    for kind in [Kind::Sidecar, Kind::Nginx, Kind::Varnish] {
        servers.insert(kind, lab.start_filled(kind, None)?);
    }
    let (mut throughput, mut cpu) = (Pairs::default(), Pairs::default());
    let (mut cpu_varnish, mut cpu_varnish_256) = (Pairs::default(), Pairs::default());
    for round in lab.rounds("hot ranges") {
        let mut measured = BTreeMap::new();
        for kind in turns(round, [Kind::Sidecar, Kind::Nginx, Kind::Varnish]) {
            measured.insert(kind, ranges(lab, &servers[&kind], 16)?);
        }
        let (ours, nginx) = (&measured[&Kind::Sidecar], &measured[&Kind::Nginx]);
        throughput.add(ours.outcome.bytes_per_second(), nginx.outcome.bytes_per_second());
        cpu.add(ours.processor_per_gigabyte(), nginx.processor_per_gigabyte());
        cpu_varnish.add(ours.processor_per_gigabyte(), measured[&Kind::Varnish].processor_per_gigabyte());
        let mut many = BTreeMap::new();
        for kind in turns(round, [Kind::Sidecar, Kind::Varnish]) {
            many.insert(kind, ranges(lab, &servers[&kind], 256)?.processor_per_gigabyte());
        }
        cpu_varnish_256.add(many[&Kind::Sidecar], many[&Kind::Varnish]);
    }
    Ok(Figures::from([
        ("hot-throughput", throughput.figure("nginx", megabytes_per_second)),
        ("hot-cpu", cpu.figure("nginx", seconds_per_gigabyte)),
        ("hot-cpu-varnish", cpu_varnish.figure("varnish", seconds_per_gigabyte)),
        ("hot-256-cpu-varnish", cpu_varnish_256.figure("varnish", seconds_per_gigabyte)),
    ]))
}

/// Any ranges, for a while.
pub(super) fn ranges(lab: &Lab, server: &Server, connections: usize) -> Result<Measured> {
    let group = Group { to: server.target(), connections, requests: lab.large(), order: Order::Random };
    measure::for_a_while(server, &group, TIME)
}
