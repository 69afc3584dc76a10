//! Developer commands: `cargo xtask demo | test | fuzz | bench | cluster | image | crds | chart`.
//!
//! One file per command. What they share stands in [`workspace`] (where things are), [`run`] (calling programs) and
//! [`target`] (which cluster).

mod bench;
mod chart;
mod cluster;
mod crds;
mod demo;
mod fuzz;
mod image;
mod run;
mod target;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of Connected Cache for Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the product: a Kubernetes cluster, the chart, a cache, downloads through it, figures; then cleans up.
    Demo(demo::Options),
    /// Runs every check, fast ones first, and ends by printing `N passed, N failed`.
    Test(test::Options),
    /// Runs the fuzz targets of what reads bytes from a network; needs cargo-fuzz.
    Fuzz(fuzz::Options),
    /// Measures the sidecar beside nginx and varnish and prints how far it is from its goals.
    Bench(bench::Options),
    /// The throwaway three-node Kubernetes cluster by itself.
    Cluster(cluster::Options),
    /// Builds the container images as OCI archives below the target folder.
    Image(image::Options),
    /// Writes the CRDs from the types of the operator.
    Crds(crds::Options),
    /// Writes the chart's README from its values, then lints the chart.
    Chart(chart::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo(options) => demo::main(options).await,
        Command::Test(options) => test::main(options).await,
        Command::Fuzz(options) => fuzz::main(options).await,
        Command::Bench(options) => bench::main(options).await,
        Command::Cluster(options) => cluster::main(options).await,
        Command::Image(options) => image::main(&options),
        Command::Crds(options) => crds::main(&options),
        Command::Chart(options) => chart::main(&options).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
