//! Ctrl-C: a flag that everything which waits looks at, so that a run ends by its own steps and cleans up behind it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How often something that waits looks at the flag.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Somebody wants us to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Begins to watch for Ctrl-C, SIGTERM and a closed terminal, in a thread of its own.
pub(crate) fn watch() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = Vec::new();
    {
        let _inside = runtime.enter();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            signals.push(signal(kind)?);
        }
    }
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let [interrupt, terminate, hang_up] = &mut signals[..] else { return };
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                }
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
        });
    })?;
    Ok(())
}

/// An error once somebody wants us to end.
pub(crate) fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!(Interrupted);
    }
    Ok(())
}

/// Waits, unless somebody wants us to end.
pub(crate) fn pause(duration: Duration) -> Result<()> {
    let end = std::time::Instant::now() + duration;
    loop {
        check()?;
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LOOK_EVERY));
    }
}
