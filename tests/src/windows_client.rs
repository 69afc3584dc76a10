//! The scripted Windows client as a pod: on a chosen node, through the cache's Service, as real machines come.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::json;

use crate::kubernetes::{PATIENCE, apply, delete, pod_ended, restricted_pod, wait_at_most};
use crate::lab::image;
use crate::origin::ORIGIN_HOST;

/// How the client asks for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One GET without `Range`.
    Whole,
    /// A size probe, then ranges of 1 MiB.
    Ranges,
}

/// One run of the client.
#[derive(Clone, Debug)]
pub struct Download<'a> {
    /// Name of the client's pod; one run each.
    pub name: &'a str,
    /// Node to run on; `None` = the scheduler's choice.
    pub node: Option<&'a str>,
    /// Base URL of the cache.
    pub cache: &'a str,
    /// Where the list of objects and hashes is.
    pub manifest: &'a str,
    /// Paths to ask for; empty = all of the manifest.
    pub paths: &'a [&'a str],
    /// How to ask.
    pub mode: Mode,
    /// Connections at once.
    pub parallel: u32,
    /// Further rounds for as long as this URL is answered with success.
    pub repeat_while: Option<&'a str>,
    /// The longest silence of the cache before a request counts as failed, in seconds; the real client leaves after 20.
    pub silence_seconds: u32,
    /// The longest that the run may take.
    pub patience: Duration,
}

/// What the client saw, over all objects.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Objects asked for.
    pub objects: u64,
    /// Body bytes received.
    pub bytes: u64,
    /// From the first request to the last byte.
    pub seconds: f64,
    /// Replies that the cache called a hit.
    pub hits: u64,
    /// Replies that the cache called a miss.
    pub misses: u64,
    /// Wrong hashes, lengths, statuses and cut connections.
    pub errors: u64,
}

impl<'a> Download<'a> {
    /// Everything in the manifest, whole, over one connection, from any node.
    #[must_use]
    pub fn whole(name: &'a str, cache: &'a str, manifest: &'a str) -> Self {
        Self {
            name,
            node: None,
            cache,
            manifest,
            paths: &[],
            mode: Mode::Whole,
            parallel: 1,
            repeat_while: None,
            silence_seconds: 20,
            patience: PATIENCE,
        }
    }

    /// Runs the client to its end; an error when anything it received was wrong.
    pub async fn run(&self, client: &Client, namespace: &str) -> Result<Report> {
        let mut arguments: Vec<String> =
            ["fetch", "--json", "--only-errors", "--cache", self.cache, "--origin-host", ORIGIN_HOST]
                .map(str::to_owned)
                .to_vec();
        arguments.extend(["--manifest".to_owned(), self.manifest.to_owned()]);
        arguments.extend(["--parallel".to_owned(), self.parallel.to_string()]);
        arguments.extend(["--silence-limit".to_owned(), self.silence_seconds.to_string()]);
        // The client's node may learn a moment later than we that a pod of the Service is ready.
        arguments.extend(["--connect-within".to_owned(), "30".to_owned()]);
        let mode = match self.mode {
            Mode::Whole => "whole",
            Mode::Ranges => "ranges",
        };
        arguments.extend(["--mode".to_owned(), mode.to_owned()]);
        if let Some(url) = self.repeat_while {
            arguments.extend(["--repeat-while".to_owned(), url.to_owned()]);
        }
        for path in self.paths {
            arguments.extend(["--path".to_owned(), (*path).to_owned()]);
        }
        let mut pod = restricted_pod(json!({
            "name": "client", "image": image("connected-cache-mock-control-plane"), "args": arguments,
        }));
        pod["restartPolicy"] = json!("Never");
        if let Some(node) = self.node {
            // A selector rather than `nodeName`, so that the scheduler still checks the node.
            pod["nodeSelector"] = json!({"kubernetes.io/hostname": node});
        }
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        apply(
            client,
            json!({
                "apiVersion": "v1", "kind": "Pod", "spec": pod,
                "metadata": {"name": self.name, "namespace": namespace, "labels": {"app.kubernetes.io/name": "client"}},
            }),
        )
        .await?;
        let ended = wait_at_most(self.patience, pods.clone(), self.name, "ended", pod_ended()).await?;
        let log = pods.logs(self.name, &LogParams::default()).await?;
        let phase = ended.and_then(|pod| pod.status).and_then(|status| status.phase).unwrap_or_default();
        if phase != "Succeeded" {
            bail!("the client {} ended as {phase}: {}", self.name, log.trim());
        }
        delete(&pods, self.name).await?;
        let report = log
            .lines()
            .rev()
            .find_map(|line| serde_json::from_str::<Report>(line).ok())
            .with_context(|| format!("the client {} printed no total: {log}", self.name))?;
        if report.errors > 0 {
            bail!("the client {} saw {} errors: {}", self.name, report.errors, log.trim());
        }
        Ok(report)
    }
}
