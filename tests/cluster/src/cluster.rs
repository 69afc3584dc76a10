//! A whole cluster: up, attach, down, and what a test does with it in between.

pub(crate) mod guard;
pub(crate) mod status;
mod up;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    cleanup, control_plane,
    error::{Error, Result},
    images,
    network::{Layout, MOST_NODES},
    node::Node,
    process::{Record, log_file},
    run_folder::{Phase, RUN_FOLDER, RunFolder, State},
};

/// How a cluster is brought up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of nodes, 1 to 100; the first also runs the control plane. About 100 MB each, and 500 MB for the first.
    pub nodes: usize,
    /// Whether it may outlive this process.
    pub lifetime: Lifetime,
    /// Leave everything as it is when `up` fails, to look at; the next `up` or `down` removes it.
    pub keep_failed: bool,
    /// The first three numbers of the nodes' /24; the host has `.1` in it, nodes begin at `.10`.
    pub node_subnet: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 3,
            lifetime: Lifetime::Detached,
            keep_failed: false,
            node_subnet: "10.217.88".to_owned(),
        }
    }
}

/// Whether a cluster may outlive the process that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// It runs until somebody calls for its end: `cluster up`, later `cluster down`.
    #[default]
    Detached,
    /// Once the process that made it is dead, the next `up` takes it for remains and removes it: demos and tests.
    OfThisProcess,
}

/// Programs for talking to the cluster, of the versions it was built with.
#[derive(Clone, Debug)]
pub struct Tools {
    /// kubectl.
    pub kubectl: PathBuf,
    /// helm.
    pub helm: PathBuf,
}

/// A running cluster. Dropping it changes nothing: see [`Cluster::down`] and [`Cluster::guard`].
#[derive(Clone, Debug)]
pub struct Cluster {
    run: RunFolder,
    nodes: Vec<Node>,
    tools: Tools,
    host_address: String,
}

impl Cluster {
    /// Brings a cluster up and waits until it is of use: API server ready, nodes Ready, default StorageClass there, cluster
    /// DNS answering. Builds and installs what is missing, and first removes what a dead earlier run left.
    ///
    /// When it fails, or when this future is dropped before its end, everything made so far is removed again.
    pub async fn up(options: Options) -> Result<Self> {
        check_platform()?;
        if !(1..=MOST_NODES).contains(&options.nodes) {
            return Err(Error::Unsuitable {
                problem: format!("{} nodes cannot be had", options.nodes),
                advice: format!("give a number from 1 to {MOST_NODES}"),
            });
        }
        up::up(RunFolder::new(RUN_FOLDER), options).await
    }

    /// The cluster that runs on this machine.
    pub fn attach() -> Result<Self> {
        check_platform()?;
        let run = RunFolder::new(RUN_FOLDER);
        let state = run.state().filter(|state| is_running(&run, state)).ok_or(Error::NotRunning)?;
        Ok(Self::of(run, &state))
    }

    /// Ends and removes the cluster of this machine, whatever state it is in. False when there was none.
    pub async fn remove_any() -> Result<bool> {
        check_platform()?;
        let run = RunFolder::new(RUN_FOLDER);
        tokio::task::spawn_blocking(move || {
            if !run.path().exists() && !cleanup::anything_left(&run) {
                return Ok(false);
            }
            let _lock = run.lock()?;
            let was_there = cleanup::anything_left(&run);
            cleanup::remove_everything(&run)?;
            Ok(was_there)
        })
        .await?
    }

    /// Ends and removes it.
    pub async fn down(self) -> Result<()> {
        Self::remove_any().await.map(drop)
    }

    pub(crate) fn of(run: RunFolder, state: &State) -> Self {
        let layout = Layout { nodes: state.nodes, prefix: state.node_subnet.clone() };
        let nodes = (0..state.nodes).map(|index| Node::new(&run, &layout, index)).collect();
        let tools = Tools { kubectl: state.kubectl.clone(), helm: state.helm.clone() };
        Self { run, nodes, tools, host_address: layout.host_address() }
    }

    /// The administrator's kubeconfig; its server address is reachable from the host.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.run.kubeconfig()
    }

    /// kubectl and helm.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// A client of the API server, as administrator.
    pub async fn client(&self) -> Result<kube::Client> {
        control_plane::client(&self.kubeconfig()).await
    }

    /// All nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by its place from 0.
    #[must_use]
    pub fn node(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)
    }

    /// The address under which nodes and pods reach this host: an origin on the host listens there.
    #[must_use]
    pub fn host_address(&self) -> &str {
        &self.host_address
    }

    /// Loads an image (a tar as [`crate::oci`] or `docker save` writes it) on the nodes listed, or on all.
    pub async fn load_image(&self, tar: &Path, nodes: Option<&[usize]>) -> Result<()> {
        let chosen =
            self.nodes.iter().filter(|node| nodes.is_none_or(|chosen| chosen.contains(&node.index())));
        images::load(tar, chosen.map(Node::socket).collect()).await
    }

    /// The log of one of its processes, such as `kube-apiserver` or `node1-kubelet` (the names are in [`crate::Status::processes`]).
    #[must_use]
    pub fn log(&self, process: &str) -> PathBuf {
        log_file(&self.run, process)
    }

    /// Kills one of its processes and waits for its end.
    pub fn kill_process(&self, process: &str) -> Result<()> {
        let record = self.record(process)?;
        record.identity.signal(Signal::KILL);
        if record.identity.wait_for_end(Duration::from_secs(30)) {
            return Ok(());
        }
        Err(Error::LeftOver { left: format!("{process} (process {})", record.identity.pid) })
    }

    /// Starts a process that has ended, as it was started first.
    pub fn start_process(&self, process: &str) -> Result<()> {
        let record = self.record(process)?;
        if record.identity.is_alive() {
            return Ok(());
        }
        Record::start(&self.run, record.launch).map(drop)
    }

    fn record(&self, process: &str) -> Result<Record> {
        Record::read(&self.run, process).ok_or_else(|| Error::Unsuitable {
            problem: format!("the cluster has no process {process}"),
            advice: "`cargo xtask cluster status` lists them".to_owned(),
        })
    }
}

/// Whether a cluster has finished starting, has a living API server, and was not left by a dead owner.
fn is_running(run: &RunFolder, state: &State) -> bool {
    state.phase == Phase::Ready
        && state.owner.as_ref().is_none_or(crate::process::Identity::is_alive)
        && Record::read(run, "node0-anchor").is_some_and(|record| record.identity.is_alive())
}

fn check_platform() -> Result<()> {
    if std::env::consts::OS != "linux" {
        return Err(Error::NotLinux { operating_system: std::env::consts::OS });
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    Ok(())
}
