//! 100 clients ask for the same at the same moment, nobody has it, and the origin is far away.

use std::time::Duration;

use anyhow::Result;

use super::milliseconds;
use super::whole_miss::download;
use crate::figure::{Figure, Figures, Pairs, median};
use crate::lab::{Lab, PATIENCE, PIECE, Syncing, turns};
use crate::load::{Bodies, Group, Load, Order, Request, Target, Until};
use crate::origin::Pace;
use crate::server::Kind;

const CLIENTS: usize = 100;
const LENGTH: u64 = 16 * PIECE;
/// The piece that is asked for alone.
const RANGE_AT: u64 = 5 * PIECE;

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    let sidecar = lab.start_empty(Kind::Sidecar, Syncing::AsUsual)?;
    let varnish = lab.start_empty(Kind::Varnish, Syncing::AsUsual)?;
    lab.origin().set_pace(Pace::FAR);
    let (mut time, mut range) = (Pairs::default(), Pairs::default());
    let (mut bytes, mut requests) = (Vec::new(), Vec::new());
    for round in lab.rounds("100 clients at once") {
        let whole = Request::whole(&format!("collapsed-{round}"), LENGTH);
        lab.origin().wait_until_idle()?;
        let direct = download(&lab.direct(), 1, &whole)?;
        lab.origin().wait_until_idle()?;
        let before = lab.origin().asked();
        let ours = download(sidecar.target(), CLIENTS, &whole)?;
        lab.origin().wait_until_idle()?;
        let after = lab.origin().asked();
        time.add(ours.as_secs_f64(), direct.as_secs_f64());
        bytes.push((after.body_bytes - before.body_bytes) as f64);
        requests.push((after.requests - before.requests) as f64);
        let one = Request::range(&format!("collapsed-range-{round}"), LENGTH, RANGE_AT, PIECE);
        let mut latencies = (0.0, 0.0);
        for kind in turns(round, [Kind::Sidecar, Kind::Varnish]) {
            lab.origin().wait_until_idle()?;
            match kind {
                Kind::Sidecar => latencies.0 = median_latency(sidecar.target(), &one)?.as_secs_f64(),
                _ => latencies.1 = median_latency(varnish.target(), &one)?.as_secs_f64(),
            }
        }
        range.add(latencies.0, latencies.1);
    }
    lab.origin().set_pace(Pace::NONE);
    let pieces = (LENGTH / PIECE) as f64;
    let count = |counted: &[f64], of: f64, unit: &str| Figure::Measured {
        rounds: counted.iter().map(|count| count / of).collect(),
        behind: format!("{:.0} of {of:.0} {unit}", median(counted)),
    };
    Ok(Figures::from([
        ("collapse-bytes", count(&bytes, LENGTH as f64, "bytes")),
        ("collapse-requests", count(&requests, pieces, "requests")),
        ("collapse-time", time.figure("direct", milliseconds)),
        ("collapse-range", range.figure("varnish", milliseconds)),
    ]))
}

fn median_latency(to: &Target, request: &Request) -> Result<Duration> {
    let requests = std::slice::from_ref(request);
    let group = Group { to, connections: CLIENTS, requests, order: Order::Same };
    let outcomes = Load::connect(&[group], Bodies::Dropped)?.run(Until::Done(PATIENCE))?;
    Ok(outcomes.first().map_or(Duration::ZERO, |outcome| outcome.latency(0.5)))
}
