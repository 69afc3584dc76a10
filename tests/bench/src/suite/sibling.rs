//! What a pod gives that has not got the content itself, but knows who has: beside the pod that has it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::whole_miss::download;
use super::{megabytes_per_second, seconds_per_gigabyte};
use crate::disk;
use crate::figure::{Figure, Figures, Pairs, median};
use crate::lab::{Lab, PATIENCE, PIECE, SMALL, Syncing, ask_once, turns};
use crate::load::{Bodies, Group, Load, Order, Request, Until};
use crate::origin::Pace;
use crate::pods::Pod;
use crate::progress;
use crate::server::{Kind, Server};

const FIRST: Kind = Kind::Pod(Pod::First);
const SECOND: Kind = Kind::Pod(Pod::Second);
/// The object that the first pod has.
const NAME: &str = "shared";
const LENGTH: u64 = 256 * PIECE;
/// How often a read is tried.
const ATTEMPTS: usize = 5;
/// Objects of the first-byte measurement in each round.
const FAR_OBJECTS: usize = 20;
/// They have one home each.
const FAR_LENGTH: u64 = 8 * PIECE;
/// The piece that is asked for alone.
const FAR_RANGE_AT: u64 = 3 * PIECE;

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    lab.provide_pods()?;
    lab.origin().set_pace(Pace::NONE);
    fill(lab)?;
    let mut figures = Figures::new();
    let (mut read, mut again) = (Pairs::default(), Vec::new());
    let (mut worked, mut sibling_worked) = (Vec::new(), Vec::new());
    for round in lab.rounds("a read through a sibling") {
        let (mut local, mut through) = (0.0, 0.0);
        for kind in turns(round, [FIRST, SECOND]) {
            if kind == FIRST {
                local = local_read(lab)?;
            } else {
                let measured = read_through_undisturbed(lab, round)?;
                through = measured.through;
                again.push(measured.again);
                worked.push(measured.processor);
                sibling_worked.push(measured.sibling_processor);
            }
        }
        read.add(through, local);
    }
    let mut figure = read.figure("the sibling itself", megabytes_per_second);
    if let Figure::Measured { behind, .. } = &mut figure {
        behind.push_str(", the second read ");
        behind.push_str(&megabytes_per_second(median(&again)));
        behind.push_str(", processor ");
        behind.push_str(&seconds_per_gigabyte(median(&worked)));
        behind.push_str(" and at the sibling ");
        behind.push_str(&seconds_per_gigabyte(median(&sibling_worked)));
    }
    figures.insert("sibling", figure);
    figures.extend(first_bytes(lab)?);
    for kind in [FIRST, SECOND] {
        lab.wipe(kind)?;
    }
    Ok(figures)
}

/// The first pod gets everything from the origin: the second one does not run yet.
fn fill(lab: &mut Lab) -> Result<()> {
    progress::say("fill a pod");
    let server = lab.start_empty(FIRST, Syncing::AsUsual)?;
    let pieces = Request::pieces(NAME, LENGTH, PIECE);
    ask_once(server.target(), 4, &pieces, Bodies::Compared(lab.content()))?;
    ask_once(server.target(), 1, &[greeting()], Bodies::Dropped)?;
    server.admin().settled(&format!("/o/{LENGTH}/{NAME}"))?;
    disk::sync(lab.path())
}

/// What pods are asked for before the measurement: it makes them connect to each other.
fn greeting() -> Request {
    Request::whole("greeting", SMALL)
}

/// Bytes per second of the whole object at the pod that has it.
fn local_read(lab: &Lab) -> Result<f64> {
    let server = lab.start(FIRST, None)?;
    // Everything is open and in the page cache.
    speed(&server)?;
    speed(&server)
}

/// What a read through a pod gave that has nothing of the content.
struct Measured {
    /// Bytes per second.
    through: f64,
    /// Bytes per second of the next read, when the pod has all of it.
    again: f64,
    /// Processor seconds per 10^9 bytes, at the pod that was read through and at the one that has the content.
    processor: f64,
    sibling_processor: f64,
}

/// Where others use the machine as well, pods may find each other too slow and ask the origin: such a read is repeated.
fn read_through_undisturbed(lab: &mut Lab, round: usize) -> Result<Measured> {
    for _ in 0..ATTEMPTS {
        if let Some(measured) = read_through(lab, round)? {
            return Ok(measured);
        }
        progress::say("the origin was asked for what a sibling has: once more");
    }
    bail!("the origin was asked for what a sibling has, {ATTEMPTS} times in a row: the machine is too busy")
}

