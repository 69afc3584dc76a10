//! A small real file system: ext4 on a file, mounted through a loop device.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags, fstatvfs, open};
use rustix::mount::{UnmountFlags, unmount};

/// A mounted ext4 of a given size. It has a place in the file tree only while it is being mounted; then it lives as long as
/// this, or anybody who has a file of it open. So nothing is left of it, even when the test is killed.
#[derive(Debug)]
pub struct LoopDisk {
    root: OwnedFd,
    path: PathBuf,
}

impl LoopDisk {
    /// The programs that this needs.
    pub const PROGRAMS: [&str; 2] = ["mkfs.ext4", "mount"];

    /// Makes and mounts a file system of so many bytes.
    pub fn start(bytes: u64) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (image, mount) = (folder.path().join("image"), folder.path().join("mount"));
        std::fs::File::create(&image)?.set_len(bytes)?;
        std::fs::create_dir(&mount)?;
        // No blocks for root, who runs the tests, so that full means full.
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).args([&image, &mount]))?;
        let root = open(&mount, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        unmount(&mount, UnmountFlags::DETACH)?;
        let root = root?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
        Ok(Self { root, path })
    }

    /// Its root folder, for this process only.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that are free.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let space = fstatvfs(&self.root)?;
        Ok(space.f_bavail * space.f_frsize)
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{} failed: {message}", command.get_program().display())))
}
