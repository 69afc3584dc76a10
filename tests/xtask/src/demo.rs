//! `cargo xtask demo`: the product, shown.
//!
//! [`in_cluster`] is the real thing: a Kubernetes cluster, the chart, a ConnectedCache, downloads through its Service.
//! `--embedded` runs three sidecars, the origin and the client in one process, without root and without Kubernetes.

mod content;
mod figures;
mod in_cluster;

use std::path::PathBuf;

use anyhow::Result;

use crate::{image, run};

/// Options of `cargo xtask demo`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Three sidecars, mock origin and client in one process: no Kubernetes, no root.
    #[arg(long)]
    embedded: bool,
    /// Download the files of this folder instead of the large files that were just built.
    #[arg(long, value_name = "DIR")]
    content: Option<PathBuf>,
    /// Leave everything running at the end, and say how to look at it and how to remove it; with --embedded, leave only the
    /// folders of the caches behind.
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
pub(crate) async fn main(options: Options) -> Result<()> {
    if options.embedded { embedded(&options).await } else { Box::pin(in_cluster::show(&options)).await }
}

async fn embedded(options: &Options) -> Result<()> {
    let mut sidecar = image::release(&image::host_triple()?, "run")?;
    sidecar.args(["--package", "connected-cache-sidecar", "--features", "demo", "--", "demo"]);
    if let Some(content) = &options.content {
        sidecar.arg("--content").arg(std::path::absolute(content)?);
    }
    if options.keep {
        sidecar.arg("--keep");
    }
    run::Group::check(sidecar).await
}
