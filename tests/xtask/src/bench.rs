//! `cargo xtask bench`: builds the sidecar and the measuring program for release, and measures.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::run;
use crate::workspace::{root, target};

/// Options of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds in each of which every server has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Only rows whose name begins so; may be given several times.
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// Also write everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also draw the ratios as bars.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Also put chart and table into docs/benchmarks.svg and README.md.
    #[arg(long, conflicts_with = "only")]
    readme: bool,
}

/// Builds and measures; Ctrl-C ends the measuring, which removes what it made.
pub(crate) async fn main(options: Options) -> Result<()> {
    println!("building the sidecar and the measuring program for release");
    run::check(&mut run::cargo(&[
        "build",
        "--release",
        "--package",
        "connected-cache-sidecar",
        "--package",
        "connected-cache-bench",
    ]))?;
    let release = target().join("release");
    let mut bench = Command::new(release.join("connected-cache-bench"));
    bench.arg("run").arg("--sidecar").arg(release.join("connected-cache-sidecar"));
    bench.args(["--rounds", &options.rounds.to_string()]);
    for row in &options.only {
        bench.args(["--only", row]);
    }
    if let Some(path) = &options.json {
        bench.arg("--json").arg(path);
    }
    let svg = options.svg.or_else(|| options.readme.then(|| root().join("docs/benchmarks.svg")));
    if let Some(path) = svg {
        bench.arg("--svg").arg(path);
    }
    if options.readme {
        bench.arg("--readme").arg(root().join("README.md"));
    }
    run::Group::check(bench).await
}
