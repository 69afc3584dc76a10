//! SIGKILL at random points: what is there afterwards is right, and what was flushed is there.
//!
//! The victim is this test program itself, started again with a folder to work in. It stores pieces, prints a line for each
//! one that is flushed, evicts and replaces, until it is killed.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use connected_cache_store::{FillError, Object, PIECE_LENGTH, Store, Trust, VolumeOptions};
use sha2::{Digest as _, Sha256};

const FOLDER: &str = "CONNECTEDCACHE_STORE_CRASH_FOLDER";
/// Room for two generations of everything, so that nothing is evicted and what was flushed must be there.
const LIMIT: u64 = 128 << 20;
const KEYS: u64 = 12;
const PIECES: usize = 4;
const LENGTH: u64 = (PIECES as u64 - 1) * PIECE_LENGTH as u64 + 77_777;

fn open(folder: &Path) -> Store {
    Store::open(&[VolumeOptions { path: folder.to_owned(), limit: LIMIT, min_free: 0 }], &[]).unwrap()
}

/// Every byte of a piece says which generation of which object and which piece it belongs to.
fn content(key: u64, generation: u64, piece: usize, length: usize) -> Vec<u8> {
    let pattern = Sha256::digest(format!("{key} {generation} {piece}"));
    pattern.iter().copied().cycle().take(length).collect()
}

fn generation(object: &Object) -> Option<u64> {
    String::from_utf8(object.record().ok()??.attributes).ok()?.parse().ok()
}

fn fill(object: &Arc<Object>, key: u64, generation: u64, piece: usize) -> Result<(), FillError> {
    let bytes = content(key, generation, piece, object.length_of(piece));
    let mut fill = object.begin(piece)?;
    for part in bytes.chunks(200_000) {
        fill.append(part)?;
    }
    fill.commit(Sha256::digest(&bytes).into(), Trust::Origin)
}

/// The victim: never returns.
#[test]
#[ignore = "the victim of the crash test, which starts it"]
fn victim() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = open(Path::new(&folder));
    let mut round = store.objects().iter().filter_map(|object| generation(object)).max().unwrap_or(0);
    loop {
        round += 1;
        for key in 0..KEYS {
            let name = key.to_string();
            // Every third round replaces the object, the others complete it.
            let kept = store.get(&name).filter(|_| (round + key) % 3 != 0);
            let object =
                kept.unwrap_or_else(|| store.create(&name, 0, LENGTH, round.to_string().as_bytes()).unwrap());
            let generation = generation(&object).unwrap_or(round);
            let mut stored = Vec::new();
            for piece in 0..PIECES {
                if fill(&object, key, generation, piece).is_ok() {
                    stored.push(piece);
                }
            }
            if key % 4 == 3 {
                store.flush();
                // Two numbers and a list: what must be there after a kill, unless a later round takes it away.
                println!("flushed {key} {generation} {stored:?}");
            }
        }
    }
}

#[test]
fn a_kill_at_any_point_leaves_right_bytes_and_what_was_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for (kill, flushes) in (0..12_u64).zip([1, 2, 3, 4, 5].into_iter().cycle()) {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        // Killed a varying while after a varying number of flushes, so at another point of its work each time.
        let mut last = None;
        for line in
            lines.by_ref().map_while(Result::ok).filter(|line| line.starts_with("flushed")).take(flushes)
        {
            last = Some(line);
        }
        // Not waiting for anything: the victim is to be hit anywhere between two of its lines.
        std::thread::sleep(Duration::from_millis(kill * 7 % 40));
        victim.kill().unwrap();
        victim.wait().unwrap();
        // What it flushed after the line that was waited for counts as well.
        last = lines.map_while(Result::ok).filter(|line| line.starts_with("flushed")).last().or(last);
        let last = last.expect("the victim ended before its first flush");

        let store = open(folder.path());
        store.remove_orphans().unwrap();
        let mut keys = BTreeSet::new();
        for object in store.objects() {
            let record = object.record().unwrap().expect("an object without a record");
            let key: u64 = record.key.parse().unwrap();
            let generation = generation(&object).unwrap();
            for piece in (0..PIECES).filter(|piece| object.has(*piece)) {
                let length = object.length_of(piece);
                let bytes = object.read(piece, 0, length).expect("a committed piece can't be read");
                assert!(
                    bytes[..] == content(key, generation, piece, length)[..],
                    "{key} piece {piece}: wrong bytes"
                );
                let kept = object.piece_record(piece).unwrap().expect("a committed piece without a hash");
                assert_eq!(kept.sha256[..], Sha256::digest(&bytes)[..]);
                keys.insert((key, generation, piece));
                seen += 1;
            }
        }
        let usage = store.volumes()[0].2;
        assert!(usage.pieces + usage.index <= LIMIT, "{usage:?}");
        let words: Vec<&str> = last.splitn(4, ' ').collect();
        let (key, generation) = (words[1].parse::<u64>().unwrap(), words[2].parse::<u64>().unwrap());
        // The very last flush can only have been undone by the replacement of this object, which a later round begins.
        if store.get(&key.to_string()).is_some_and(|object| self::generation(&object) == Some(generation)) {
            let expected =
                words[3].trim_matches(['[', ']']).split(", ").filter_map(|piece| piece.parse().ok());
            for piece in expected {
                assert!(
                    keys.contains(&(key, generation, piece)),
                    "kill {kill}: {last}, but piece {piece} is gone"
                );
            }
        }
    }
    assert!(seen > 100, "only {seen} pieces were there to check");
}
