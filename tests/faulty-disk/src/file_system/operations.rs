//! What the file system does, apart from how the kernel asks for it: check the faults, do it to the backing folder, log it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, Dir, FallocateFlags, FileType, Mode, OFlags, RenameFlags, SeekFrom, Stat, StatVfs,
    fallocate, fchmod, fstatvfs, ftruncate, mkdirat, openat, renameat_with, seek, unlinkat,
};
use rustix::io::Errno;

use super::nodes::Nodes;
use crate::faults::Faults;
use crate::log::{LogWriter, Node, Operation};

/// An entry of a folder.
pub(super) type Entry = (OsString, FileType);

/// The disk.
#[derive(Debug)]
pub(crate) struct Disk {
    nodes: Mutex<Nodes>,
    files: Mutex<HashMap<u64, Arc<File>>>,
    listings: Mutex<HashMap<u64, Arc<Vec<Entry>>>>,
    next_handle: std::sync::atomic::AtomicU64,
    faults: Mutex<Faults>,
    log: LogWriter,
}

impl Disk {
    /// A disk over a folder. What lies there already stands in the log as done and synced.
    pub(crate) fn new(backing: &Path, log: Option<&Path>) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root: OwnedFd = openat(CWD, backing, flags, Mode::empty())?;
        let disk = Self {
            nodes: Mutex::new(Nodes::new(root)?),
            files: Mutex::default(),
            listings: Mutex::default(),
            next_handle: std::sync::atomic::AtomicU64::new(1),
            faults: Mutex::default(),
            log: LogWriter::new(log)?,
        };
        if disk.log.is_on() {
            disk.log_existing(Node::ROOT)?;
        }
        Ok(disk)
    }

    fn log_existing(&self, folder: Node) -> io::Result<()> {
        for (name, kind) in self.list(folder)? {
            let (node, status) = self.look_up(folder, &name)?;
            let (parent, name) = (folder, text(&name)?);
            if kind == FileType::Directory {
                self.note(&Operation::MakeFolder { parent, name, node })?;
                self.log_existing(node)?;
            } else {
                self.note(&Operation::MakeFile { parent, name, node })?;
                self.log_contents(node, u64::try_from(status.st_size).unwrap_or(0))?;
            }
        }
        self.note(&Operation::SyncFolder { node: folder })
    }

    /// Only what is allocated: the holes stay holes.
    fn log_contents(&self, node: Node, length: u64) -> io::Result<()> {
        let file = self.nodes.lock().open(node, OFlags::RDONLY)?;
        self.note(&Operation::Resize { node, length })?;
        let mut position = 0;
        while let Ok(start) = seek(&file, SeekFrom::Data(position)) {
            let end = seek(&file, SeekFrom::Hole(start))?.min(start + (1 << 20));
            let mut bytes = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, start)?;
            self.log.add(&Operation::Write { node, offset: start, length: end - start }, &bytes)?;
            position = end;
        }
        self.note(&Operation::SyncFile { node })
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        *self.faults.lock() = faults;
    }

    pub(crate) fn log(&self) -> &LogWriter {
        &self.log
    }

    pub(crate) fn nodes(&self) -> Vec<Node> {
        self.nodes.lock().all()
    }

    fn faults(&self) -> Faults {
        *self.faults.lock()
    }

    fn note(&self, operation: &Operation) -> io::Result<()> {
        self.log.add(operation, &[])
    }

    fn handle(&self) -> u64 {
        self.next_handle.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    // --- names ---

    pub(super) fn look_up(&self, parent: Node, name: &OsStr) -> io::Result<(Node, Stat)> {
        self.nodes.lock().look_up(parent, name)
    }

    pub(super) fn forget(&self, node: Node) {
        self.nodes.lock().forget(node);
    }

    pub(super) fn status(&self, node: Node) -> io::Result<Stat> {
        self.nodes.lock().status(node)
    }

    pub(super) fn make_folder(&self, parent: Node, name: &OsStr, mode: u32) -> io::Result<(Node, Stat)> {
        self.faults().check_new_block()?;
        mkdirat(&*self.folder(parent)?, name, Mode::from_raw_mode(mode))?;
        let (node, status) = self.look_up(parent, name)?;
        self.note(&Operation::MakeFolder { parent, name: text(name)?, node })?;
        Ok((node, status))
    }

    pub(super) fn make_file(&self, parent: Node, name: &OsStr, mode: u32) -> io::Result<(Node, Stat, u64)> {
        self.faults().check_new_block()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file: File = openat(&*self.folder(parent)?, name, flags, Mode::from_raw_mode(mode))?.into();
        let (node, status) = self.look_up(parent, name)?;
        self.note(&Operation::MakeFile { parent, name: text(name)?, node })?;
        let handle = self.handle();
        self.files.lock().insert(handle, Arc::new(file));
        Ok((node, status, handle))
    }

    pub(super) fn remove(&self, parent: Node, name: &OsStr, is_folder: bool) -> io::Result<()> {
        self.faults().check_write()?;
        let (node, _) = self.look_up(parent, name)?;
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(&*self.folder(parent)?, name, flags)?;
        self.note(&Operation::Remove { parent, name: text(name)?, node })
    }

    pub(super) fn rename(
        &self,
        (parent, name): (Node, &OsStr),
        (new_parent, new_name): (Node, &OsStr),
        flags: u32,
    ) -> io::Result<()> {
        self.faults().check_write()?;
        let flags = RenameFlags::from_bits_retain(flags);
        if !(flags - RenameFlags::NOREPLACE).is_empty() {
            return Err(Errno::INVAL.into());
        }
        let (node, _) = self.look_up(parent, name)?;
        renameat_with(&*self.folder(parent)?, name, &*self.folder(new_parent)?, new_name, flags)?;
        let (name, new_name) = (text(name)?, text(new_name)?);
        self.note(&Operation::Rename { parent, name, node, new_parent, new_name })
    }

    pub(super) fn open_listing(&self, folder: Node) -> io::Result<u64> {
        self.faults().check_read()?;
        let entries = self.list(folder)?;
        let handle = self.handle();
        self.listings.lock().insert(handle, Arc::new(entries));
        Ok(handle)
    }

    pub(super) fn listing(&self, handle: u64) -> io::Result<Arc<Vec<Entry>>> {
        self.faults().check_read()?;
        Ok(self.listings.lock().get(&handle).cloned().ok_or(Errno::BADF)?)
    }

    pub(super) fn close_listing(&self, handle: u64) {
        self.listings.lock().remove(&handle);
    }

    pub(super) fn sync_folder(&self, node: Node) -> io::Result<()> {
        self.faults().check_sync()?;
        self.note(&Operation::SyncFolder { node })
    }

    fn list(&self, folder: Node) -> io::Result<Vec<Entry>> {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = self.nodes.lock().open(folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                entries.push((name, entry.file_type()));
            }
        }
        Ok(entries)
    }

    fn folder(&self, node: Node) -> rustix::io::Result<Arc<OwnedFd>> {
        self.nodes.lock().descriptor(node)
    }

    // --- contents ---

    pub(super) fn open(&self, node: Node, is_for_writing: bool) -> io::Result<u64> {
        if is_for_writing {
            self.faults().check_open_for_writing()?;
        }
        let file = self.nodes.lock().open(node, OFlags::RDWR)?;
        let handle = self.handle();
        self.files.lock().insert(handle, Arc::new(file));
        Ok(handle)
    }

    pub(super) fn close(&self, handle: u64) {
        self.files.lock().remove(&handle);
    }

    fn file(&self, handle: u64) -> io::Result<Arc<File>> {
        Ok(self.files.lock().get(&handle).cloned().ok_or(Errno::BADF)?)
    }

    pub(super) fn read(&self, handle: u64, offset: u64, length: u32) -> io::Result<Vec<u8>> {
        self.faults().check_read()?;
        self.faults().check_place(offset, length.into())?;
        let file = self.file(handle)?;
        let mut bytes = vec![0; length as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    pub(super) fn write(&self, node: Node, handle: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.file(handle)?;
        let (faults, length) = (self.faults(), bytes.len() as u64);
        faults.check_write()?;
        if faults.is_full() && !is_allocated(&file, offset, length) {
            return Err(Errno::NOSPC.into());
        }
        file.write_all_at(bytes, offset)?;
        self.log.add(&Operation::Write { node, offset, length }, bytes)
    }

    pub(super) fn resize(&self, node: Node, length: u64) -> io::Result<()> {
        self.faults().check_write()?;
        ftruncate(self.nodes.lock().open(node, OFlags::RDWR)?, length)?;
        self.note(&Operation::Resize { node, length })
    }

    pub(super) fn change_mode(&self, node: Node, mode: u32) -> io::Result<()> {
        self.faults().check_write()?;
        Ok(fchmod(self.nodes.lock().open(node, OFlags::RDONLY)?, Mode::from_raw_mode(mode))?)
    }

    /// `fallocate(2)`. What it does to the allocation is passed on; what it does to contents and length is logged.
    pub(super) fn allocate(
        &self,
        node: Node,
        handle: u64,
        offset: u64,
        length: u64,
        mode: u32,
    ) -> io::Result<()> {
        let file = self.file(handle)?;
        let flags = FallocateFlags::from_bits_retain(mode);
        let gives_back = flags.contains(FallocateFlags::PUNCH_HOLE);
        if gives_back {
            self.faults().check_write()?;
        } else {
            self.faults().check_new_block()?;
        }
        let before = file.metadata()?.len();
        fallocate(&file, flags, offset, length)?;
        if gives_back || flags.contains(FallocateFlags::ZERO_RANGE) {
            self.note(&Operation::Zero { node, offset, length })?;
        }
        let after = file.metadata()?.len();
        if after == before { Ok(()) } else { self.note(&Operation::Resize { node, length: after }) }
    }

    pub(super) fn seek(&self, handle: u64, offset: u64, is_for_hole: bool) -> io::Result<u64> {
        let to = if is_for_hole { SeekFrom::Hole(offset) } else { SeekFrom::Data(offset) };
        Ok(seek(&*self.file(handle)?, to)?)
    }

    /// Nothing is synced for real: what a power cut leaves is decided by the log.
    pub(super) fn sync_file(&self, node: Node) -> io::Result<()> {
        self.faults().check_sync()?;
        self.note(&Operation::SyncFile { node })
    }

    pub(super) fn space(&self) -> io::Result<StatVfs> {
        let mut space = fstatvfs(self.nodes.lock().open(Node::ROOT, OFlags::RDONLY | OFlags::DIRECTORY)?)?;
        if self.faults().is_full() {
            (space.f_bfree, space.f_bavail) = (0, 0);
        }
        Ok(space)
    }
}

fn is_allocated(file: &File, offset: u64, length: u64) -> bool {
    seek(file, SeekFrom::Hole(offset)).is_ok_and(|hole| hole >= offset + length)
}

fn text(name: &OsStr) -> io::Result<String> {
    Ok(name.to_str().ok_or(Errno::ILSEQ)?.to_owned())
}
