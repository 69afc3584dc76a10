//! Histories of the whole cache process, seen from outside: random objects, ranges, clients, faults of the origin, evictions and
//! restarts. Every answer has to be the origin's bytes of one state, a clean 5xx, the origin's own 4xx, or a short body that
//! the client can resume; [`checker`] says what that means reply by reply.
//!
//! A history follows from its seed alone. A failure prints the seed and what happened. `HISTORY_SEED=<seed> cargo test -p
//! connected-cache-sidecar --test histories` lives through that one again and prints its steps. `HISTORIES=<count>` changes how many
//! there are (or how often the one is repeated), `HISTORIES_FROM=<seed>` where they begin. Plans repeat exactly; which of several
//! clients comes first does not, so a failure among clients that ask at once may take some repetitions.
//!
//! Map: [`plan`] makes a history of a seed, [`run`] lives through it, [`visit`] is one client in one step, [`origin`] answers as
//! [`fault`] wants it and keeps the record that [`checker`] judges by.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that meets the unexpected has failed")]

mod checker;
mod client;
mod fault;
mod object;
mod origin;
mod plan;
mod random;
mod range;
mod run;
mod tally;
mod visit;

use std::{
    io::Write,
    process::Command,
    sync::{Mutex, PoisonError},
};

use futures::StreamExt;
use tally::Tally;

/// How many histories one test run lives through.
const HISTORIES: u64 = 10_000;
/// How many at once: enough that none waits for another's timers, few enough that each is soon over.
const AT_ONCE: usize = 16;
/// Failures after which no new history is begun.
const ENOUGH_FAILURES: usize = 5;
/// With so many histories everything that the tally counts has happened.
const ENOUGH_FOR_EVERYTHING: usize = 5000;

/// Panics of any thread or task of this process.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[test]
fn every_answer_is_of_one_state_or_a_clean_failure_whatever_happens() {
    if std::env::var_os(OWN_PROCESS).is_none() {
        return in_own_process("every_answer_is_of_one_state_or_a_clean_failure_whatever_happens");
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let replayed = number("HISTORY_SEED");
    let seeds: Vec<u64> = match (replayed, number("HISTORIES_FROM").unwrap_or(0)) {
        (Some(seed), _) => vec![seed; usize::try_from(number("HISTORIES").unwrap_or(1)).unwrap()],
        (None, first) => (first..first + number("HISTORIES").unwrap_or(HISTORIES)).collect(),
    };
    let count = seeds.len();
    watch_for_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (failures, tally) = runtime.block_on(live_through(seeds, replayed.is_some()));
    drop(runtime);
    say(&format!("{count} histories: {tally}"));
    let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(panics.is_empty(), "panics in the process: {panics:#?}\n{}", failures.join("\n"));
    assert!(failures.is_empty(), "{} histories failed\n{}", failures.len(), failures.join("\n"));
    if count >= ENOUGH_FOR_EVERYTHING {
        assert_eq!(tally.missing(), Vec::<&str>::new(), "these never happened, so they were not tested");
    }
}

async fn live_through(seeds: Vec<u64>, is_replay: bool) -> (Vec<String>, Tally) {
    let mut running = futures::stream::iter(seeds)
        .map(|seed| async move { tokio::spawn(run::run(seed)).await })
        .buffer_unordered(AT_ONCE);
    let (mut failures, mut tally) = (Vec::new(), Tally::default());
    while let Some(outcome) = running.next().await {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                failures.push(format!("a history did not come to its end: {error}"));
                continue;
            }
        };
        tally.add(&outcome.tally);
        if is_replay {
            say(&outcome.to_string());
        }
        if outcome.failure.is_some() {
            failures.push(outcome.to_string());
        }
        if failures.len() >= ENOUGH_FAILURES {
            break;
        }
    }
    (failures, tally)
}

/// Past the test harness, which keeps the output of tests that pass.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Set in the process that the histories take place in.
const OWN_PROCESS: &str = "HISTORIES_OWN_PROCESS";

/// Runs a test of this binary in a process of its own. A panic there can't be one of another test, and it is told of no root
/// certificates: reading the system's at each of many thousand starts would take a third of the time, and all content
/// here is plain http.
fn in_own_process(test: &str) {
    let no_roots = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(OWN_PROCESS, "1")
        .env("SSL_CERT_FILE", no_roots.path())
        .status()
        .unwrap();
    assert!(status.success(), "see above: {status}");
}

/// A task's panic would otherwise only end a connection.
fn watch_for_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
        before(panic);
    }));
}