/// `None` = not all of it came from the sibling.
fn read_through(lab: &mut Lab, round: usize) -> Result<Option<Measured>> {
    let first = lab.start_beside_load(FIRST)?;
    speed(&first)?;
    let second = lab.start_empty(SECOND, Syncing::AsUsual)?;
    ask_once(second.target(), 1, &[greeting()], Bodies::Dropped)?;
    disk::use_page_cache(lab.path(), LENGTH + LENGTH / 4)?;
    let asked_before = lab.origin().asked();
    let from_peers_before = second.admin().count("connectedcache_peer_bytes_total")?;
    let worked_before = [&second, &first].map(|server| server.tree().processor_time());
    let through = speed(&second)?;
    let worked = [&second, &first].map(|server| server.tree().processor_time());
    let asked = lab.origin().asked().requests - asked_before.requests;
    let from_peers = second.admin().count("connectedcache_peer_bytes_total")? - from_peers_before;
    // Else it was not the sibling that was measured.
    if asked > 0 || from_peers < LENGTH as f64 {
        return Ok(None);
    }
    second.admin().settled(&format!("/o/{LENGTH}/{NAME}"))?;
    disk::sync(lab.path())?;
    let again = speed(&second)?;
    if round == 0 {
        let pieces = Request::pieces(NAME, LENGTH, PIECE);
        ask_once(second.target(), 4, &pieces, Bodies::Compared(lab.content()))?;
    }
    let [processor, sibling_processor] =
        [0, 1].map(|pod| worked[pod].since(&worked_before[pod]).as_secs_f64() / (LENGTH as f64 / 1e9));
    Ok(Some(Measured { through, again, processor, sibling_processor }))
}

fn speed(server: &Server) -> Result<f64> {
    let request = Request::whole(NAME, LENGTH);
    Ok(LENGTH as f64 / download(server.target(), 1, &request)?.as_secs_f64())
}

/// A client at each pod asks for the same piece at the same moment; one of the pods is its home and asks the origin, the other one
/// asks the home.
fn first_bytes(lab: &mut Lab) -> Result<Figures> {
    let first = lab.start_empty(FIRST, Syncing::AsUsual)?;
    let second = lab.start_empty(SECOND, Syncing::AsUsual)?;
    let servers = [&first, &second];
    // Some have their home here and some there, so that each has asked the other one.
    for number in 0..8 {
        for server in servers {
            let request = Request::whole(&format!("greeting-{number}"), SMALL);
            ask_once(server.target(), 1, &[request], Bodies::Dropped)?;
        }
    }
    lab.origin().set_pace(Pace::FAR);
    let (mut homes, mut others) = (Vec::new(), Vec::new());
    for round in lab.rounds("the first byte of what a sibling is fetching") {
        let (mut at_home, mut elsewhere) = (Vec::new(), Vec::new());
        for number in 0..FAR_OBJECTS {
            lab.origin().wait_until_idle()?;
            let name = format!("far-{round}-{number}");
            let request = [Request::range(&name, FAR_LENGTH, FAR_RANGE_AT, PIECE)];
            let before = from_origin(servers)?;
            let [one, other] = both_at_once(servers, &request)?.map(|time| time.as_secs_f64());
            lab.origin().wait_until_idle()?;
            let after = from_origin(servers)?;
            let (home, away) = match [after[0] > before[0], after[1] > before[1]] {
                [true, false] => (one, other),
                [false, true] => (other, one),
                // Both asked the origin, as pods do that find each other slow: this is not what is measured here.
                _ => continue,
            };
            at_home.push(home);
            elsewhere.push(away);
        }
        ensure!(at_home.len() >= FAR_OBJECTS / 2, "the pods asked the origin both too often");
        homes.push(median(&at_home) * 1e3);
        others.push(median(&elsewhere) * 1e3);
    }
    lab.origin().set_pace(Pace::NONE);
    let figure = |rounds| Figure::Measured { rounds, behind: format!("medians of {FAR_OBJECTS} objects") };
    Ok(Figures::from([("sibling-first-byte", figure(others)), ("sibling-first-byte-home", figure(homes))]))
}

/// Bytes that each pod had from the origin so far.
fn from_origin(servers: [&Server; 2]) -> Result<[f64; 2]> {
    let [first, second] = servers.map(|server| server.admin().count("connectedcache_origin_bytes_total"));
    Ok([first?, second?])
}

/// The time to the first byte of the body at each pod.
fn both_at_once(servers: [&Server; 2], requests: &[Request; 1]) -> Result<[Duration; 2]> {
    let groups =
        servers.map(|server| Group { to: server.target(), connections: 1, requests, order: Order::Same });
    let outcomes = Load::connect(&groups, Bodies::Dropped)?.run(Until::Done(PATIENCE))?;
    let mut times = outcomes.iter().flat_map(|outcome| outcome.first_bytes.iter().copied());
    let (Some(first), Some(second)) = (times.next(), times.next()) else {
        bail!("a pod gave a reply without a body");
    };
    Ok([first, second])
}
