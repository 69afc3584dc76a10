//! Where a volume is: which folder, and whether one that shows in its place may be used.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

use super::INDEX;

/// Device and inode of a folder.
pub(crate) type Identity = (u64, u64);

/// Why a volume can't be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// It was configured wrongly, or another process has it: nothing that a disk does would mend that.
    Mistake(io::Error),
    /// The disk fails, is full or takes no writes.
    Failing(io::Error),
}

/// The folder. One that is missing, or no folder, is a mistake.
pub(super) fn open_folder(path: &Path) -> Result<rustix::fd::OwnedFd, OpenError> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    open(path, flags, Mode::empty()).map_err(io::Error::from).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OpenError::Mistake(error),
        _ => OpenError::Failing(error),
    })
}

/// Device and inode of what has this path now.
pub(crate) fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = path.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Whether the folder with this path may be taken for the volume that was there before: it holds a store, or a file system is
/// mounted there. The empty folder that shows when a disk was unmounted is not one.
pub(crate) fn is_volume(path: &Path) -> bool {
    let is_store = path.join(INDEX).metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
    let device = |path: &Path| identity(path).ok().map(|(device, _)| device);
    let is_mounted = || device(path).zip(device(&path.join(".."))).is_some_and(|(ours, above)| ours != above);
    is_store || is_mounted()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_is_no_volume_and_one_with_a_store_or_a_mount_is() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_volume(folder.path()));
        assert!(!is_volume(&folder.path().join("missing")));
        assert!(is_volume(Path::new("/proc")), "mounted, without a store");
        std::fs::write(folder.path().join(INDEX), b"a store").unwrap();
        assert!(is_volume(folder.path()));
    }
}
