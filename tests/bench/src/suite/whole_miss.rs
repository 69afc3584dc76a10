//! One client downloads a whole object that is not in the cache: it must not be worse off than without the cache.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::megabytes_per_second;
use crate::figure::{Figure, Figures, Pairs, median};
use crate::lab::{Lab, PATIENCE, Syncing, turns};
use crate::load::{Bodies, Group, Load, Order, Request, Target, Until};
use crate::origin::Pace;
use crate::server::Kind;

/// About a second on a link of 1 Gbit/s.
const OVER_LINK: u64 = 128 << 20;
const ON_LOOPBACK: u64 = 512 << 20;

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    let mut link = Compared::default();
    let mut loopback = Compared::default();
    for round in lab.rounds("a whole object") {
        link.round(lab, round, Pace::GIGABIT, OVER_LINK)?;
        loopback.round(lab, round, Pace::NONE, ON_LOOPBACK)?;
    }
    lab.origin().set_pace(Pace::NONE);
    Ok(Figures::from([("whole-miss", link.figure()), ("whole-miss-loopback", loopback.figure())]))
}

/// Speeds in bytes per second.
#[derive(Debug, Default)]
struct Compared {
    pairs: Pairs,
    nginx: Vec<f64>,
}

impl Compared {
    fn round(&mut self, lab: &mut Lab, round: usize, pace: Pace, length: u64) -> Result<()> {
        lab.origin().set_pace(pace);
        let direct = speed(&lab.direct(), length)?;
        let mut speeds = BTreeMap::new();
        for kind in turns(round, [Kind::Sidecar, Kind::Nginx]) {
            let server = lab.start_empty(kind, Syncing::AsUsual)?;
            speeds.insert(kind, speed(server.target(), length)?);
        }
        lab.origin().wait_until_idle()?;
        self.pairs.add(speeds[&Kind::Sidecar], direct);
        self.nginx.push(speeds[&Kind::Nginx]);
        Ok(())
    }

    fn figure(&self) -> Figure {
        let mut figure = self.pairs.figure("direct", megabytes_per_second);
        if let Figure::Measured { behind, .. } = &mut figure {
            behind.push_str(", nginx ");
            behind.push_str(&megabytes_per_second(median(&self.nginx)));
        }
        figure
    }
}

fn speed(to: &Target, length: u64) -> Result<f64> {
    Ok(length as f64 / download(to, 1, &Request::whole("whole", length))?.as_secs_f64())
}

/// How long it takes until all of these clients have the same.
pub(super) fn download(to: &Target, clients: usize, request: &Request) -> Result<Duration> {
    let requests = std::slice::from_ref(request);
    let group = Group { to, connections: clients, requests, order: Order::Same };
    let outcomes = Load::connect(&[group], Bodies::Dropped)?.run(Until::Done(PATIENCE))?;
    Ok(outcomes.first().map_or(Duration::ZERO, |outcome| outcome.elapsed))
}
