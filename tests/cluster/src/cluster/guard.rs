//! A cluster that is removed when its guard goes, and a future that ends when the user wants to stop.

use std::ops::Deref;

use tokio::signal::unix::{SignalKind, signal};

use super::Cluster;
use crate::{
    cleanup,
    error::{FileContext, Result},
    run_folder::{RUN_FOLDER, RunFolder},
};

/// Removes its cluster when dropped: at the end of a scope, on an error, in a panic. Signals do not unwind, so race the work
/// against [`interrupted`]:
///
/// ```no_run
/// # async fn work(_: &connected_cache_cluster::Cluster) {}
/// # async fn example() -> connected_cache_cluster::Result<()> {
/// use connected_cache_cluster::{Cluster, Lifetime, Options, interrupted};
///
/// let options = Options { lifetime: Lifetime::OfThisProcess, ..Options::default() };
/// let whole = async {
///     let cluster = Cluster::up(options).await?.guard();
///     work(&cluster).await;
///     cluster.down().await
/// };
/// tokio::select! {
///     result = whole => result,
///     signal = interrupted() => { eprintln!("{}", signal?); Ok(()) }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct ClusterGuard {
    cluster: Option<Cluster>,
}

impl Cluster {
    /// Ties the cluster to a scope.
    #[must_use]
    pub fn guard(self) -> ClusterGuard {
        ClusterGuard { cluster: Some(self) }
    }
}

impl ClusterGuard {
    /// Removes it now, with a result.
    pub async fn down(mut self) -> Result<()> {
        match self.cluster.take() {
            Some(cluster) => cluster.down().await,
            None => Ok(()),
        }
    }

    /// Gives the cluster back, no longer tied to a scope.
    ///
    /// # Panics
    /// Never: the cluster leaves a guard only together with it.
    #[must_use]
    pub fn keep(mut self) -> Cluster {
        self.cluster.take().expect("a guard holds its cluster until it is consumed")
    }
}

impl Deref for ClusterGuard {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster.as_ref().expect("a guard holds its cluster until it is consumed")
    }
}

impl Drop for ClusterGuard {
    fn drop(&mut self) {
        if self.cluster.take().is_none() {
            return;
        }
        let run = RunFolder::new(RUN_FOLDER);
        let removed = run.lock().and_then(|_lock| cleanup::remove_everything(&run));
        if let Err(error) = removed {
            eprintln!("cluster: {error}");
        }
    }
}

/// Ends when the process is asked to stop (Ctrl-C, a terminal that closes, SIGTERM), and names the signal.
pub async fn interrupted() -> Result<&'static str> {
    let watch = |kind| signal(kind).context("watch the signals of", "/proc/self");
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let mut hang_up = watch(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "interrupted by Ctrl-C",
        _ = terminate.recv() => "ended by SIGTERM",
        _ = hang_up.recv() => "ended as the terminal closed",
    })
}
