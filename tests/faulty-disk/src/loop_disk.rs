//! A small real file system: ext4 on a file, mounted through a loop device.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

/// A mounted ext4 of a given size. Unmounted when dropped; the loop device goes with it.
#[derive(Debug)]
pub struct LoopDisk {
    mount: PathBuf,
    _folder: TempDir,
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
        Ok(Self { mount, _folder: folder })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Bytes that are free.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(&self.mount)?;
        Ok(space.f_bavail * space.f_frsize)
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Whatever still has a file open keeps the file system alive, out of sight, until it closes that.
        if let Err(error) = unmount(&self.mount, UnmountFlags::DETACH) {
            eprintln!("unable to unmount {}: {error}", self.mount.display());
        }
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
