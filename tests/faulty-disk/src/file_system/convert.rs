//! Between the structures of the system and those of the FUSE protocol.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, INodeNo};
use rustix::fs::{FileType, Stat};

use crate::log::Node;

pub(super) fn attributes(node: Node, status: &Stat) -> FileAttr {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    FileAttr {
        ino: INodeNo(node.0),
        size: u64::try_from(status.st_size).unwrap_or(0),
        blocks: u64::try_from(status.st_blocks).unwrap_or(0),
        atime: time(status.st_atime, status.st_atime_nsec),
        mtime: time(status.st_mtime, status.st_mtime_nsec),
        ctime: time(status.st_ctime, status.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind: kind(FileType::from_raw_mode(status.st_mode)),
        perm: u16::try_from(status.st_mode & 0o7777).unwrap_or(0),
        nlink: narrow(status.st_nlink),
        uid: status.st_uid,
        gid: status.st_gid,
        rdev: narrow(status.st_rdev),
        blksize: 4096,
        flags: 0,
    }
}

pub(super) fn kind(kind: FileType) -> fuser::FileType {
    match kind {
        FileType::Directory => fuser::FileType::Directory,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::Socket => fuser::FileType::Socket,
        FileType::CharacterDevice => fuser::FileType::CharDevice,
        FileType::BlockDevice => fuser::FileType::BlockDevice,
        _ => fuser::FileType::RegularFile,
    }
}

fn time(seconds: i64, nanoseconds: impl TryInto<u32>) -> SystemTime {
    let nanoseconds = nanoseconds.try_into().unwrap_or(0);
    u64::try_from(seconds).map_or(UNIX_EPOCH, |seconds| UNIX_EPOCH + Duration::new(seconds, nanoseconds))
}
