//! The scripted Windows client in this process, for a cluster whose pods this machine reaches: it asks one pod by its own
//! address, and what is done to the pods meanwhile begins while it is at work.

use anyhow::{Context, Result, bail};
use connected_cache_mock_control_plane::ManifestEntry;
use connected_cache_mock_control_plane::client::{Mode, Plan, fetch};
use kube::Client;
use tokio_util::task::AbortOnDropHandle;

use crate::cache_pod::CachePod;
use crate::origin::{ORIGIN_HOST, Origin};

/// Knows what is right of every object of an origin.
#[derive(Clone, Debug)]
pub struct DirectClient {
    objects: Vec<ManifestEntry>,
}

impl DirectClient {
    /// Reads the hashes of the objects.
    pub async fn new(client: &Client, origin: &Origin) -> Result<Self> {
        let manifest = origin.manifest(client).await?;
        Ok(Self { objects: serde_json::from_str(&manifest).context("the manifest can't be read")? })
    }

    /// Downloads these objects from one pod as `connections` clients that come at once; an error when anything that any of
    /// them received was wrong, late or cut.
    pub async fn download(&self, pod: &CachePod, paths: &[&str], connections: usize) -> Result<()> {
        let entry = |path: &&str| {
            let found = self.objects.iter().find(|entry| entry.path == **path).cloned();
            found.with_context(|| format!("the origin has no {path}"))
        };
        let entries = paths.iter().map(entry).collect::<Result<_>>()?;
        let plan = Plan {
            mode: Mode::Whole,
            parallel: connections,
            ..Plan::new(pod.url().parse()?, ORIGIN_HOST, entries)
        };
        let report = fetch(&plan, |_| ()).await;
        if report.is_right() {
            return Ok(());
        }
        let wrong = report.objects.iter().flat_map(|object| &object.errors).map(ToString::to_string);
        bail!("{paths:?} from {}: {}", pod.name, wrong.collect::<Vec<_>>().join("; "))
    }

    /// The same for one object and one client, while something else is done.
    pub fn begin(&self, pod: &CachePod, path: &'static str) -> AbortOnDropHandle<Result<()>> {
        let (client, pod) = (self.clone(), pod.clone());
        AbortOnDropHandle::new(tokio::spawn(async move { client.download(&pod, &[path], 1).await }))
    }
}
