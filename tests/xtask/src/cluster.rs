//! `cargo xtask cluster`: the throwaway Kubernetes cluster by itself.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use connected_cache_cluster::components::{self, Component};
use connected_cache_cluster::{Cluster, Options as ClusterOptions, interrupted};

use crate::image;

/// Options of `cargo xtask cluster`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Brings the cluster up and leaves it running.
    Up {
        /// Number of nodes, 1 to 9; the first also runs the control plane.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
        nodes: u8,
        /// Also builds our images and loads them into every node.
        #[arg(long)]
        images: bool,
    },
    /// Removes the cluster and everything that belongs to it.
    Down,
    /// Says what is running.
    Status,
    /// Prints the path of the kubeconfig, for `export KUBECONFIG=$(cargo xtask cluster kubeconfig)`.
    Kubeconfig,
}

/// Runs the chosen action.
pub(crate) async fn main(options: Options) -> Result<()> {
    match options.action {
        Action::Up { nodes, images } => {
            let built = if images { image::build()? } else { Vec::new() };
            let cluster =
                up(ClusterOptions { nodes: usize::from(nodes), ..ClusterOptions::default() }).await?;
            for image in built {
                cluster.load_image(&image.archive, None).await?;
            }
            println!("export KUBECONFIG={}", cluster.kubeconfig().display());
            println!("kubectl: {}", cluster.tools().kubectl.display());
            println!("helm: {}", cluster.tools().helm.display());
            Ok(())
        }
        Action::Down => {
            let found = Cluster::remove_any().await?;
            println!("{}", if found { "removed" } else { "no throwaway cluster is there" });
            Ok(())
        }
        Action::Status => {
            println!("{}", Cluster::attach()?.status().await?);
            Ok(())
        }
        Action::Kubeconfig => {
            println!("{}", Cluster::attach()?.kubeconfig().display());
            Ok(())
        }
    }
}

/// Brings a throwaway cluster up; a signal on the way removes what was made so far.
pub(crate) async fn up(options: ClusterOptions) -> Result<Cluster> {
    tokio::select! {
        cluster = Cluster::up(options) => Ok(cluster?),
        signal = interrupted() => bail!("{}; what was made is removed", signal?),
    }
}

/// Builds components that are missing.
pub(crate) async fn ensure(wanted: &[Component]) -> Result<()> {
    components::ensure(wanted).await.map(drop).context("the cluster's components can't be built")
}

/// The path of one program in its pinned version.
pub(crate) async fn component(component: Component) -> Result<PathBuf> {
    let programs = components::ensure(&[component]).await?;
    Ok(programs.path(component).to_owned())
}
