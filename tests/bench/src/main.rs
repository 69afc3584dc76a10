//! `connected-cache-bench`: the sidecar beside nginx and varnish, measured in one run. `cargo xtask bench` builds and starts it.
//!
//! A run makes a network namespace of its own, keeps the servers on one core and the load on another, and alternates between the
//! servers inside each round, so that what disturbs the machine disturbs all of them. Figures are ratios of two figures of the same
//! round. What it made is removed at its end, also after Ctrl-C.
//!
//! - [`goals`]: the rows and their aims; [`suite`]: how each is measured; [`report`]: what comes out.
//! - [`server`]: how the servers are configured; [`origin`], [`load`], [`content`]: the two ends and what goes between them.
//! - [`pods`]: two sidecars as one cache.
//! - [`control_plane`]: who vouches for the content; [`admin`]: what the sidecar says of itself.

#![allow(clippy::cast_precision_loss, reason = "figures for people, three digits of them")]

mod abandoned;
mod admin;
mod content;
mod control_plane;
mod disk;
mod figure;
mod goals;
mod interrupt;
mod lab;
mod load;
mod machine;
mod measure;
mod namespace;
mod origin;
mod packages;
mod pods;
mod process;
mod progress;
mod report;
mod server;
mod suite;
mod usage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use lab::Lab;
use machine::{Cores, Machine};
use namespace::Namespace;
use report::Report;

/// Measures the sidecar beside nginx and varnish.
#[derive(Debug, Parser)]
#[command(name = "connected-cache-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measures and prints the table.
    Run(Options),
    /// Writes an index of many pieces into a folder.
    #[command(hide = true)]
    WriteIndex { folder: PathBuf, objects: usize, pieces: usize },
    /// Opens a store and prints what that took.
    #[command(hide = true)]
    OpenStore { folder: PathBuf },
    /// Gives pieces away by the swarm protocol, without end.
    #[command(hide = true)]
    ServeSwarm { at: SocketAddr, pieces: u32 },
    /// Fetches these pieces and prints how long that took.
    #[command(hide = true)]
    FetchSwarm { from: SocketAddr, pieces: u32 },
}

#[derive(Debug, clap::Args)]
struct Options {
    /// The sidecar to measure.
    #[arg(long, value_name = "FILE")]
    sidecar: PathBuf,
    /// Rounds in each of which every server has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Only rows whose name begins so; may be given several times.
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// Also write everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also draw the ratios as bars.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Also replace the table in this README.
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Task::Run(options) => run(&options),
        Task::WriteIndex { folder, objects, pieces } => suite::write_index(&folder, objects, pieces),
        Task::OpenStore { folder } => suite::open_store(folder),
        Task::ServeSwarm { at, pieces } => suite::serve_swarm(at, pieces),
        Task::FetchSwarm { from, pieces } => suite::fetch_swarm(from, pieces),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let goals = goals::chosen(&options.only);
    if goals.is_empty() {
        let ids: Vec<&str> = goals::GOALS.iter().map(|goal| goal.id).collect();
        bail!("no row begins with {}; there are {}", options.only.join(" or "), ids.join(", "));
    }
    interrupt::watch()?;
    packages::ensure()?;
    machine::raise_file_limit()?;
    let cores = Cores::choose()?;
    // From here on every thread and process is inside.
    let _namespace = Namespace::enter()?;
    machine::avoid_pacing()?;
    let mut lab = Lab::new(&options.sidecar, usize::from(options.rounds), cores)?;
    let machine = Machine::read(cores, lab.path());
    let figures = suite::run(&mut lab, &goals)?;
    progress::say("remove what was made");
    drop(lab);
    let report = Report {
        machine,
        versions: versions(options)?,
        rounds: usize::from(options.rounds),
        rows: Report::rows(&goals, &figures),
    };
    println!("{}", report.table());
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    if let Some(path) = &options.svg {
        report.write_chart(path)?;
    }
    if let Some(path) = &options.readme {
        report.write_readme(path)?;
    }
    match report.failed() {
        0 => Ok(()),
        failed => bail!("{failed} rows failed"),
    }
}

/// Names and versions of what is measured.
fn versions(options: &Options) -> Result<Vec<(String, String)>> {
    let sidecar = process::run(Command::new(&options.sidecar).arg("--version"))?;
    let ours = sidecar.split_whitespace().last().unwrap_or_default();
    let mut versions = vec![("sidecar".to_owned(), ours.to_owned())];
    for (name, flag) in [("nginx", "-v"), ("varnishd", "-V")] {
        let output = Command::new(packages::path(name)?).arg(flag).output()?;
        versions.push((name.to_owned(), version(&String::from_utf8_lossy(&output.stderr)).to_owned()));
    }
    Ok(versions)
}

/// The first thing that looks like a version: digits and dots.
fn version(text: &str) -> &str {
    text.split(|letter: char| !(letter.is_ascii_digit() || letter == '.'))
        .find(|word| word.contains('.') && word.starts_with(|letter: char| letter.is_ascii_digit()))
        .unwrap_or("of unknown version")
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_found_in_what_servers_print() {
        assert_eq!(version("nginx version: nginx/1.22.1"), "1.22.1");
        assert_eq!(version("varnishd (varnish-7.1.1 revision 7cee1c)\nCopyright (c) 2006"), "7.1.1");
        assert_eq!(version("no digits."), "of unknown version");
    }
}
