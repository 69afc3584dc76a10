//! What a connection between pods costs that nothing is fetched by at the moment.

use anyhow::{Result, ensure};

use crate::disk;
use crate::figure::{Figure, Figures, median};
use crate::interrupt;
use crate::lab::{Lab, PIECE, Syncing, ask_once};
use crate::load::{Bodies, Request};
use crate::origin::Pace;
use crate::pods::Pod;
use crate::server::{Kind, Server};

use super::idle::SETTLE;

const FIRST: Kind = Kind::Pod(Pod::First);
const SECOND: Kind = Kind::Pod(Pod::Second);
/// Contents of one piece, and with that connections: there is one for each content.
const CONTENTS: usize = 100;
/// Those that are read before, so that what a process takes once is taken.
const WARM_UP: usize = 20;

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    lab.provide_pods()?;
    lab.origin().set_pace(Pace::NONE);
    let contents: Vec<Request> =
        (0..WARM_UP + CONTENTS).map(|number| Request::whole(&format!("idle-{number}"), PIECE)).collect();
    let server = lab.start_empty(FIRST, Syncing::AsUsual)?;
    ask_once(server.target(), 1, &contents, Bodies::Dropped)?;
    drop(server);
    let (mut asking, mut serving) = (Vec::new(), Vec::new());
    for _ in lab.rounds("idle connections of pods") {
        let [first, second] = per_connection(lab, &contents)?;
        serving.push(first);
        asking.push(second);
    }
    for kind in [FIRST, SECOND] {
        lab.wipe(kind)?;
    }
    let worse: Vec<f64> = asking.iter().zip(&serving).map(|(asking, serving)| asking.max(*serving)).collect();
    let behind = format!(
        "at the pod that asked {:.1} KiB, at the other one {:.1} KiB",
        median(&asking),
        median(&serving)
    );
    Ok(Figures::from([("swarm-idle", Figure::Measured { rounds: worse, behind })]))
}

/// KiB for each connection at the pod that serves and at the one that asks. What a pod remembers of a content is in it.
fn per_connection(lab: &mut Lab, contents: &[Request]) -> Result<[f64; 2]> {
    // New processes each time: memory that was used before would be used again.
    let first = lab.start(FIRST, None)?;
    let second = lab.start_empty(SECOND, Syncing::AsUsual)?;
    let (warm_up, measured) = contents.split_at(WARM_UP);
    // What the first pod opens by itself is open.
    ask_once(first.target(), 1, contents, Bodies::Dropped)?;
    ask_once(second.target(), 1, warm_up, Bodies::Dropped)?;
    let before = settled([&first, &second])?;
    ask_once(second.target(), 1, measured, Bodies::Dropped)?;
    disk::sync(lab.path())?;
    let after = settled([&first, &second])?;
    for server in [&first, &second] {
        let open = server.admin().count("connectedcache_swarm_connections")?;
        // They stay open for a while after the last piece.
        ensure!(
            open >= CONTENTS as f64,
            "{open:.0} connections of {CONTENTS} are open at {}",
            server.kind().name()
        );
    }
    Ok([0, 1].map(|pod| after[pod].saturating_sub(before[pod]) as f64 / 1024.0 / CONTENTS as f64))
}

/// Anonymous memory of both, in bytes, when what is freed only a moment later is freed.
fn settled(servers: [&Server; 2]) -> Result<[u64; 2]> {
    interrupt::pause(SETTLE)?;
    Ok(servers.map(|server| server.tree().anonymous_memory()))
}
