//! A disk that fails when told to, as a test holds it.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::faults::Faults;
use crate::log::Log;
use crate::server::{Answer, MARK, Order, SETUP, Setup};

/// How long an unmount waits for the last open file.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mounted disk. It is unmounted when this is dropped, whatever is still open.
#[derive(Debug)]
pub struct FaultyDisk {
    mount: PathBuf,
    log: Option<PathBuf>,
    process: Mutex<Process>,
    /// Nobody unmounts twice: another disk may be mounted in this place by then.
    is_mounted: AtomicBool,
}

#[derive(Debug)]
struct Process {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl FaultyDisk {
    /// Mounts a disk at `mount` over the folder `backing`; both exist. With a file for the log, everything that changes the
    /// disk is written there.
    pub fn start(mount: &Path, backing: &Path, log: Option<&Path>) -> io::Result<Self> {
        let setup =
            Setup { mount: mount.to_owned(), backing: backing.to_owned(), log: log.map(Path::to_owned) };
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--exact", "faulty_disk_process", "--ignored", "--nocapture", "--test-threads=1"])
            .env(SETUP, serde_json::to_string(&setup)?)
            // Ctrl-C ends the tests; the disk then sees the end of its orders and unmounts.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (orders, answers) = pipes.ok_or_else(|| io::Error::other("the process has no pipes"))?;
        let process = Process { child, orders, answers: BufReader::new(answers) };
        let is_mounted = AtomicBool::new(true);
        let disk = Self { mount: setup.mount, log: setup.log, process: Mutex::new(process), is_mounted };
        disk.process.lock().answer()?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// From now on this fails, and nothing else.
    pub fn set_faults(&self, faults: Faults) -> io::Result<()> {
        self.order(&Order::Fail(faults)).map(drop)
    }

    /// The kernel forgets the pages of this disk, so that they are read anew.
    pub fn drop_caches(&self) -> io::Result<()> {
        self.order(&Order::DropCaches).map(drop)
    }

    /// How many operations there were: a point for [`Log::after_power_cut`] that everything that returned before is before.
    pub fn position(&self) -> io::Result<usize> {
        self.order(&Order::Position)
    }

    /// The disk vanishes from its place; who has it open does not notice.
    pub fn detach(&self) -> io::Result<()> {
        if self.is_mounted.swap(false, Ordering::AcqRel) {
            unmount(&self.mount, UnmountFlags::DETACH)?;
        }
        Ok(())
    }

    /// The disk dies in its place: everything on it fails from now on, open files too.
    pub fn kill(&self) -> io::Result<()> {
        let mut process = self.process.lock();
        process.child.kill()?;
        process.child.wait().map(drop)
    }

    /// Unmounts the disk, once nothing on it is open any more, and reads the log.
    pub fn finish(self) -> io::Result<Log> {
        let started = Instant::now();
        loop {
            match unmount(&self.mount, UnmountFlags::empty()) {
                Err(Errno::BUSY) if started.elapsed() < PATIENCE => std::thread::yield_now(),
                outcome => break outcome?,
            }
        }
        self.is_mounted.store(false, Ordering::Release);
        self.order(&Order::End)?;
        self.process.lock().child.wait()?;
        self.log.as_deref().map_or_else(|| Ok(Log::default()), Log::read)
    }

    fn order(&self, order: &Order) -> io::Result<usize> {
        let mut process = self.process.lock();
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        process.orders.write_all(&line)?;
        process.answer()
    }
}

impl Process {
    fn answer(&mut self) -> io::Result<usize> {
        let mut line = String::new();
        while self.answers.read_line(&mut line)? > 0 {
            if let Some((_, answer)) = line.split_once(MARK) {
                return serde_json::from_str::<Answer>(answer)?.map_err(io::Error::other);
            }
            line.clear();
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the process of the faulty disk has ended: is faulty_disk::disk_process!() in the root of this test program?",
        ))
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        if let Err(error) = self.detach() {
            eprintln!("unable to unmount {}: {error}", self.mount.display());
        }
        let process = self.process.get_mut();
        let _ = process.child.kill();
        let _ = process.child.wait();
    }
}
