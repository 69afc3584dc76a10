//! The stages that need more than cargo: which files of `tests/tests` and of other crates, in which order, on what.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use connected_cache_cluster::components::Component;
use connected_cache_cluster::{Cluster, interrupted};
use connected_cache_tests::diagnose::describe_namespace;
use connected_cache_tests::lab::{HELM_VARIABLE, KUBECONFIG_VARIABLE, OPERATOR_NAMESPACE};

use super::Tally;
use super::stages::cargo_test;
use crate::target::Target;
use crate::{cluster, image, workspace};

/// The file that removes the release: always last.
const LAST: &str = "e2e_lifecycle";

/// The tests of disks that fail and of power loss, which mount file systems.
pub(super) async fn storage(tally: &mut Tally) -> Result<()> {
    if let Some(reason) = connected_cache_faulty_disk::missing(&[]) {
        println!("left out: {reason}");
        return Ok(());
    }
    // The features are those of the unit tests, so that little is built anew.
    let mut selection = vec!["--all-features", "--no-fail-fast"];
    for (package, test) in [
        ("connected-cache-faulty-disk", "pass_through"),
        ("connected-cache-store", "power_loss"),
        ("connected-cache-sidecar", "disk"),
    ] {
        selection.extend(["--package", package, "--test", test]);
    }
    // What is skipped is the disk's own process, which the tests start.
    let runner = ["--ignored", "--skip", "faulty_disk_process", "--test-threads", "2"];
    tokio::select! {
        biased;
        signal = interrupted() => bail!("{}", signal?),
        outcome = cargo_test(&selection, &runner, &[], tally) => outcome,
    }
}

/// Cases on a real etcd and kube-apiserver, which each file starts for itself.
pub(super) async fn api_server(case: Option<&str>, tally: &mut Tally) -> Result<()> {
    cluster::ensure(&Component::API_SERVER).await?;
    let files = select(files(&["admit_", "reconcile_"])?, case)?;
    run(&files, &[], tally).await
}

/// The cases of the throwaway cluster's own crate. With a `KUBECONFIG` given no throwaway cluster is used, so they are left
/// out.
pub(crate) async fn throwaway(tally: &mut Tally) -> Result<()> {
    if Target::is_given() {
        println!("left out: KUBECONFIG names a cluster, so the throwaway cluster is not used");
        return Ok(());
    }
    cluster::ensure(&Component::ALL).await?;
    let selection = ["--package", "connected-cache-cluster", "--test", "api_server", "--test", "cluster"];
    tokio::select! {
        biased;
        signal = interrupted() => {
            Cluster::remove_any().await?;
            bail!("{}; what was made is removed", signal?)
        }
        outcome = cargo_test(&selection, &["--ignored", "--test-threads", "1"], &[], tally) => outcome,
    }
}

/// Cases on a cluster: the throwaway one, or that of `KUBECONFIG`.
pub(super) async fn cluster(case: Option<&str>, tally: &mut Tally) -> Result<()> {
    let files = select(files(&["e2e_"])?, case)?;
    let images = image::build()?;
    let target = Target::prepare(false).await?;
    let outcome = target.interruptible(on_cluster(&target, &images, &files, tally)).await;
    let ended = target.end().await;
    outcome.and(ended)
}

async fn on_cluster(
    target: &Target,
    images: &[image::Built],
    files: &[String],
    tally: &mut Tally,
) -> Result<()> {
    target.load(images).await?;
    let lab = target.lab().await?;
    if let Err(error) = lab.install(&[]).await {
        eprintln!("{}", describe_namespace(&lab.client, OPERATOR_NAMESPACE).await);
        return Err(error).context("the chart can't be installed");
    }
    tally.count_pass();
    let environment =
        [(KUBECONFIG_VARIABLE, target.kubeconfig().as_os_str()), (HELM_VARIABLE, target.helm().as_os_str())];
    run(files, &environment, tally).await
}

async fn run(files: &[String], environment: &[(&str, &OsStr)], tally: &mut Tally) -> Result<()> {
    for file in files {
        let selection = ["--package", "connected-cache-tests", "--test", file.as_str()];
        // What cases measure is printed by those that pass as well.
        let runner = ["--ignored", "--test-threads", "4", "--show-output"];
        cargo_test(&selection, &runner, environment, tally).await?;
    }
    Ok(())
}

/// The case files whose names begin with one of the prefixes, sorted, the one that removes the release last.
fn files(prefixes: &[&str]) -> Result<Vec<String>> {
    let folder = workspace::root().join("tests/tests");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("unable to list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        if path.extension() == Some(OsStr::new("rs"))
            && prefixes.iter().any(|prefix| name.starts_with(prefix))
        {
            names.push(name.to_owned());
        }
    }
    names.sort_by_key(|name| (name == LAST, name.clone()));
    if names.is_empty() {
        bail!("no case files {prefixes:?} in {}", Path::new("tests/tests").display());
    }
    Ok(names)
}

fn select(files: Vec<String>, case: Option<&str>) -> Result<Vec<String>> {
    let Some(case) = case else { return Ok(files) };
    let all = files.join(", ");
    let chosen: Vec<String> = files.into_iter().filter(|file| file.starts_with(case)).collect();
    if chosen.is_empty() {
        bail!("no case file begins with {case:?}: there are {all}");
    }
    Ok(chosen)
}
