//! The throwaway cluster on its own: `cargo run -p connected-cache-cluster --example cluster -- up --nodes 3`.

use std::time::Instant;

use clap::{Parser, Subcommand};
use connected_cache_cluster::{Cluster, Lifetime, Options, interrupted};

/// A throwaway Kubernetes on this machine.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring it up; it runs until `down`.
    Up {
        /// Number of nodes.
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        /// Leave everything when it fails.
        #[arg(long)]
        keep_failed: bool,
        /// Stay, and remove it at Ctrl-C.
        #[arg(long)]
        hold: bool,
    },
    /// End and remove it.
    Down,
    /// Show what runs.
    Status,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let started = Instant::now();
    match Arguments::parse().command {
        Command::Up { nodes, keep_failed, hold } => {
            let lifetime = if hold { Lifetime::OfThisProcess } else { Lifetime::Detached };
            let options = Options { nodes, keep_failed, lifetime, ..Options::default() };
            let cluster = tokio::select! {
                cluster = Cluster::up(options) => cluster?,
                signal = interrupted() => anyhow::bail!("{}", signal?),
            };
            println!("{nodes} nodes Ready after {:.1} s", started.elapsed().as_secs_f64());
            println!("export KUBECONFIG={}", cluster.kubeconfig().display());
            println!(
                "kubectl: {}\nhelm: {}",
                cluster.tools().kubectl.display(),
                cluster.tools().helm.display()
            );
            if hold {
                println!("{}", interrupted().await?);
                cluster.down().await?;
            }
        }
        Command::Down => {
            let removed = Cluster::remove_any().await?;
            let word = if removed { "removed" } else { "there was none" };
            println!("{word} ({:.1} s)", started.elapsed().as_secs_f64());
        }
        Command::Status => print!("{}", Cluster::attach()?.status().await?),
    }
    Ok(())
}
