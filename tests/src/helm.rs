//! The real `helm` binary, called as a person would call it.

use std::path::PathBuf;
use std::process::Output;

use anyhow::{Context, Result, bail};

/// `helm` with the kubeconfig that every call uses.
#[derive(Clone, Debug)]
pub struct Helm {
    /// Path of the binary.
    pub binary: PathBuf,
    /// Passed as `KUBECONFIG`.
    pub kubeconfig: PathBuf,
}

impl Helm {
    /// Runs helm and gives its standard output; a failure carries its standard error.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments).await?;
        if !output.status.success() {
            bail!("helm {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs helm and gives the outcome, whatever it is.
    pub async fn output(&self, arguments: &[&str]) -> Result<Output> {
        tokio::process::Command::new(&self.binary)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(arguments)
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("unable to run {}", self.binary.display()))
    }
}
