//! Removes a cluster: whatever exists of it, however far it came, whoever made it.
//!
//! Nothing here relies on memory of the run. What belongs to a cluster is known by the run folder's records (checked by
//! start time), by its network namespaces' names and by its cgroups' names; each step may find its work done already.

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    cgroups, command,
    error::{Error, FileContext, Result},
    network::{HOST_LINK, NAMESPACE_FOLDER, NAMESPACE_PREFIX},
    node::MADE_FOLDERS_FILE,
    process::{Identity, Record},
    run_folder::RunFolder,
};

/// How long killed processes may take to be gone.
const END_LIMIT: Duration = Duration::from_secs(30);

/// Ends and removes everything. The caller holds the lock of the run folder.
pub(crate) fn remove_everything(run: &RunFolder) -> Result<()> {
    end_processes(run)?;
    unmount_below(run.path())?;
    remove_network()?;
    for cgroup in cgroups::of_nodes(Path::new(cgroups::ROOT)) {
        remove_cgroup(&cgroup)?;
    }
    remove_made_folders(run);
    match std::fs::remove_dir_all(run.path()) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(source).context("remove", run.path())
        }
        _ => Ok(()),
    }
}

/// Whether anything of a cluster is on this machine.
pub(crate) fn anything_left(run: &RunFolder) -> bool {
    run.state().is_some()
        || !Record::all(run).is_empty()
        || !namespaces().is_empty()
        || !cgroups::of_nodes(Path::new(cgroups::ROOT)).is_empty()
        || host_link_exists()
}

/// Kills what is recorded (kubelets and containerds are, so nothing starts anew), then everything that lives in a namespace
/// or cgroup of the cluster, until there is nothing more.
fn end_processes(run: &RunFolder) -> Result<()> {
    let recorded: Vec<Identity> = Record::all(run).into_iter().map(|record| record.identity).collect();
    let deadline = Instant::now() + END_LIMIT;
    let mut ending = recorded;
    loop {
        for identity in &ending {
            identity.signal(Signal::KILL);
        }
        let left: Vec<&Identity> = ending
            .iter()
            .filter(|identity| !identity.wait_for_end(deadline.saturating_duration_since(Instant::now())))
            .collect();
        if !left.is_empty() {
            let pids: Vec<String> = left.iter().map(|identity| identity.pid.to_string()).collect();
            return Err(Error::LeftOver { left: format!("processes that do not end: {}", pids.join(", ")) });
        }
        ending = inhabitants();
        if ending.is_empty() {
            return Ok(());
        }
    }
}

/// Every process in a network namespace, mount namespace or cgroup of the cluster.
fn inhabitants() -> Vec<Identity> {
    let networks: BTreeSet<u64> = namespaces()
        .iter()
        .filter_map(|path| std::fs::metadata(path).ok())
        .map(|metadata| metadata.ino())
        .collect();
    let marker = format!(":/{}", cgroups::PREFIX);
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let network = std::fs::metadata(format!("/proc/{pid}/ns/net")).map(|metadata| metadata.ino());
            network.is_ok_and(|inode| networks.contains(&inode))
                || std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
                    .is_ok_and(|text| text.contains(&marker))
        })
        .filter_map(Identity::of)
        .collect()
}

/// The files of the cluster's network namespaces.
fn namespaces() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(NAMESPACE_FOLDER)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| is_ours(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// `cc-fabric` and `cc-node<number>`, not whatever else begins so.
fn is_ours(namespace: &str) -> bool {
    namespace.strip_prefix(NAMESPACE_PREFIX).is_some_and(|rest| {
        rest == "fabric" || rest.strip_prefix("node").is_some_and(|index| index.parse::<usize>().is_ok())
    })
}

fn host_link_exists() -> bool {
    Path::new("/sys/class/net").join(HOST_LINK).exists()
}

/// Links and routes go with their ends; a namespace goes with its name, as nobody is in it any more.
fn remove_network() -> Result<()> {
    if host_link_exists() {
        command::run("ip", ["link", "del", HOST_LINK])?;
    }
    for path in namespaces() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        command::run("ip", ["netns", "del", &name])?;
    }
    remove_empty_namespace_folder();
    Ok(())
}

/// `ip netns` mounts its folder on itself when it makes the first name; with the last name gone, that goes too.
fn remove_empty_namespace_folder() {
    let folder = Path::new(NAMESPACE_FOLDER);
    let is_empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty {
        if mounts_below(folder).iter().any(|mount| mount == folder) {
            // Somebody else may be using it: then it stays, as it did before.
            let _ = command::run("umount", [NAMESPACE_FOLDER]);
        }
        let _ = std::fs::remove_dir(folder);
    }
}

fn unmount_below(folder: &Path) -> Result<()> {
    let mut mounts = mounts_below(folder);
    // The last one mounted may lie on top of an earlier one.
    mounts.reverse();
    for mount in mounts {
        command::run("umount", ["--lazy".as_ref(), mount.as_os_str()])?;
    }
    Ok(())
}

/// Mount points at or below `folder`, in the order they were mounted.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mount_points(&table).filter(|mount| mount.starts_with(folder)).collect()
}

/// The fifth field of each line; white space in it is written in octal.
fn mount_points(table: &str) -> impl Iterator<Item = PathBuf> + '_ {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| {
        PathBuf::from(
            field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\"),
        )
    })
}

/// A cgroup is busy for a moment after its last process ended.
fn remove_cgroup(cgroup: &Path) -> Result<()> {
    let deadline = Instant::now() + END_LIMIT;
    loop {
        match cgroups::remove(cgroup) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            result => return result,
        }
    }
}

/// Removes the folders that were made on the host to be hidden; they are empty, or stay.
fn remove_made_folders(run: &RunFolder) {
    let list = std::fs::read_to_string(run.join(MADE_FOLDERS_FILE)).unwrap_or_default();
    for folder in list.lines() {
        let _ = std::fs::remove_dir(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_a_cluster_are_ours() {
        for (name, ours) in [
            ("cc-fabric", true),
            ("cc-node12", true),
            ("cc-nodes", false),
            ("cc-", false),
            ("cni-1", false),
            ("node0", false),
        ] {
            assert_eq!(is_ours(name), ours, "{name}");
        }
    }

    #[test]
    fn mount_points_with_spaces_are_read() {
        let table = "36 35 98:0 / /a/b\\040c rw - ext3 /dev/root rw\n37 35 0:1 / /d rw - proc proc rw\n";
        let found: Vec<PathBuf> = mount_points(table).collect();
        assert_eq!(found, [PathBuf::from("/a/b c"), PathBuf::from("/d")]);
    }
}
