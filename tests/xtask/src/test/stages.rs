//! The stages of `cargo xtask test`.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use connected_cache_cluster::components::Component;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{Tally, cases};
use crate::{chart, cluster, crds, fuzz, run};

/// One stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// `cargo fmt --check`.
    Format,
    /// clippy with warnings denied, on all targets.
    Lint,
    /// Every test that needs neither root nor Kubernetes.
    Unit,
    /// CRDs and chart README equal what they are made from.
    Generated,
    /// rustdoc with warnings denied.
    Docs,
    /// `helm lint` and `helm template`.
    Chart,
    /// Full, failing and vanished volumes, and power loss: needs root and FUSE.
    Storage,
    /// A real etcd and kube-apiserver: CRD rules and apply.
    ApiServer,
    /// The throwaway cluster itself: pods, volumes, DNS, and that nothing is left of it, whatever happens.
    Throwaway,
    /// The real cluster.
    Cluster,
}

impl Stage {
    /// All stages, fast ones first.
    pub(super) const ALL: [Self; 10] = [
        Self::Format,
        Self::Lint,
        Self::Unit,
        Self::Generated,
        Self::Docs,
        Self::Chart,
        Self::Storage,
        Self::ApiServer,
        Self::Throwaway,
        Self::Cluster,
    ];
    /// The stages that need neither root nor Kubernetes' components.
    pub(super) const FAST: [Self; 5] = [Self::Format, Self::Lint, Self::Unit, Self::Generated, Self::Docs];

    /// The name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Lint => "lint",
            Self::Unit => "unit",
            Self::Generated => "generated",
            Self::Docs => "docs",
            Self::Chart => "chart",
            Self::Storage => "storage",
            Self::ApiServer => "api-server",
            Self::Throwaway => "throwaway",
            Self::Cluster => "cluster",
        }
    }

    /// What the stage shows.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Format => "format: cargo fmt",
            Self::Lint => "lint: clippy, warnings denied",
            Self::Unit => "unit: tests without root or Kubernetes",
            Self::Generated => "generated: CRDs and chart README are what they are made from",
            Self::Docs => "docs: rustdoc, warnings denied",
            Self::Chart => "chart: helm lint and template",
            Self::Storage => "storage: full, failing and vanished volumes, and power loss",
            Self::ApiServer => "api-server: CRD rules and apply on a real kube-apiserver",
            Self::Throwaway => {
                "throwaway: the cluster of the tests comes up, works, and leaves nothing behind"
            }
            Self::Cluster => "cluster: the product on a real Kubernetes cluster",
        }
    }

    /// Runs the stage; `case` restricts it to the test files of that name.
    pub(super) async fn run(self, case: Option<&str>, tally: &mut Tally) -> Result<()> {
        match self {
            Self::Format => {
                counted(tally, run::check(&mut run::cargo(&["fmt", "--all", "--check"])))?;
                counted(tally, fuzz::check_format())
            }
            Self::Lint => {
                let arguments = [
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--all-features",
                    "--locked",
                    "--",
                    "-D",
                    "warnings",
                ];
                counted(tally, run::check(&mut run::cargo(&arguments)))?;
                counted(tally, fuzz::lint())
            }
            Self::Unit => {
                let selection = ["--workspace", "--all-features", "--no-fail-fast"];
                cargo_test(&selection, &[], &[], tally).await
            }
            Self::Generated => {
                counted(tally, crds::main(&crds::Options { check: true }))?;
                counted(tally, chart::readme(true))
            }
            Self::Docs => {
                let mut docs = run::cargo(&["doc", "--workspace", "--no-deps", "--all-features", "--locked"]);
                counted(tally, run::check(docs.env("RUSTDOCFLAGS", "-D warnings")))
            }
            Self::Chart => {
                let helm = cluster::component(Component::Helm).await?;
                counted(tally, chart::lint(&helm))
            }
            Self::Storage => cases::storage(tally).await,
            Self::ApiServer => cases::api_server(case, tally).await,
            Self::Throwaway => cases::throwaway(tally).await,
            Self::Cluster => Box::pin(cases::cluster(case, tally)).await,
        }
    }
}

/// The stage of a name, or the stage that holds the cases of a name.
pub(super) fn named(name: &str) -> Result<(Vec<Stage>, Option<String>)> {
    if let Some(stage) = Stage::ALL.into_iter().find(|stage| stage.name() == name) {
        return Ok((vec![stage], None));
    }
    let stage = match name.split('_').next() {
        Some("admit" | "reconcile") => Stage::ApiServer,
        Some("e2e") => Stage::Cluster,
        _ => {
            let names: Vec<&str> = Stage::ALL.iter().map(|stage| stage.name()).collect();
            bail!(
                "no stage or case file {name:?}: give one of {} or the name of a file in tests/tests",
                names.join(", ")
            );
        }
    };
    Ok((vec![stage], Some(name.to_owned())))
}

/// Runs `cargo test`, shows what it prints, and counts it. Dropping the future ends cargo and what it started.
pub(super) async fn cargo_test(
    selection: &[&str],
    runner: &[&str],
    environment: &[(&str, &std::ffi::OsStr)],
    tally: &mut Tally,
) -> Result<()> {
    let mut command = run::cargo(&["test", "--locked"]);
    command.args(selection).arg("--").args(runner).stdout(Stdio::piped());
    // A failing case shows what it saw; the frames of the runner help nobody.
    command.env("RUST_LIB_BACKTRACE", "0").envs(environment.iter().copied());
    let failed_before = tally.failed();
    let mut group = run::Group::spawn(command)?;
    let output = group.child.stdout.take().context("cargo test has no standard output")?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        println!("{line}");
        tally.read_line(&line);
    }
    let status = group.child.wait().await?;
    if !status.success() && tally.failed() == failed_before {
        bail!("cargo test failed ({status})");
    }
    Ok(())
}

fn counted(tally: &mut Tally, outcome: Result<()>) -> Result<()> {
    outcome?;
    tally.count_pass();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Stage, named};

    #[test]
    fn a_name_is_a_stage_or_a_case_of_the_stage_that_holds_it() {
        assert_eq!(named("lint").unwrap(), (vec![Stage::Lint], None));
        assert_eq!(named("e2e_scale").unwrap(), (vec![Stage::Cluster], Some("e2e_scale".to_owned())));
        assert_eq!(
            named("admit_storage").unwrap(),
            (vec![Stage::ApiServer], Some("admit_storage".to_owned()))
        );
        let message = named("nonsense").unwrap_err().to_string();
        assert!(message.contains("api-server") && message.contains("nonsense"), "{message}");
    }
}
