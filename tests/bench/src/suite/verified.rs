//! What checking by the hashes of a control plane costs: beside the same sidecar that asks nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::whole_miss::download;
use super::{Unmeasurable, megabytes_per_second, per_second};
use crate::admin::{Admin, Verification};
use crate::disk;
use crate::figure::{Figure, Figures, Pairs, median};
use crate::lab::{LARGE, Lab, PIECE, SMALL, Syncing, ask_once, turns};
use crate::load::{Bodies, Group, Order, Request};
use crate::measure;
use crate::origin::Pace;
use crate::progress;
use crate::server::{Kind, Server};

/// Who asks the control plane, and who asks nobody.
const BOTH: [Kind; 2] = [Kind::Verified, Kind::Sidecar];
/// What is asked for again and again: a little of each piece, so that a request costs more than its bytes.
const RANGE: u64 = 4096;
/// How long each is measured there, and as long back.
const TIME: Duration = Duration::from_secs(1);

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    lab.origin().set_pace(Pace::NONE);
    lab.provide_control_plane()?;
    let mut figures = misses(lab)?;
    figures.insert("verified-hit", hits(lab)?);
    for kind in BOTH {
        lab.wipe(kind)?;
    }
    Ok(figures)
}

/// Both sidecars there and back: two of one program differ so little that who is first must not count.
fn there_and_back(round: usize) -> impl Iterator<Item = Kind> {
    turns(round, BOTH).into_iter().chain(turns(round + 1, BOTH))
}

/// One client downloads what is not in the cache.
fn misses(lab: &mut Lab) -> Result<Figures> {
    let request = Request::whole("large", LARGE);
    let mut speed = Pairs::default();
    let (mut hashed, mut pieces) = (Vec::new(), Vec::new());
    for round in lab.rounds("a whole object, checked") {
        let mut times = BTreeMap::<Kind, Duration>::new();
        let (mut hashed_now, mut pieces_now) = (0.0, 0.0);
        for kind in there_and_back(round) {
            let server = start(lab, kind)?;
            disk::use_page_cache(lab.path(), LARGE + LARGE / 4)?;
            let before = server.admin().count("connectedcache_pieces_hashed_total")?;
            *times.entry(kind).or_default() += download(server.target(), 1, &request)?;
            if kind == Kind::Verified {
                pieces_now += checked(&server.admin())?.stored_pieces as f64;
                hashed_now += server.admin().count("connectedcache_pieces_hashed_total")? - before;
            }
            drop(server);
            lab.wipe(kind)?;
        }
        let speed_of = |kind: Kind| 2.0 * LARGE as f64 / times[&kind].as_secs_f64();
        speed.add(speed_of(Kind::Verified), speed_of(Kind::Sidecar));
        hashed.push(hashed_now);
        pieces.push(pieces_now);
    }
    let ratios = hashed.iter().zip(&pieces).map(|(hashed, pieces)| hashed / pieces).collect();
    let behind = format!("{:.0} hashed, {:.0} stored", median(&hashed), median(&pieces));
    Ok(Figures::from([
        ("verified-miss", speed.figure("unchecked", megabytes_per_second)),
        ("verified-hashing", Figure::Measured { rounds: ratios, behind }),
    ]))
}

/// Many clients ask for what is in the cache and in memory.
fn hits(lab: &mut Lab) -> Result<Figure> {
    let requests: Vec<Request> = (0..LARGE / PIECE)
        .map(|piece| Request::range("large", LARGE, piece * PIECE + piece * RANGE % (PIECE - RANGE), RANGE))
        .collect();
    let mut servers = BTreeMap::new();
    for kind in BOTH {
        progress::say(format_args!("fill {}", kind.name()));
        let server = start(lab, kind)?;
        ask_once(server.target(), 4, lab.large(), Bodies::Compared(lab.content()))?;
        servers.insert(kind, server);
    }
    checked(&servers[&Kind::Verified].admin())?;
    // What is not on disk yet would be written during the measurements; what was written is read once.
    disk::sync(lab.path())?;
    for kind in BOTH {
        ask_once(servers[&kind].target(), 4, lab.large(), Bodies::Dropped)?;
    }
    let mut rate = Pairs::default();
    for round in lab.rounds("hot ranges, checked") {
        let mut outcomes = BTreeMap::<Kind, (u64, Duration)>::new();
        for kind in there_and_back(round) {
            let to = servers[&kind].target();
            let group = Group { to, connections: 16, requests: &requests, order: Order::Random };
            let outcome = measure::for_a_while(&servers[&kind], &group, TIME)?.outcome;
            let (replies, elapsed) = outcomes.entry(kind).or_default();
            *replies += outcome.replies;
            *elapsed += outcome.elapsed;
        }
        let rate_of = |kind: Kind| outcomes[&kind].0 as f64 / outcomes[&kind].1.as_secs_f64();
        rate.add(rate_of(Kind::Verified), rate_of(Kind::Sidecar));
    }
    Ok(rate.figure("unchecked", per_second))
}

/// An empty cache that has been asked for something: who asks the control plane knows by then where its services are.
fn start(lab: &mut Lab, kind: Kind) -> Result<Server> {
    let server = lab.start_empty(kind, Syncing::AsUsual)?;
    ask_once(server.target(), 1, &[Request::whole("first", SMALL)], Bodies::Dropped)?;
    Ok(server)
}

/// That the large object is whole, and each piece was checked by the control plane's hashes: else nothing was measured.
fn checked(admin: &Admin) -> Result<Verification> {
    let Some(found) = admin.settled(&format!("/o/{LARGE}/large"))? else {
        let reason = "the sidecar does not say how its content was checked".to_owned();
        return Err(Unmeasurable(reason).into());
    };
    let pieces = LARGE / PIECE;
    ensure!(
        found.complete && found.authenticated_pieces == pieces,
        "{} of {pieces} pieces were checked by the control plane's hashes, {} are stored, it is {}{}",
        found.authenticated_pieces,
        found.stored_pieces,
        found.state,
        found.reason.map(|reason| format!(": {reason}")).unwrap_or_default()
    );
    Ok(found)
}
