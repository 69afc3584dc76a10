//! How long a store takes to open that holds a million pieces, in a process of its own.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use connected_cache_store::{Store, VolumeOptions, sample_index};
use serde::{Deserialize, Serialize};

use crate::figure::{Figure, Figures, median};
use crate::lab::Lab;
use crate::process::Process;
use crate::progress;
use crate::usage::{own_processor_time, own_resident_memory};

/// What opening a store showed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Opened {
    seconds: f64,
    /// What of it the processor worked: on a machine that others use as well the rest is waiting for them.
    processor_seconds: f64,
    resident_bytes: u64,
    objects: usize,
}

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    let ten_thousand = measure(lab, 10_000, 100)?;
    let million = measure(lab, 1_000_000, 1)?;
    Ok(Figures::from([
        ("start-10k", time(&ten_thousand)),
        ("start-1m", time(&million)),
        (
            "start-1m-memory",
            Figure::Measured { rounds: million.iter().map(mebibytes).collect(), behind: String::new() },
        ),
    ]))
}

fn time(rounds: &[Opened]) -> Figure {
    let all = |figure: fn(&Opened) -> f64| rounds.iter().map(figure).collect::<Vec<f64>>();
    let processor = median(&all(|opened| opened.processor_seconds));
    let behind = format!("{processor:.2} s of processor time, {:.0} MiB resident", median(&all(mebibytes)));
    Figure::Measured { rounds: all(|opened| opened.seconds), behind }
}

fn mebibytes(opened: &Opened) -> f64 {
    opened.resident_bytes as f64 / f64::from(1 << 20)
}

/// What each round showed.
fn measure(lab: &Lab, objects: usize, pieces: usize) -> Result<Vec<Opened>> {
    progress::say(format_args!("write an index of {objects} objects with {pieces} pieces each"));
    let folder = lab.path().join(format!("index-{objects}"));
    std::fs::create_dir(&folder)?;
    let folder_name = folder.display().to_string();
    ourselves(lab, &["write-index", &folder_name, &objects.to_string(), &pieces.to_string()])?;
    let mut rounds = Vec::new();
    for _ in lab.rounds("start") {
        let printed = ourselves(lab, &["open-store", &folder_name])?;
        let opened: Opened = serde_json::from_str(printed.trim()).with_context(|| printed.clone())?;
        anyhow::ensure!(opened.objects == objects, "{} of {objects} objects were loaded", opened.objects);
        rounds.push(opened);
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(rounds)
}

/// This program once more, on the core of the servers.
fn ourselves(lab: &Lab, arguments: &[&str]) -> Result<String> {
    let program = std::env::current_exe().context("unable to find this program")?;
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    Process::start(&program, &arguments, lab.cores().server, &lab.path().join("output"))?.wait()
}

/// `write-index`: fills the index of a volume.
pub(crate) fn write_index(folder: &Path, objects: usize, pieces: usize) -> Result<()> {
    sample_index::write(folder, objects, pieces)
        .with_context(|| format!("unable to write an index in {}", folder.display()))
}

/// `open-store`: opens a store of one volume and prints what that took.
pub(crate) fn open_store(folder: PathBuf) -> Result<()> {
    let (begin, worked) = (Instant::now(), own_processor_time());
    let store = Store::open(&[VolumeOptions { path: folder, limit: u64::MAX / 4, min_free: 0 }], &[])?;
    let seconds = begin.elapsed().as_secs_f64();
    let processor_seconds = own_processor_time().saturating_sub(worked).as_secs_f64();
    let resident_bytes = own_resident_memory().context("unable to read our own memory")?;
    let opened = Opened { seconds, processor_seconds, resident_bytes, objects: store.objects().len() };
    println!("{}", serde_json::to_string(&opened)?);
    Ok(())
}
