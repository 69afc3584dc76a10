//! `cargo xtask crds`: the generated CRD files.
//!
//! The types in `operator/api` are the source; `connected-cache-operator crd` prints them. The same text stands in `crds/`
//! for people who apply it by hand or by GitOps, and wrapped by the chart's conditions in the chart.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{run, workspace};

/// Options of `cargo xtask crds`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Compare instead of writing; fail when a file differs from the types.
    #[arg(long)]
    pub check: bool,
}

/// Writes or compares the files.
pub(crate) fn main(options: &Options) -> Result<()> {
    let printed = run::read(&mut run::cargo(&[
        "run",
        "--quiet",
        "--locked",
        "--package",
        "connected-cache-operator",
        "--",
        "crd",
    ]))?;
    let printed = String::from_utf8(printed)?;
    for (path, text) in files(&printed) {
        if options.check {
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            if found != text {
                bail!("{} differs from the types: run `cargo xtask crds`", path.display());
            }
        } else {
            std::fs::write(&path, text)?;
            println!("wrote {}", path.display());
        }
    }
    Ok(())
}

/// The files made from the printed CRD.
fn files(printed: &str) -> Vec<(PathBuf, String)> {
    let root = workspace::root();
    vec![
        (root.join("crds/connectedcaches.connectedcache.dev.yaml"), printed.to_owned()),
        (
            root.join("charts/connected-cache/files/connectedcaches.connectedcache.dev.yaml"),
            printed.to_owned(),
        ),
    ]
}
