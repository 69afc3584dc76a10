//! The binary as a process of its own.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

use connected_cache_config::Config;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connected-cache-sidecar"));
    command.env_clear();
    command
}

/// A running binary, ended with the test.
pub(crate) struct Process {
    child: Child,
    pub(crate) http: SocketAddr,
    /// What it writes after it has said that it serves.
    pub(crate) log: UnboundedReceiver<Value>,
}

impl Process {
    /// Starts it on a free port.
    pub(crate) fn start(config: &Config, folder: &Path) -> Self {
        let (child, http, lines) = start(config, folder);
        let (sender, log) = unbounded_channel();
        // Keeps reading, so that it never waits for us.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).expect("a line of the log is JSON"));
            }
        });
        Self { child, http, log }
    }

    /// As [`Self::start`], but nobody reads its log from the moment that it serves on.
    pub(crate) fn start_unread(config: &Config, folder: &Path) -> (Self, impl Sized) {
        let (child, http, lines) = start(config, folder);
        (Self { child, http, log: unbounded_channel().1 }, lines)
    }

    /// Lines of the access log, the next so many.
    pub(crate) async fn access_lines(&mut self, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        while found.len() < count {
            let line = tokio::time::timeout(std::time::Duration::from_secs(20), self.log.recv()).await;
            let line = line.expect("a line comes").expect("it still runs");
            if line["target"] == "access" {
                found.push(line);
            }
        }
        found
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Blocks until it has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

/// Starts the binary and reads its address from its log.
fn start(config: &Config, folder: &Path) -> (Child, SocketAddr, std::io::Lines<BufReader<ChildStdout>>) {
    let file = folder.join("config.yaml");
    std::fs::write(&file, config.to_yaml()).unwrap();
    let mut command = binary();
    command.args(["serve", "--config"]).arg(&file).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let http = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let line: Value = serde_json::from_str(&line).unwrap();
        (line["message"] == "serving").then(|| line["http"].as_str().unwrap().parse().unwrap())
    });
    (child, http.expect("it says that it serves"), lines)
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
