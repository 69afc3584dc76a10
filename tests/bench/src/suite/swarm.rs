//! One connection of the swarm protocol, in processes of its own, beside TCP without any protocol on the same two cores.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use connected_cache_sidecar::swarm_bench;
use tokio::runtime::Runtime;

use super::megabytes_per_second;
use crate::figure::{Figures, Pairs};
use crate::lab::{Lab, PATIENCE, PIECE};
use crate::machine;
use crate::pods::Pod;
use crate::process::Process;

/// Pieces of a transfer: 1 GiB.
const PIECES: u32 = 1024;
/// The best of so many transfers counts at both: what disturbs one of them is the machine.
const TRANSFERS: usize = 3;
/// How long a process has to begin.
const START_WITHIN: Duration = Duration::from_secs(20);

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    let at = Pod::First.swarm();
    let serving = ["serve-swarm".to_owned(), at.to_string(), PIECES.to_string()];
    let mut server = ourselves(&serving, lab.cores().server, &lab.path().join("swarm-serves"))?;
    server.wait_until(START_WITHIN, || TcpStream::connect(at).is_ok())?;
    let mut pairs = Pairs::default();
    for round in lab.rounds("one connection between pods") {
        let (mut swarm, mut plain) = (0.0_f64, 0.0_f64);
        for transfer in 0..TRANSFERS {
            // In turns, so that nobody is always first.
            for is_swarm in [(round + transfer).is_multiple_of(2), !(round + transfer).is_multiple_of(2)] {
                if is_swarm {
                    swarm = swarm.max(by_swarm(lab, at)?);
                } else {
                    plain = plain.max(by_tcp(lab)?);
                }
            }
        }
        pairs.add(swarm, plain);
    }
    Ok(Figures::from([("swarm", pairs.figure("plain TCP", megabytes_per_second))]))
}

/// Bytes per second from the serving process, as another one fetches them.
fn by_swarm(lab: &Lab, from: SocketAddr) -> Result<f64> {
    let fetching = ["fetch-swarm".to_owned(), from.to_string(), PIECES.to_string()];
    let printed = ourselves(&fetching, lab.cores().load, &lab.path().join("swarm-fetches"))?.wait()?;
    let seconds: f64 = printed.trim().parse().with_context(|| printed.clone())?;
    Ok(bytes() / seconds)
}

fn ourselves(arguments: &[String], core: usize, output: &Path) -> Result<Process> {
    let program = std::env::current_exe().context("unable to find this program")?;
    Process::start(&program, arguments, core, output)
}

fn bytes() -> f64 {
    f64::from(PIECES) * PIECE as f64
}

/// Bytes per second from a thread on the core of the servers that writes 1 MiB at a time, to one on that of the load.
fn by_tcp(lab: &Lab) -> Result<f64> {
    let cores = lab.cores();
    let listener = TcpListener::bind(SocketAddr::new(Pod::Second.address(), 0))?;
    let at = listener.local_addr()?;
    let piece = vec![1; usize::try_from(PIECE)?];
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || -> Result<()> {
            machine::pin(cores.server)?;
            let (mut stream, _) = listener.accept()?;
            for _ in 0..PIECES {
                stream.write_all(&piece)?;
            }
            Ok(())
        });
        // This thread is on the core of the load.
        let mut stream = TcpStream::connect(at)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut buffer = vec![0; usize::try_from(PIECE)?];
        let begin = Instant::now();
        for _ in 0..PIECES {
            stream.read_exact(&mut buffer)?;
        }
        let elapsed = begin.elapsed();
        match writing.join() {
            Ok(written) => written?,
            Err(_) => bail!("the thread that writes has panicked"),
        }
        Ok(bytes() / elapsed.as_secs_f64())
    })
}

/// `serve-swarm`: gives pieces away until it is ended.
pub(crate) fn serve_swarm(at: SocketAddr, pieces: u32) -> Result<()> {
    Runtime::new()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(at).await?;
        Ok(swarm_bench::serve(listener, pieces).await?)
    })
}

/// `fetch-swarm`: fetches them and prints the seconds from the first question to the last byte, the connecting included.
pub(crate) fn fetch_swarm(from: SocketAddr, pieces: u32) -> Result<()> {
    let runtime = Runtime::new()?;
    let begin = Instant::now();
    let fetched = runtime.block_on(swarm_bench::fetch(from, pieces))?;
    let elapsed = begin.elapsed();
    ensure!(fetched == u64::from(pieces) * PIECE, "{fetched} bytes came instead of {pieces} pieces");
    println!("{}", elapsed.as_secs_f64());
    Ok(())
}
