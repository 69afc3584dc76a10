//! The cgroup below which everything of a node runs: made in every hierarchy of cgroup v1, or in the one of cgroup v2.

use std::path::{Path, PathBuf};

use crate::error::{Error, FileContext, Result};

/// Every node's cgroup begins so; the clean-up knows them by it.
pub(crate) const PREFIX: &str = "connected-cache-node";

/// Where cgroups are mounted.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// The cgroup of a node, as the kubelet's `cgroupRoot` wants it.
pub(crate) fn node_path(index: usize) -> String {
    format!("/{PREFIX}{index}")
}

/// Makes the cgroup of a node below `root`.
pub(crate) fn create(root: &Path, index: usize) -> Result<()> {
    let name = format!("{PREFIX}{index}");
    if root.join("cgroup.controllers").is_file() {
        return create_unified(root, &name);
    }
    let hierarchies = hierarchies(root);
    if !hierarchies.iter().any(|hierarchy| hierarchy.ends_with("memory")) {
        return Err(Error::Unsuitable {
            problem: format!(
                "no cgroup hierarchy with the memory controller is mounted at {}",
                root.display()
            ),
            advice: "mount cgroup v2 there, or the hierarchies of cgroup v1".to_owned(),
        });
    }
    for hierarchy in hierarchies {
        let cgroup = hierarchy.join(&name);
        std::fs::create_dir_all(&cgroup).context("create", &cgroup)?;
        // A new cpuset is empty, and no process can join an empty one.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let inherited = hierarchy.join(file);
            if inherited.is_file() {
                let value = std::fs::read(&inherited).context("read", &inherited)?;
                std::fs::write(cgroup.join(file), value).context("write", cgroup.join(file))?;
            }
        }
    }
    Ok(())
}

fn create_unified(root: &Path, name: &str) -> Result<()> {
    let cgroup = root.join(name);
    enable_controllers(root)?;
    std::fs::create_dir_all(&cgroup).context("create", &cgroup)?;
    enable_controllers(&cgroup)
}

/// Hands every controller of a v2 cgroup on to its children.
fn enable_controllers(cgroup: &Path) -> Result<()> {
    let controllers = cgroup.join("cgroup.controllers");
    let subtree = cgroup.join("cgroup.subtree_control");
    let available = std::fs::read_to_string(&controllers).context("read", &controllers)?;
    for controller in available.split_whitespace() {
        let enabled = std::fs::write(&subtree, format!("+{controller}"));
        // The kubelet cannot do without these; a controller such as rdma may refuse.
        if let Err(source) = enabled
            && ["cpu", "cpuset", "memory", "pids"].contains(&controller)
        {
            return Err(Error::Unsuitable {
                problem: format!("unable to hand the cgroup controller {controller} on in {}: {source}", cgroup.display()),
                advice: "inside a container, give it its own cgroup namespace with an empty root cgroup, or run on the host"
                    .to_owned(),
            });
        }
    }
    Ok(())
}

/// All cgroups of nodes that exist below `root`, in every hierarchy.
pub(crate) fn of_nodes(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::iter::once(root.to_owned())
        // A runtime also makes them in the v2 hierarchy that stands beside those of v1.
        .chain(folders(root))
        .flat_map(|folder| folders(&folder))
        .filter(|folder| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)))
        .collect();
    found.sort();
    found
}

/// Removes a cgroup and those below it; they must hold no processes.
pub(crate) fn remove(cgroup: &Path) -> Result<()> {
    for child in folders(cgroup) {
        remove(&child)?;
    }
    match std::fs::remove_dir(cgroup) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(source).context("remove", cgroup),
        _ => Ok(()),
    }
}

/// The mounted v1 hierarchies. Links such as `cpu -> cpu,cpuacct` are names of others.
fn hierarchies(root: &Path) -> Vec<PathBuf> {
    folders(root)
        .into_iter()
        .filter(|folder| folder.join("cgroup.procs").is_file() && !is_unified(folder))
        .collect()
}

fn is_unified(folder: &Path) -> bool {
    folder.join("cgroup.controllers").is_file()
}

/// Folders in `folder`, without links.
fn folders(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(root: &Path, name: &str, files: &[(&str, &str)]) {
        std::fs::create_dir_all(root.join(name)).unwrap();
        for (file, text) in files {
            std::fs::write(root.join(name).join(file), text).unwrap();
        }
    }

    #[test]
    fn version_one_gets_a_cgroup_in_every_hierarchy_with_its_processors() {
        let root = tempfile::tempdir().unwrap();
        hierarchy(root.path(), "memory", &[("cgroup.procs", "")]);
        hierarchy(
            root.path(),
            "cpuset",
            &[("cgroup.procs", ""), ("cpuset.cpus", "0-1"), ("cpuset.mems", "0")],
        );
        hierarchy(root.path(), "unified", &[("cgroup.procs", ""), ("cgroup.controllers", "")]);
        create(root.path(), 2).unwrap();
        assert!(root.path().join("memory/connected-cache-node2").is_dir());
        assert!(!root.path().join("unified/connected-cache-node2").exists());
        std::fs::create_dir(root.path().join("unified/connected-cache-node2")).unwrap();
        let processors =
            std::fs::read_to_string(root.path().join("cpuset/connected-cache-node2/cpuset.cpus")).unwrap();
        assert_eq!(processors, "0-1");
        assert_eq!(of_nodes(root.path()).len(), 3, "whoever made them, all are found");
    }

    #[test]
    fn version_two_hands_controllers_on() {
        let root = tempfile::tempdir().unwrap();
        hierarchy(root.path(), "", &[("cgroup.controllers", "memory pids"), ("cgroup.procs", "")]);
        // In a real hierarchy the kernel makes the files of a new cgroup; here they are there before it.
        hierarchy(root.path(), "connected-cache-node0", &[("cgroup.controllers", "memory pids")]);
        create(root.path(), 0).unwrap();
        for folder in ["", "connected-cache-node0"] {
            let enabled =
                std::fs::read_to_string(root.path().join(folder).join("cgroup.subtree_control")).unwrap();
            assert_eq!(enabled, "+pids", "the last one written to {folder:?}");
        }
    }

    #[test]
    fn no_cgroups_is_a_message() {
        let root = tempfile::tempdir().unwrap();
        assert!(create(root.path(), 0).unwrap_err().to_string().contains("mount cgroup"));
    }

    #[test]
    fn removal_goes_from_the_leaves_up() {
        let root = tempfile::tempdir().unwrap();
        let cgroup = root.path().join("connected-cache-node0");
        std::fs::create_dir_all(cgroup.join("kubepods/pod1/container")).unwrap();
        remove(&cgroup).unwrap();
        remove(&cgroup).unwrap();
        assert!(!cgroup.exists());
    }
}
