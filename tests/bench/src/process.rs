//! Programs: short ones that run to their end, and servers that run beside us on a core of their own.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt;
use crate::usage::{self, ProcessTree};

/// How long a server has to end by itself.
const END_WITHIN: Duration = Duration::from_secs(10);
/// How often an end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Runs a program to its end and gives what it printed; an error with its standard error when it fails.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("unable to run {name}"))?;
    if !output.status.success() {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} {} failed ({}): {}", arguments.join(" "), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program that runs beside us. It is ended when this is dropped, and by the kernel when we are killed.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts a program on one core; what it prints goes to `output`.
    pub(crate) fn start(program: &Path, arguments: &[String], core: usize, output: &Path) -> Result<Self> {
        let name = program.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let file = File::create(output).with_context(|| format!("unable to make {}", output.display()))?;
        // Both replace themselves by the program, so the child is the program itself.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "taskset", "-c", &core.to_string()])
            .arg(program)
            .args(arguments)
            // Ctrl-C at a terminal is for us; what we started is ended in its turn.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("unable to run {name}"))?;
        Ok(Self { name, child, output: output.to_owned() })
    }

    /// Waits until `ready` says so; an error when the program ends before, or is not ready in time.
    pub(crate) fn wait_until(&mut self, within: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let end = Instant::now() + within;
        while !ready() {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once ({status}): {}", self.name, self.said());
            }
            if Instant::now() > end {
                bail!("{} was not ready in {within:?}: {}", self.name, self.said());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Waits for the end of a program that ends by itself, and gives what it printed.
    pub(crate) fn wait(mut self) -> Result<String> {
        loop {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("{} failed ({status}): {}", self.name, self.said());
                }
                return Ok(std::fs::read_to_string(&self.output)?);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// It and everything that it started.
    pub(crate) fn tree(&self) -> ProcessTree {
        ProcessTree::of(self.child.id())
    }

    /// The last lines of what it printed.
    fn said(&self) -> String {
        let text = std::fs::read(&self.output).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let last = lines[lines.len().saturating_sub(5)..].join(" | ");
        if last.is_empty() { "it said nothing".to_owned() } else { last }
    }

    fn end(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let tree = usage::descendants(self.child.id());
        signal(self.child.id(), Signal::TERM);
        let end = Instant::now() + END_WITHIN;
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        for process in tree {
            signal(process, Signal::KILL);
        }
        // Nothing outlives this signal.
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn signal(process: u32, signal: Signal) {
    if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(process, signal);
    }
}
