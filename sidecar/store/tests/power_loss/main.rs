//! Power loss: the store works on a disk that remembers every operation; the disk is rebuilt as a power cut at some point
//! would have left it, and a store opened there has to be right. Hundreds of points, over several lives of one store: each
//! life begins on what a power cut left of the one before.
//!
//! Needs root and `/dev/fuse`, so `cargo xtask test` runs it in the stage `storage`. A failure prints its seed and keeps
//! what happened on the disk; with `POWER_LOSS_SEED` set to that seed, exactly this is checked again. Without a kept disk of
//! that seed it makes a new one with the same orders, though the store's own thread may do its part at other moments.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod check;
mod contents;
mod history;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use connected_cache_faulty_disk::power_cut::Survival;
use connected_cache_faulty_disk::{FaultyDisk, Operation, Random, disk_process, missing};
use connected_cache_store::{Store, VolumeOptions};
use tempfile::TempDir;

use check::Checked;
use history::{History, Piece};
use workload::Workload;

disk_process!();

const SEED: &str = "POWER_LOSS_SEED";
/// Small, so that much is evicted.
const LIMIT: u64 = 24 << 20;
const LIVES: u64 = 3;
const CUTS: usize = 150;

fn open(folder: &Path) -> Store {
    Store::open(&[VolumeOptions { path: folder.to_owned(), limit: LIMIT, min_free: 0 }], &[]).unwrap()
}

/// Memory, so that hundreds of disks are made in seconds.
fn temporary_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Where the disk of a seed is kept after a failure.
fn kept(seed: u64, life: u64) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("power-loss-{seed}-{life}"))
}

/// Counts panics of all threads: a store whose thread ended looks as if it lived.
fn count_panics() -> Arc<AtomicUsize> {
    let panics = Arc::new(AtomicUsize::new(0));
    let (counter, before) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        counter.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));
    panics
}

/// Says how to see a failure again, and keeps the disk for it.
struct OnFailure<'a> {
    seed: u64,
    life: u64,
    history: &'a History,
    log: &'a Path,
    check: String,
}

impl Drop for OnFailure<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let folder = kept(self.seed, self.life);
            eprintln!("life {}: {}", self.life, self.check);
            eprintln!("see it again with {SEED}={}; the disk is kept in {}", self.seed, folder.display());
            if let Err(error) = self.history.keep(self.log, &folder) {
                eprintln!("unable to keep it: {error}");
            }
        }
    }
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn after_a_power_cut_at_any_point_the_store_has_what_was_flushed_and_nothing_wrong() {
    if let Some(reason) = missing(&[]) {
        println!("left out: {reason}");
        return;
    }
    let panics = count_panics();
    let given = std::env::var(SEED).ok().map(|seed| seed.parse().expect("a seed is a number"));
    let new = || SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let seed: u64 = given.unwrap_or_else(|| new().into());
    println!("{SEED}={seed}");
    let mut checked = Checked::default();
    let (mut disk, mut survivors) = (temporary_folder(), Vec::new());
    for life in 0..LIVES {
        let mut random = Random::new(seed ^ (life << 32));
        let folder = temporary_folder();
        let log = folder.path().join("log");
        let history = history_of(seed, life, disk.path(), &log, survivors, &mut random);
        let cuts = cuts(&history, &mut random);
        let mut failure = OnFailure { seed, life, history: &history, log: &log, check: String::new() };
        let mut left = None;
        for (number, cut) in cuts.into_iter().enumerate() {
            let mut random = Random::new(seed ^ (life << 32) ^ ((number as u64 + 1) << 40));
            let survival = Survival::choose(cut, &mut random);
            failure.check = format!("cut {number}, before operation {cut}, {survival:?}");
            let expected = history.expected(cut);
            let after = temporary_folder();
            history.log.after_power_cut(cut, survival, &mut random, after.path()).unwrap();
            check::check(after.path(), &expected, &mut checked);
            assert_eq!(panics.load(Ordering::Relaxed), 0, "a thread of the store ended by a panic");
            left = Some((cut, survival, expected));
        }
        // The next life begins after the last of them, on a fresh copy that no check has touched.
        let (cut, survival, expected) = left.unwrap();
        disk = temporary_folder();
        history.log.after_power_cut(cut, survival, &mut random, disk.path()).unwrap();
        survivors = expected;
    }
    println!("{checked:?}");
    checked.assert_that_it_shows_something();
}

/// Runs the store on a disk, or reads what was kept of it.
fn history_of(
    seed: u64,
    life: u64,
    backing: &Path,
    log: &Path,
    survivors: Vec<Piece>,
    random: &mut Random,
) -> History {
    if let Some(history) = History::kept(&kept(seed, life)) {
        fs::copy(History::log_of(&kept(seed, life)), log).unwrap();
        println!("life {life} as it was kept");
        return history;
    }
    let mount = temporary_folder();
    let disk = FaultyDisk::start(mount.path(), backing, Some(log)).unwrap();
    let mut workload = Workload::begin(&disk, life, survivors, random.clone());
    workload.run();
    let checkpoints = workload.end();
    History { log: disk.finish().unwrap(), checkpoints }
}

/// Points of the log: half of them anywhere, half right beside a sync, where order is decided.
fn cuts(history: &History, random: &mut Random) -> Vec<usize> {
    let (begin, end) = history.range();
    let operations = history.log.until(end).enumerate().skip(begin);
    let syncs: Vec<usize> = operations
        .filter(|(_, operation)| {
            matches!(operation, Operation::SyncFile { .. } | Operation::SyncFolder { .. })
        })
        .map(|(index, _)| index)
        .collect();
    let anywhere = |random: &mut Random| begin + random.below(end - begin + 1);
    (0..CUTS)
        .map(|number| {
            if number % 2 == 0 || syncs.is_empty() {
                anywhere(random)
            } else {
                (syncs[random.below(syncs.len())] + random.below(4)).saturating_sub(1).clamp(begin, end)
            }
        })
        .collect()
}
