//! The file system as the kernel sees it: requests of the FUSE protocol, answered by [`Disk`].
//!
//! The kernel may keep names, attributes and pages as long as it likes, as it does for a real disk: nothing changes the
//! backing folder behind its back. Writes are not kept back (no write-back cache), so each one is here before `write(2)`
//! returns. Links, devices and extended attributes are not there: the store needs none.

mod convert;
mod nodes;
mod operations;

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenAccMode, OpenFlags,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::Stat;

use crate::log::Node;
use convert::{attributes, kind};
pub(crate) use operations::Disk;

/// How long the kernel may use what it was told.
const VALID: Duration = Duration::from_hours(1);
/// The kernel keeps pages over the closing of a file.
const KEEP: FopenFlags = FopenFlags::FOPEN_KEEP_CACHE;
const SEEK_HOLE: i32 = 4;

/// [`Disk`], for the kernel.
#[derive(Debug)]
pub(crate) struct FileSystem(pub(crate) Arc<Disk>);

/// Answers with the value, or with the error number.
macro_rules! answer {
    ($reply:expr, $result:expr, |$value:pat_param| $answer:expr) => {
        match $result {
            Ok($value) => $answer,
            Err(error) => $reply.error(io::Error::into(error)),
        }
    };
}

fn node(number: INodeNo) -> Node {
    Node(number.0)
}

fn entry(reply: ReplyEntry, result: io::Result<(Node, Stat)>) {
    answer!(reply, result, |(node, status)| reply.entry(&VALID, &attributes(node, &status), Generation(0)));
}

fn empty(reply: ReplyEmpty, result: io::Result<()>) {
    answer!(reply, result, |()| reply.ok());
}

impl Filesystem for FileSystem {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.0.look_up(node(parent), name));
    }

    fn forget(&self, _: &Request, number: INodeNo, _lookups: u64) {
        self.0.forget(node(number));
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let node = node(number);
        answer!(reply, self.0.status(node), |status| reply.attr(&VALID, &attributes(node, &status)));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _user: Option<u32>,
        _group: Option<u32>,
        size: Option<u64>,
        _accessed: Option<TimeOrNow>,
        _modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let node = node(number);
        let changed = size
            .map_or(Ok(()), |size| self.0.resize(node, size))
            .and_then(|()| mode.map_or(Ok(()), |mode| self.0.change_mode(node, mode)))
            .and_then(|()| self.0.status(node));
        answer!(reply, changed, |status| reply.attr(&VALID, &attributes(node, &status)));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        entry(reply, self.0.make_folder(node(parent), name, mode & !umask));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let file = self.0.make_file(node(parent), name, mode & !umask);
        answer!(reply, file, |(node, status, handle)| {
            reply.created(&VALID, &attributes(node, &status), Generation(0), FileHandle(handle), KEEP);
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.0.remove(node(parent), name, false));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.0.remove(node(parent), name, true));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        empty(reply, self.0.rename((node(parent), name), (node(new_parent), new_name), flags.bits()));
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let is_for_writing = flags.acc_mode() != OpenAccMode::O_RDONLY;
        answer!(reply, self.0.open(node(number), is_for_writing), |handle| reply
            .opened(FileHandle(handle), KEEP));
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.close(handle.0);
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        answer!(reply, self.0.read(handle.0, offset, size), |bytes| reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.0.write(node(number), handle.0, offset, data);
        answer!(reply, written, |()| reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)));
    }

    fn fallocate(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        empty(reply, self.0.allocate(node(number), handle.0, offset, length, mode.cast_unsigned()));
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = self.0.seek(handle.0, offset.cast_unsigned(), whence == SEEK_HOLE);
        answer!(reply, found, |offset| reply.offset(offset.cast_signed()));
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        empty(reply, self.0.sync_file(node(number)));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.0.open_listing(node(number));
        answer!(reply, opened, |handle| reply.opened(FileHandle(handle), FopenFlags::empty()));
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        answer!(reply, self.0.listing(handle.0), |entries| {
            for (index, (name, file_type)) in
                (1..).zip(entries.iter()).skip(usize::try_from(offset).unwrap_or(0))
            {
                // The kernel looks each name up before it believes a number, so any number does here.
                if reply.add(number, index, kind(*file_type), name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.0.close_listing(handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        empty(reply, self.0.sync_folder(node(number)));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        answer!(reply, self.0.space(), |space| reply.statfs(
            space.f_blocks,
            space.f_bfree,
            space.f_bavail,
            space.f_files,
            space.f_ffree,
            narrow(space.f_bsize),
            narrow(space.f_namemax),
            narrow(space.f_frsize),
        ));
    }
}
