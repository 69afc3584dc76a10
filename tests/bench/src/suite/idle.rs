//! What a connection costs that stays open and asks for nothing.

use std::time::Duration;

use anyhow::Result;

use crate::figure::{Figure, Figures, median};
use crate::interrupt;
use crate::lab::{Lab, PATIENCE, ask_once, turns};
use crate::load::{Bodies, Group, Load, Order, Until};
use crate::server::{Kind, Server};

const CONNECTIONS: usize = 5_000;
/// What is freed only a moment later is not counted.
pub(super) const SETTLE: Duration = Duration::from_millis(500);

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    let (mut ours, mut nginx) = (Vec::new(), Vec::new());
    for round in lab.rounds("idle connections") {
        for kind in turns(round, [Kind::Sidecar, Kind::Nginx]) {
            // A new process each time: memory that was used before would be used again.
            let server = lab.start(kind, None)?;
            ask_once(server.target(), 1, &lab.small()[..1], Bodies::Dropped)?;
            let figures = if kind == Kind::Sidecar { &mut ours } else { &mut nginx };
            figures.push(per_connection(lab, &server)?);
        }
    }
    let behind = format!("nginx {:.1} KiB", median(&nginx));
    Ok(Figures::from([("idle-memory", Figure::Measured { rounds: ours, behind })]))
}

/// KiB for each of many connections that had one reply.
fn per_connection(lab: &Lab, server: &Server) -> Result<f64> {
    interrupt::pause(SETTLE)?;
    let before = server.tree().anonymous_memory();
    let requests = &lab.small()[..1];
    let group = Group { to: server.target(), connections: CONNECTIONS, requests, order: Order::Same };
    let mut load = Load::connect(&[group], Bodies::Dropped)?;
    load.run(Until::Done(PATIENCE))?;
    interrupt::pause(SETTLE)?;
    let after = server.tree().anonymous_memory();
    drop(load);
    Ok(after.saturating_sub(before) as f64 / 1024.0 / CONNECTIONS as f64)
}
