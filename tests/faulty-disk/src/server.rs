//! The process of a disk: mounts it, and does what the test says.
//!
//! Orders come as lines of JSON on standard input, answers go as lines to standard output behind [`MARK`], because the test
//! runner prints there too. When the input ends, so does the process: whoever started it has ended.

use std::io::{self, BufRead as _};
use std::path::PathBuf;
use std::sync::Arc;

use fuser::{BackgroundSession, Config, INodeNo, MountOption};
use rustix::mount::{UnmountFlags, unmount};
use serde::{Deserialize, Serialize};

use crate::faults::Faults;
use crate::file_system::{Disk, FileSystem};

/// Where the process finds its [`Setup`].
pub(crate) const SETUP: &str = "CONNECTEDCACHE_FAULTY_DISK";
/// What an answer stands behind.
pub(crate) const MARK: &str = "faulty-disk: ";

/// What the process is to mount.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) mount: PathBuf,
    pub(crate) backing: PathBuf,
    pub(crate) log: Option<PathBuf>,
}

/// What the process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// From now on these.
    Fail(Faults),
    /// The kernel is to forget pages and attributes.
    DropCaches,
    /// How many operations there were.
    Position,
    /// The mount is gone: write the log and end.
    End,
}

/// An answer: a number, or why not.
pub(crate) type Answer = Result<usize, String>;

/// Serves a disk when this process was started to do so, and returns at once otherwise.
pub fn serve_when_told() {
    let Ok(setup) = std::env::var(SETUP) else { return };
    match serde_json::from_str(&setup).map_err(io::Error::from).and_then(|setup| serve(&setup)) {
        Ok(()) => {}
        Err(error) => answer(&Err(error.to_string())),
    }
}

fn serve(setup: &Setup) -> io::Result<()> {
    let disk = Arc::new(Disk::new(&setup.backing, setup.log.as_deref())?);
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("faulty-disk".to_owned()), MountOption::NoAtime];
    let session = fuser::spawn_mount(FileSystem(Arc::clone(&disk)), &setup.mount, &config)?;
    answer(&Ok(0));
    for line in io::stdin().lock().lines() {
        let outcome = match serde_json::from_str(&line?)? {
            Order::Fail(faults) => {
                disk.set_faults(faults);
                Ok(0)
            }
            Order::DropCaches => drop_caches(&disk, &session).map(|()| 0),
            Order::Position => Ok(disk.log().position()),
            Order::End => {
                session.join()?;
                disk.log().finish()?;
                answer(&Ok(disk.log().position()));
                return Ok(());
            }
        };
        answer(&outcome.map_err(|error: io::Error| error.to_string()));
    }
    // Nobody is left who could unmount. It may have been done already.
    let _ = unmount(&setup.mount, UnmountFlags::DETACH);
    Ok(())
}

fn drop_caches(disk: &Disk, session: &BackgroundSession) -> io::Result<()> {
    let notifier = session.notifier();
    disk.nodes().into_iter().try_for_each(|node| notifier.inval_inode(INodeNo(node.0), 0, 0))
}

fn answer(answer: &Answer) {
    // Can't fail: a number or a text.
    println!("{MARK}{}", serde_json::to_string(answer).unwrap_or_default());
}
