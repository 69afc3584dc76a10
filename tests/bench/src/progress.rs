//! What a person sees while a run goes on: one line at the begin of each step, with the time since the start.

use std::fmt::Display;
use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// Says what begins now.
pub(crate) fn say(what: impl Display) {
    let since = START.get_or_init(Instant::now).elapsed().as_secs_f64();
    eprintln!("bench: {since:6.1} s  {what}");
}
