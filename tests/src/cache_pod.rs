//! One pod of a cache: where it is, what it counts, and its sudden death.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use rustix::process::{Pid, Signal, kill_process};

use crate::Case;
use crate::case::{ADMIN_PORT, samples};
use crate::kubernetes::{PATIENCE, pod_get, pod_get_inside};

/// The gauge of the pods that a pod knows, and its label for those that are ready.
const MEMBERS: &str = "connectedcache_members";
const READY: &str = r#"state="ready""#;
/// How often what is not there yet is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The program in the container of a cache.
const PROGRAM: &str = "connected-cache-sidecar";

/// A pod of a cache that has an address.
#[derive(Clone, Debug)]
pub struct CachePod {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// The node that it is on.
    pub node: String,
    uid: String,
}

impl CachePod {
    fn of(pod: &Pod) -> Result<Self> {
        let name = pod.name_any();
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        Ok(Self {
            address: address.with_context(|| format!("{name} has no address"))?,
            node: node.with_context(|| format!("{name} is on no node"))?,
            uid: pod.uid().with_context(|| format!("{name} has no uid"))?,
            name,
        })
    }

    /// Where it serves content, for one that asks this pod and no other.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:8080", self.address)
    }

    /// Kills its process with SIGKILL, which only the nodes of the throwaway cluster allow: their processes are this
    /// machine's.
    pub fn kill(&self) -> Result<()> {
        kill_process(self.process()?, Signal::KILL).with_context(|| format!("unable to kill {}", self.name))
    }

    /// Its network namespace, likewise.
    pub fn network(&self) -> Result<PathBuf> {
        Ok(format!("/proc/{}/ns/net", self.process()?.as_raw_nonzero()).into())
    }

    /// The one process of its program.
    fn process(&self) -> Result<Pid> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            found.extend(number.and_then(Pid::from_raw).filter(|_| self.owns(&entry.path())));
        }
        match found[..] {
            [process] => Ok(process),
            _ => bail!("{} has {} processes {PROGRAM} on this machine, expected one", self.name, found.len()),
        }
    }

    /// Whether a folder of `/proc` is that of its program.
    fn owns(&self, process: &Path) -> bool {
        let program = std::fs::read_link(process.join("exe")).unwrap_or_default();
        let groups = std::fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        program.ends_with(PROGRAM) && groups.contains(&self.uid)
    }
}

impl Case {
    /// The pods of a cache in order of their names, all of which are to have an address by now.
    pub async fn pods(&self, cache: &str) -> Result<Vec<CachePod>> {
        self.cache_pods(cache).await?.iter().map(CachePod::of).collect()
    }

    /// The sum of all samples of one counter of a pod; 0 where there are none.
    pub async fn counted(&self, pod: &CachePod, name: &str) -> Result<u64> {
        Ok(self.samples(pod, name).await?.into_iter().map(|(_, value)| value).sum())
    }

    /// The samples of one metric of a pod, whole numbers, with the text of their labels.
    pub async fn samples(&self, pod: &CachePod, name: &str) -> Result<Vec<(String, u64)>> {
        Ok(samples(&self.admin(pod, "/metrics").await?, name))
    }

    /// Waits until every pod of a cache knows so many that are ready, itself included: from then on they share.
    pub async fn wait_for_members(&self, cache: &str, count: u64) -> Result<Vec<CachePod>> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut known = Vec::new();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                look.tick().await;
                let pods = self.pods(cache).await?;
                known.clear();
                for pod in &pods {
                    let members = self.samples(pod, MEMBERS).await?;
                    known.extend(members.into_iter().filter(|(labels, _)| labels.contains(READY)));
                }
                if pods.len() as u64 == count
                    && known.len() == pods.len()
                    && known.iter().all(|(_, members)| *members == count)
                {
                    return anyhow::Ok(pods);
                }
            }
        });
        waited.await.map_err(|_| anyhow!("not every pod knows of {count} that are ready: {known:?}"))?
    }

    /// What the admin listener of a pod says to those who may see addresses.
    pub async fn admin_inside(&self, pod: &CachePod, path: &str) -> Result<String> {
        pod_get_inside(&self.lab.client, &self.namespace, &pod.name, ADMIN_PORT, path).await
    }

    /// What the admin listener of a pod says.
    async fn admin(&self, pod: &CachePod, path: &str) -> Result<String> {
        pod_get(&self.lab.client, &self.namespace, &pod.name, ADMIN_PORT, path).await
    }
}
