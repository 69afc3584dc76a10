//! Long-running processes of a cluster, each in a session of its own, with a log file and a record of who it is.
//!
//! A process is named by pid, start time and boot: a recycled pid is never taken for the process of an earlier run. Signals
//! go through a pidfd opened before the start time is compared, so the answer still holds when the signal is sent.

use std::{
    fs::OpenOptions,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid},
};
use serde::{Deserialize, Serialize};

use crate::{
    command,
    error::{Error, FileContext, Result},
    run_folder::{RunFolder, write_whole},
};

/// One process of one boot of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Process id.
    pub(crate) pid: i32,
    /// Clock ticks between boot and its start (`/proc/<pid>/stat`, field 22).
    pub(crate) start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub(crate) boot: String,
}

impl Identity {
    /// The process that has `pid` now, unless it has ended already (a zombie has).
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start_time) = parse_stat(&stat)?;
        (!matches!(state, 'Z' | 'X')).then(|| Self { pid, start_time, boot: boot() })
    }

    /// This process.
    pub(crate) fn own() -> Option<Self> {
        Self::of(i32::try_from(std::process::id()).ok()?)
    }

    /// Whether it still runs.
    #[must_use]
    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// A handle that stays with this very process, or `None` when it has ended.
    fn handle(&self) -> Option<OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        self.is_alive().then_some(handle)
    }

    /// Sends a signal; nothing happens when the process has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(handle) = self.handle() {
            let _ = pidfd_send_signal(handle, signal);
        }
    }

    /// Waits for its end; false when it still runs after `limit`.
    pub(crate) fn wait_for_end(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while let Some(handle) = self.handle() {
            let remaining = deadline.saturating_duration_since(Instant::now());
            let Ok(timeout) = Timespec::try_from(remaining) else { return false };
            let mut polled = [PollFd::new(&handle, PollFlags::IN)];
            if matches!(poll(&mut polled, Some(&timeout)), Ok(0)) {
                return false;
            }
        }
        // A child of this very process is a zombie until it is waited for.
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
        true
    }
}

/// The identifier of this boot of the machine.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// State letter and start time of a `/proc/<pid>/stat` line; the name in parentheses may itself hold parentheses and spaces.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// What is needed to start a process, and to start it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

/// A process of the cluster as recorded in the run folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) launch: Launch,
    pub(crate) identity: Identity,
}

impl Record {
    /// Starts a process and records it. Its log is appended to, so a restart keeps the earlier lines.
    pub(crate) fn start(run: &RunFolder, launch: Launch) -> Result<Self> {
        let log_path = log_file(run, &launch.name);
        let log = OpenOptions::new().create(true).append(true).open(&log_path).context("open", &log_path)?;
        let errors = log.try_clone().context("open", &log_path)?;
        // setsid replaces itself by the program: the pid stays.
        let mut command = Command::new(command::program_path("setsid"));
        command
            .arg(&launch.program)
            .args(&launch.arguments)
            .envs(launch.environment.iter().cloned())
            .current_dir(run.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        let line = command::command_line(&command);
        let child = command.spawn().map_err(|source| command::not_started(&line, &source))?;
        let ended = || Error::Ended {
            name: launch.name.clone(),
            log_tail: command::tail(&log_path, 20),
            log: log_path.clone(),
        };
        let identity = i32::try_from(child.id()).ok().and_then(Identity::of).ok_or_else(ended)?;
        let record = Self { launch, identity };
        let text = serde_json::to_string_pretty(&record).unwrap_or_default();
        write_whole(&record_file(run, &record.launch.name), text.as_bytes(), 0o600)?;
        Ok(record)
    }

    /// The recorded process of that name.
    pub(crate) fn read(run: &RunFolder, name: &str) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(record_file(run, name)).ok()?).ok()
    }

    /// All recorded processes, by name.
    pub(crate) fn all(run: &RunFolder) -> Vec<Self> {
        let mut records: Vec<Self> = std::fs::read_dir(run.processes())
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| serde_json::from_slice(&std::fs::read(entry.path()).ok()?).ok())
            .collect();
        records.sort_by(|a: &Self, b| a.launch.name.cmp(&b.launch.name));
        records
    }

    /// An error with the end of its log when it has ended.
    pub(crate) fn check_alive(&self, run: &RunFolder) -> Result<()> {
        if self.identity.is_alive() {
            return Ok(());
        }
        let log = log_file(run, &self.launch.name);
        Err(Error::Ended { name: self.launch.name.clone(), log_tail: command::tail(&log, 20), log })
    }
}

pub(crate) fn log_file(run: &RunFolder, name: &str) -> PathBuf {
    run.logs().join(format!("{name}.log"))
}

fn record_file(run: &RunFolder, name: &str) -> PathBuf {
    run.processes().join(Path::new(name).with_extension("json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(run: &RunFolder, seconds: &str) -> Record {
        std::fs::create_dir_all(run.logs()).unwrap();
        std::fs::create_dir_all(run.processes()).unwrap();
        let launch = Launch {
            name: "sleeper".to_owned(),
            program: command::program_path("sleep"),
            arguments: vec![seconds.to_owned()],
            environment: Vec::new(),
        };
        Record::start(run, launch).unwrap()
    }

    #[test]
    fn a_started_process_is_recorded_and_ends_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        let record = sleeper(&run, "600");
        assert_eq!(Record::all(&run), vec![record.clone()]);
        assert!(record.identity.is_alive());
        assert!(!record.identity.wait_for_end(Duration::from_millis(50)), "it sleeps on");
        record.identity.signal(Signal::KILL);
        assert!(record.identity.wait_for_end(Duration::from_secs(10)), "it was killed");
        assert!(!Path::new(&format!("/proc/{}", record.identity.pid)).exists(), "and no zombie is left");
        assert!(record.check_alive(&run).unwrap_err().to_string().contains("sleeper"));
    }

    #[test]
    fn a_recycled_pid_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let record = sleeper(&RunFolder::new(folder.path()), "600");
        let earlier = Identity { start_time: record.identity.start_time - 1, ..record.identity.clone() };
        let other_boot = Identity { boot: "other".to_owned(), ..record.identity.clone() };
        for stale in [earlier, other_boot] {
            assert!(!stale.is_alive());
            stale.signal(Signal::KILL);
            assert!(stale.wait_for_end(Duration::from_secs(1)));
        }
        assert!(record.identity.is_alive(), "the namesake was hit");
        record.identity.signal(Signal::KILL);
        assert!(record.identity.wait_for_end(Duration::from_secs(10)));
    }

    #[test]
    fn names_with_parentheses_do_not_confuse_the_stat_parser() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 10";
        assert_eq!(parse_stat(stat), Some(('S', 4711)));
        assert_eq!(parse_stat("7 (a"), None);
    }
}
