//! Calling programs: cargo, docker's kind, helm.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use connected_cache_cluster::interrupted;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::workspace;

/// `cargo` as the one that runs this program, in the root of the checkout.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(workspace::root());
    command
}

/// Runs a program to its end with our terminal; an error when it fails.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("unable to run {shown}"))?;
    if !status.success() {
        bail!("{shown} failed ({status})");
    }
    Ok(())
}

/// Runs a program to its end and gives what it printed; an error with its standard error when it fails.
pub(crate) fn read(command: &mut Command) -> Result<Vec<u8>> {
    let shown = show(command);
    let output = command.output().with_context(|| format!("unable to run {shown}"))?;
    if !output.status.success() {
        bail!("{shown} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// A program in a process group of its own, with everything that it starts. The group is ended when this is dropped, so
/// that nothing goes on when we stop early.
#[derive(Debug)]
pub(crate) struct Group {
    /// The program.
    pub(crate) child: tokio::process::Child,
}

impl Group {
    /// Starts the program.
    pub(crate) fn spawn(mut command: Command) -> Result<Self> {
        let shown = show(&command);
        command.process_group(0);
        let child = tokio::process::Command::from(command).spawn();
        Ok(Self { child: child.with_context(|| format!("unable to run {shown}"))? })
    }

    /// Runs the program to its end with our terminal; a signal to us ends it, and is an error as its failure is.
    pub(crate) async fn check(command: Command) -> Result<()> {
        let shown = show(&command);
        let mut group = Self::spawn(command)?;
        let status = tokio::select! {
            biased;
            signal = interrupted() => bail!("{}", signal?),
            status = group.child.wait() => status?,
        };
        if !status.success() {
            bail!("{shown} failed ({status})");
        }
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else {
            return;
        };
        // It has not been waited for, so the group is still this one. Interrupted as by Ctrl-C: programs clean up after it.
        let _ = kill_process_group(pid, Signal::INT);
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }
}

/// The path of a program on `PATH`.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The command as a person would type it.
fn show(command: &Command) -> String {
    let program =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}
