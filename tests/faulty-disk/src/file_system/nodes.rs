//! Files and folders of the backing folder, by the numbers that the kernel and the log know them by.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

use crate::log::Node;

/// A node is held by a descriptor without rights, so that its number stays its own even after its last name is gone.
#[derive(Debug)]
struct Held {
    descriptor: Arc<OwnedFd>,
    identity: (u64, u64),
}

/// All nodes that were ever looked up and still exist.
#[derive(Debug)]
pub(super) struct Nodes {
    held: HashMap<Node, Held>,
    by_identity: HashMap<(u64, u64), Node>,
    next: u64,
}

impl Nodes {
    pub(super) fn new(root: OwnedFd) -> io::Result<Self> {
        let mut nodes = Self { held: HashMap::new(), by_identity: HashMap::new(), next: Node::ROOT.0 };
        nodes.hold(root)?;
        Ok(nodes)
    }

    /// Every node, for invalidating what the kernel knows of them.
    pub(super) fn all(&self) -> Vec<Node> {
        self.held.keys().copied().collect()
    }

    pub(super) fn descriptor(&self, node: Node) -> rustix::io::Result<Arc<OwnedFd>> {
        self.held.get(&node).map(|held| Arc::clone(&held.descriptor)).ok_or(Errno::STALE)
    }

    pub(super) fn status(&self, node: Node) -> io::Result<Stat> {
        Ok(fstat(&*self.descriptor(node)?)?)
    }

    /// The node with this name.
    pub(super) fn look_up(&mut self, parent: Node, name: &OsStr) -> io::Result<(Node, Stat)> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = self.descriptor(parent)?;
        self.hold(openat(&*parent, name, flags, Mode::empty())?)
    }

    fn hold(&mut self, descriptor: OwnedFd) -> io::Result<(Node, Stat)> {
        let status = fstat(&descriptor)?;
        let identity = (status.st_dev, status.st_ino);
        if let Some(node) = self.by_identity.get(&identity) {
            return Ok((*node, status));
        }
        let node = Node(self.next);
        self.next += 1;
        self.held.insert(node, Held { descriptor: Arc::new(descriptor), identity });
        self.by_identity.insert(identity, node);
        Ok((node, status))
    }

    /// The kernel knows a node no more. One that has names keeps its number: the log may speak of it again.
    pub(super) fn forget(&mut self, node: Node) {
        let has_no_name = self.status(node).is_ok_and(|status| status.st_nlink == 0);
        if has_no_name && let Some(held) = self.held.remove(&node) {
            self.by_identity.remove(&held.identity);
        }
    }

    /// Opens a node for real.
    pub(super) fn open(&self, node: Node, flags: OFlags) -> io::Result<File> {
        let path = format!("/proc/self/fd/{}", self.descriptor(node)?.as_raw_fd());
        Ok(openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())?.into())
    }
}
