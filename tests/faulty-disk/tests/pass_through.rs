//! The faulty disk itself: a folder like any other until it is told to fail, and a log that says what was done.
//!
//! Needs root and `/dev/fuse`, so `cargo xtask test` runs it in the stage `storage`.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

use connected_cache_faulty_disk::power_cut::Survival;
use connected_cache_faulty_disk::{Faults, FaultyDisk, LoopDisk, Random, disk_process, missing};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use tempfile::TempDir;

disk_process!();

struct Setup {
    folder: TempDir,
    disk: FaultyDisk,
}

impl Setup {
    /// A disk, or `None` with the reason printed where there can be none.
    fn start() -> Option<Self> {
        if let Some(reason) = missing(&[]) {
            println!("left out: {reason}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["mount", "backing"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("backing/before"), b"was there").unwrap();
        let of = |name: &str| folder.path().join(name);
        let disk = FaultyDisk::start(&of("mount"), &of("backing"), Some(&of("log"))).unwrap();
        Some(Self { folder, disk })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    fn backing(&self, name: &str) -> PathBuf {
        self.folder.path().join("backing").join(name)
    }
}

fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().map(|error| Errno::from_raw_os_error(error.raw_os_error().unwrap()))
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn what_is_done_to_the_disk_is_done_to_the_folder_behind_it() {
    let Some(setup) = Setup::start() else { return };
    assert_eq!(fs::read(setup.path("before")).unwrap(), b"was there");
    fs::create_dir(setup.path("a")).unwrap();
    fs::write(setup.path("a/one"), vec![7; 3_000_000]).unwrap();
    assert_eq!(fs::read(setup.backing("a/one")).unwrap(), vec![7; 3_000_000]);
    fs::rename(setup.path("a/one"), setup.path("two")).unwrap();
    assert_eq!(fs::read(setup.path("two")).unwrap(), vec![7; 3_000_000]);
    assert!(!setup.backing("a/one").exists());
    let mut names: Vec<_> =
        fs::read_dir(setup.disk.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a", "before", "two"]);
    let file = OpenOptions::new().read(true).write(true).open(setup.path("two")).unwrap();
    file.set_len(5 << 20).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, punch, 0, 1 << 20).unwrap();
    let metadata = setup.backing("two").metadata().unwrap();
    assert_eq!(metadata.len(), 5 << 20);
    assert!(metadata.blocks() * 512 < 3_000_000, "the hole is not given back");
    let mut first = [1; 10];
    file.read_exact_at(&mut first, 0).unwrap();
    assert_eq!(first, [0; 10]);
    fs::remove_file(setup.path("two")).unwrap();
    file.write_all_at(b"without a name", 0).unwrap();
    assert!(!setup.backing("two").exists());
    assert_eq!(errno(fs::remove_dir(setup.disk.path().join("missing"))), Some(Errno::NOENT));
    fs::remove_dir(setup.path("a")).unwrap();
    drop(file);
    setup.disk.finish().unwrap();
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn faults_come_and_go() {
    let Some(setup) = Setup::start() else { return };
    fs::write(setup.path("old"), vec![1; 8192]).unwrap();
    let mut old = OpenOptions::new().read(true).write(true).open(setup.path("old")).unwrap();
    let set = |faults| setup.disk.set_faults(faults).unwrap();

    set(Faults::none().failing_writes(Errno::IO));
    assert_eq!(errno(old.write_all(b"x")), Some(Errno::IO));
    assert_eq!(errno(File::create(setup.path("new"))), Some(Errno::IO));
    assert_eq!(errno(fs::remove_file(setup.path("old"))), Some(Errno::IO));
    assert_eq!(fs::read(setup.path("old")).unwrap(), vec![1; 8192], "reading works");

    set(Faults::none().failing_reads(Errno::IO));
    setup.disk.drop_caches().unwrap();
    assert_eq!(errno(old.read(&mut [0; 10])), Some(Errno::IO));

    set(Faults::none().failing_syncs(Errno::IO));
    old.write_all(b"x").unwrap();
    assert_eq!(errno(old.sync_all()), Some(Errno::IO));
    assert_eq!(errno(old.sync_data()), Some(Errno::IO));
    assert_eq!(errno(File::open(setup.disk.path()).unwrap().sync_all()), Some(Errno::IO));

    set(Faults::none().full());
    assert_eq!(errno(old.write_all_at(b"x", 8192)), Some(Errno::NOSPC));
    old.write_all_at(b"x", 8191).unwrap();
    assert_eq!(rustix::fs::statvfs(setup.disk.path()).unwrap().f_bavail, 0);

    set(Faults::read_only());
    assert_eq!(errno(old.write_all(b"x")), Some(Errno::ROFS));

    set(Faults::none());
    old.write_all_at(b"x", 8192).unwrap();
    old.sync_all().unwrap();

    setup.disk.kill().unwrap();
    assert_eq!(errno(old.sync_all()), Some(Errno::NOTCONN));
    assert!(fs::read_dir(setup.disk.path()).is_err());
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn a_power_cut_keeps_what_was_synced_and_what_was_there_before() {
    let Some(setup) = Setup::start() else { return };
    let begin = setup.disk.position().unwrap();
    fs::write(setup.path("synced"), b"synced").unwrap();
    File::open(setup.path("synced")).unwrap().sync_all().unwrap();
    File::open(setup.disk.path()).unwrap().sync_all().unwrap();
    let synced = setup.disk.position().unwrap();
    fs::write(setup.path("synced"), b"longer than before").unwrap();
    fs::write(setup.path("unsynced"), b"x").unwrap();
    let end = setup.disk.position().unwrap();
    let log = setup.disk.finish().unwrap();
    let after = |cut, survival| {
        let folder = tempfile::tempdir().unwrap();
        log.after_power_cut(cut, survival, &mut Random::new(1), folder.path()).unwrap();
        let read = |name| fs::read(folder.path().join(name)).ok();
        ["before", "synced", "unsynced"].map(read)
    };
    let some = |bytes: &[u8]| Some(bytes.to_vec());
    assert_eq!(after(begin, Survival::Everything), [some(b"was there"), None, None]);
    assert_eq!(after(synced, Survival::Nothing), [some(b"was there"), some(b"synced"), None]);
    assert_eq!(after(end, Survival::Nothing), [some(b"was there"), some(b"synced"), None]);
    let everything = [some(b"was there"), some(b"longer than before"), some(b"x")];
    assert_eq!(after(end, Survival::Everything), everything);
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_loop_disk_is_full_when_it_is_full() {
    if let Some(reason) = missing(&LoopDisk::PROGRAMS) {
        println!("left out: {reason}");
        return;
    }
    let disk = LoopDisk::start(16 << 20).unwrap();
    let mut file = File::create(disk.path().join("file")).unwrap();
    assert_eq!(errno(file.write_all(&vec![1; 16 << 20])), Some(Errno::NOSPC));
    // ext4 keeps some blocks for its own growth, which it counts as free.
    let free = disk.free_bytes().unwrap();
    assert!(free < 4 << 20, "{free}");
    fs::remove_file(disk.path().join("file")).unwrap();
    drop(file);
    assert!(disk.free_bytes().unwrap() > 8 << 20);
}
