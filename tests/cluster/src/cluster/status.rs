//! What runs and what does not.

use std::{fmt, path::PathBuf};

use k8s_openapi::api::core::v1::Node as KubernetesNode;
use kube::{Api, api::ListParams};

use super::{Cluster, up::is_ready};
use crate::{error::Result, process::Record};

/// The state of a cluster. `Display` gives a table for people.
#[derive(Clone, Debug)]
pub struct Status {
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Every node of the cluster.
    pub nodes: Vec<NodeStatus>,
    /// Every process that was started for it.
    pub processes: Vec<ProcessStatus>,
}

/// A node as the API server sees it.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// `node0` and so on.
    pub name: String,
    /// Reachable from the host.
    pub address: String,
    /// The condition Ready; false also when the API server does not answer.
    pub ready: bool,
}

/// A process of the cluster.
#[derive(Clone, Debug)]
pub struct ProcessStatus {
    /// Such as `kube-apiserver` or `node1-kubelet`.
    pub name: String,
    /// Its process id.
    pub pid: i32,
    /// Whether it runs.
    pub alive: bool,
}

impl Cluster {
    /// Looks at every process and asks the API server about the nodes.
    pub async fn status(&self) -> Result<Status> {
        let processes: Vec<ProcessStatus> = Record::all(&self.run)
            .into_iter()
            .map(|record| ProcessStatus {
                alive: record.identity.is_alive(),
                name: record.launch.name,
                pid: record.identity.pid,
            })
            .collect();
        let mut ready = Vec::new();
        // Asking a dead API server would mean waiting for it.
        if processes.iter().any(|process| process.name == "kube-apiserver" && process.alive) {
            let api: Api<KubernetesNode> = Api::all(self.client().await?);
            if let Ok(list) = api.list(&ListParams::default()).await {
                ready.extend(
                    list.items
                        .iter()
                        .filter(|node| is_ready(node))
                        .filter_map(|node| node.metadata.name.clone()),
                );
            }
        }
        let nodes = self
            .nodes
            .iter()
            .map(|node| NodeStatus {
                ready: ready.contains(&node.name()),
                name: node.name(),
                address: node.address().to_owned(),
            })
            .collect();
        Ok(Status { kubeconfig: self.kubeconfig(), nodes, processes })
    }
}

impl Status {
    /// Whether every process runs and every node is Ready.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.processes.iter().all(|process| process.alive) && self.nodes.iter().all(|node| node.ready)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "KUBECONFIG={}", self.kubeconfig.display())?;
        for node in &self.nodes {
            let state = if node.ready { "Ready" } else { "not Ready" };
            writeln!(formatter, "{:<28} {:<16} {state}", node.name, node.address)?;
        }
        for process in &self.processes {
            let state = if process.alive { "runs" } else { "has ended" };
            writeln!(formatter, "{:<28} {:<16} {state}", process.name, format!("pid {}", process.pid))?;
        }
        Ok(())
    }
}
