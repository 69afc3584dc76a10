//! The machine that measures: which cores are used, and what a reader has to know of it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// The most cores that are looked at.
const MAX_CORES: usize = 1024;

/// One core for the server, another for the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) load: usize,
}

impl Cores {
    /// The first core that we may use, and the next one that is not its hyper-thread where there is such a one.
    pub(crate) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("unable to read which cores may be used")?;
        let allowed: Vec<usize> = (0..MAX_CORES).filter(|core| allowed.is_set(*core)).collect();
        let [server, others @ ..] = &allowed[..] else { bail!("no core may be used") };
        let siblings = siblings(*server);
        let load = others.iter().find(|core| !siblings.contains(core)).or(others.first());
        let Some(load) = load else { bail!("two cores are needed, one for the server and one for the load") };
        Ok(Self { server: *server, load: *load })
    }
}

/// Keeps the calling thread, and what it starts from now on, on one core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("unable to stay on core {core}"))
}

/// As many open files as the system lets us have: each connection is one.
pub(crate) fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("unable to raise the limit of open files")
}

/// What a reader has to know of the machine.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: Cores,
    pub(crate) kernel: String,
    pub(crate) congestion_control: String,
    pub(crate) file_system: String,
    /// Of the minute before the run: a machine that others use as well gives figures that scatter.
    pub(crate) load_average: f64,
}

impl Machine {
    /// Reads it. Call it inside the namespace: congestion control is a setting of the namespace. `folder` is where the
    /// caches lie.
    pub(crate) fn read(cores: Cores, folder: &Path) -> Self {
        let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let kernel = rustix::system::uname();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self {
            processor: processor(&processors).unwrap_or("unknown").to_owned(),
            cores,
            kernel: format!("{} {}", kernel.sysname().to_string_lossy(), kernel.release().to_string_lossy()),
            congestion_control: congestion_control(),
            file_system: file_system(&mounts, folder).unwrap_or("unknown").to_owned(),
            load_average: first_number(&std::fs::read_to_string("/proc/loadavg").unwrap_or_default()),
        }
    }
}

const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Takes reno in this namespace when something else than cubic or reno is set: with the pacing of BBR a server spends its time
/// in timers, and differences vanish.
pub(crate) fn avoid_pacing() -> Result<()> {
    if ["cubic", "reno"].contains(&congestion_control().as_str()) {
        return Ok(());
    }
    let set = |name: &str| std::fs::write(CONGESTION_CONTROL, name);
    set("cubic").or_else(|_| set("reno")).context("unable to choose the congestion control of the namespace")
}

fn congestion_control() -> String {
    std::fs::read_to_string(CONGESTION_CONTROL).unwrap_or_default().trim().to_owned()
}

fn siblings(core: usize) -> Vec<usize> {
    let file = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    parse_list(std::fs::read_to_string(file).unwrap_or_default().trim())
}

/// Numbers of a list as the kernel writes it: `0-1,4`.
fn parse_list(text: &str) -> Vec<usize> {
    text.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

fn first_number(text: &str) -> f64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// The first `model name` of `/proc/cpuinfo`.
fn processor(text: &str) -> Option<&str> {
    text.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim()))
}

/// The type of the file system with the longest mount point above `folder`.
fn file_system<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = mounted.filter(|(point, _)| folder.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_list("0"), [0]);
        assert_eq!(parse_list("0-2,8,10-11"), [0, 1, 2, 8, 10, 11]);
        assert_eq!(parse_list(""), Vec::<usize>::new());
    }

    #[test]
    fn the_processor_is_the_first_model_name() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n\nmodel name\t: Other\n";
        assert_eq!(processor(text), Some("Some CPU @ 3 GHz"));
        assert_eq!(processor("Processor : ARM"), None);
    }

    #[test]
    fn the_innermost_mount_tells_the_file_system() {
        let mounts = "a / ext4 rw 0 0\nb /var xfs rw 0 0\nc /var/tmp tmpfs rw 0 0\nd /va btrfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/var/tmp/x")), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/var/lib")), Some("xfs"));
        assert_eq!(file_system(mounts, Path::new("/home")), Some("ext4"));
    }
}
