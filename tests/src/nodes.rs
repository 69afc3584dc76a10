//! What is done to the nodes of the throwaway cluster: their network fails, loses or delays what pods send each other, and
//! strangers speak from inside of it.
//!
//! The kernel of a small machine may lack the packet scheduler that emulates bad networks, so packets are lost by a rule of
//! iptables and bytes are delayed by a [relay](Delay) in this process.

mod addresses;
mod delay;
mod rule;

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use connected_cache_cluster::{Cluster, Node};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

use crate::cache_pod::CachePod;
use crate::lab::KUBECONFIG_VARIABLE;
pub use addresses::Addresses;
pub use delay::Delay;
pub use rule::{Loss, Rule};

/// The nodes of the throwaway cluster.
#[derive(Clone, Debug)]
pub struct Nodes {
    cluster: Cluster,
}

impl Nodes {
    /// `None`, with the reason printed, when the cases run on another cluster: its nodes are not ours to disturb.
    #[must_use]
    pub fn of_throwaway_cluster() -> Option<Self> {
        let kubeconfig = std::env::var_os(KUBECONFIG_VARIABLE).unwrap_or_default();
        let cluster = Cluster::attach().ok().filter(|cluster| cluster.kubeconfig() == kubeconfig);
        if cluster.is_none() {
            println!("left out: the cases run on a cluster whose nodes are not ours to disturb");
        }
        cluster.map(|cluster| Self { cluster })
    }

    /// The node that a pod is on.
    pub fn of(&self, pod: &CachePod) -> Result<&Node> {
        let found = self.cluster.nodes().iter().find(|node| node.name() == pod.node);
        found.with_context(|| format!("{} is on {}, which the cluster does not have", pod.name, pod.node))
    }
}

/// A node without its network; dropping this gives it back.
#[derive(Debug)]
pub struct Cut {
    node: Option<Node>,
}

impl Cut {
    /// Takes the network of a node away, the API server included. Pods on it still reach each other.
    pub fn off(node: &Node) -> Result<Self> {
        node.disconnect()?;
        Ok(Self { node: Some(node.clone()) })
    }

    /// Gives it back.
    pub fn heal(mut self) -> Result<()> {
        self.node.take().map_or(Ok(()), |node| Ok(node.reconnect()?))
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.node.take().map(|node| node.reconnect()) {
            eprintln!("the network of a node can't be given back: {error}");
        }
    }
}

/// The network namespace of a node, for [`inside`].
#[must_use]
pub fn network_of(node: &Node) -> PathBuf {
    Path::new("/run/netns").join(node.network_namespace())
}

/// Runs `work` on a thread of its own in a network namespace: [that of a node](network_of), or [that of a
/// pod](CachePod::network). All sockets that it makes are of there, so it must make them itself, and not in a thread of a pool.
///
/// It begins at once, and goes on when nobody waits for it.
pub fn inside<T, W, F>(network: PathBuf, work: W) -> impl Future<Output = Result<T>> + Send + use<T, W, F>
where
    T: Send + 'static,
    W: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<T>>,
{
    let (done, outcome) = oneshot::channel();
    let thread = std::thread::Builder::new().name("inside".to_owned()).spawn(move || {
        // Whoever waited may be gone.
        let _ = done.send(enter_and_run(&network, work));
    });
    async move {
        thread.context("no thread for a network")?;
        outcome.await.context("the thread of a network panicked")?
    }
}

fn enter_and_run<T, F>(namespace: &Path, work: impl FnOnce() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let file = File::open(namespace).with_context(|| format!("unable to open {}", namespace.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("unable to enter {}", namespace.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { work().await })
}

/// Runs a program in the namespaces of a node; gives what it printed.
fn run(node: &Node, program: &str, arguments: &[String]) -> Result<String> {
    let output = node
        .command(program)?
        .args(arguments)
        .output()
        .with_context(|| format!("unable to run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {} on {}: {said}", arguments.join(" "), node.name());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
