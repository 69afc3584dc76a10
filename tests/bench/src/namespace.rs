//! The network namespace of a run: nobody else's traffic, ports or settings.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::abandoned::{is_abandoned, own_name};
use crate::process::run;

/// Where `ip netns` keeps names.
const FOLDER: &str = "/run/netns";

/// A namespace with only a loopback interface; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace and moves the calling thread into it; threads and processes that it starts from then on are inside
    /// as well. What a run left behind that was killed is removed first.
    pub(crate) fn enter() -> Result<Self> {
        remove_abandoned()?;
        let name = own_name();
        ip(&["netns", "add", &name]).context("a network namespace is needed, which only root can make")?;
        let namespace = Self { name };
        ip(&["-n", &namespace.name, "link", "set", "lo", "up"])?;
        let file = File::open(namespace.path()).context("unable to open the network namespace")?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .context("unable to move into the network namespace")?;
        Ok(namespace)
    }

    fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("the network namespace {} is left behind: {error:#}", self.name);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<String> {
    run(Command::new("ip").args(arguments))
}

/// Namespaces whose maker is gone, and what still runs inside of them.
fn remove_abandoned() -> Result<()> {
    // Without the folder nobody ever made a namespace.
    let Ok(entries) = std::fs::read_dir(FOLDER) else { return Ok(()) };
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        if !is_abandoned(name) {
            continue;
        }
        for inside in ip(&["netns", "pids", name])?.lines().filter_map(process) {
            // It may end by itself meanwhile.
            let _ = kill_process(inside, Signal::KILL);
        }
        ip(&["netns", "delete", name])?;
    }
    Ok(())
}

fn process(text: &str) -> Option<Pid> {
    Pid::from_raw(text.trim().parse().ok()?)
}
