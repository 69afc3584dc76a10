//! One folder with a limit: files in, files out, and the account of bytes.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use connected_cache_core::ByteRange;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// What an object takes beside its pieces: its folder, `object.json`, and the entry for the folder.
pub(super) const OBJECT_OVERHEAD_BYTES: u64 = 3 * 4096;
/// Our own two folders, counted from the start.
const VOLUME_OVERHEAD_BYTES: u64 = 16 * 1024;
/// After a failure a volume is left alone for so long, then tried again.
const FAILURE_PAUSE: Duration = Duration::from_secs(10);

/// One folder with a limit.
#[derive(Debug)]
pub(super) struct Volume {
    path: PathBuf,
    limit_bytes: u64,
    min_free_bytes: u64,
    account: Mutex<Account>,
    failure: Mutex<Option<Failure>>,
    next_file: AtomicU64,
}

#[derive(Debug, Default)]
struct Account {
    used_bytes: u64,
    reserved_bytes: u64,
}

#[derive(Clone, Debug)]
struct Failure {
    reason: String,
    since: Instant,
}

/// Bytes and state of one volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Its folder.
    pub path: PathBuf,
    /// Stored bytes, overhead included.
    pub used_bytes: u64,
    /// Bytes of writes that are under way.
    pub reserved_bytes: u64,
    /// What both together never exceed.
    pub limit_bytes: u64,
    /// Why it is passed by at the moment; `None` = it works.
    pub failure: Option<String>,
}

/// Why a volume can't be used at all; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum VolumeProbeError {
    /// There is no such folder.
    #[error("the volume {path} does not exist, create or mount it, or change storage.volumes")]
    Missing {
        /// The configured path.
        path: PathBuf,
    },
    /// It is something else than a folder.
    #[error("the volume {path} is not a folder, change storage.volumes")]
    NotAFolder {
        /// The configured path.
        path: PathBuf,
    },
    /// We may not write there.
    #[error(
        "the volume {path} can't be written by user {user}: make it writable for that user (in Kubernetes: set fsGroup)"
    )]
    PermissionDenied {
        /// The configured path.
        path: PathBuf,
        /// Our user id.
        user: u32,
    },
    /// The process is ending.
    #[error("opening the volumes was interrupted: {reason}")]
    Interrupted {
        /// By what.
        reason: String,
    },
}

/// Why bytes were not reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    LimitReached,
    FileSystemFull,
    Failing(String),
}

impl Refusal {
    /// Whether fewer objects would mean more room.
    pub(super) const fn eviction_helps(&self) -> bool {
        !matches!(self, Self::Failing(_))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LimitReached => formatter.write_str("the volume's limit is reached"),
            Self::FileSystemFull => formatter.write_str("the file system's free space is at storage.minFree"),
            Self::Failing(reason) => write!(formatter, "the volume is failing: {reason}"),
        }
    }
}

impl Volume {
    /// Probes the folder with a real write and clears unfinished files. Mistakes of configuration are errors; a full or
    /// read-only file system is not: the volume starts as failing and is tried again later.
    pub(super) fn open(path: &Path, limit_bytes: u64, min_free_bytes: u64) -> Result<Self, VolumeProbeError> {
        let metadata = fs::metadata(path).map_err(|error| probe_error(path, &error));
        match metadata {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(VolumeProbeError::NotAFolder { path: path.to_owned() });
            }
            Err(Some(error)) => return Err(error),
            _ => {}
        }
        let volume = Self {
            path: path.to_owned(),
            limit_bytes,
            min_free_bytes,
            account: Mutex::new(Account { used_bytes: VOLUME_OVERHEAD_BYTES, reserved_bytes: 0 }),
            failure: Mutex::default(),
            next_file: AtomicU64::new(0),
        };
        if let Err(error) = volume.probe() {
            if let Some(error) = probe_error(path, &error) {
                return Err(error);
            }
            volume.report_failure(&error);
        }
        Ok(volume)
    }

    fn probe(&self) -> io::Result<()> {
        fs::create_dir_all(self.objects_folder())?;
        let temporary = self.temporary_folder();
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&temporary)?,
        }
        let probe = temporary.join("probe");
        fs::write(&probe, b"probe")?;
        fs::remove_file(probe)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn objects_folder(&self) -> PathBuf {
        self.path.join("objects")
    }

    pub(super) fn object_folder(&self, name: &str) -> PathBuf {
        self.objects_folder().join(name)
    }

    fn temporary_folder(&self) -> PathBuf {
        self.path.join("tmp")
    }

    fn temporary_path(&self) -> PathBuf {
        self.temporary_folder().join(self.next_file.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// A folder for an object with its description, which appears as a whole.
    pub(super) fn create_object_folder(&self, folder: &Path, description: &[u8]) -> io::Result<()> {
        let temporary = self.temporary_path();
        fs::create_dir(&temporary)?;
        let made = fs::write(temporary.join(super::scan::DESCRIPTION_FILE), description)
            .and_then(|()| fs::rename(&temporary, folder));
        if made.is_err() {
            let _ = fs::remove_dir_all(&temporary);
        }
        made
    }

    /// A file that appears as a whole.
    pub(super) fn write_file(&self, file: &Path, chunks: &[Bytes]) -> io::Result<()> {
        let temporary = self.temporary_path();
        let written = (|| {
            let mut output = File::create_new(&temporary)?;
            for chunk in chunks {
                output.write_all(chunk)?;
            }
            drop(output);
            fs::rename(&temporary, file)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// The folder is gone for readers at once, and for the account when its files are.
    pub(super) fn remove_object_folder(&self, folder: &Path) -> io::Result<()> {
        let temporary = self.temporary_path();
        fs::rename(folder, &temporary)?;
        fs::remove_dir_all(temporary)
    }

    /// Sets bytes aside before they are written.
    pub(super) fn reserve(&self, bytes: u64) -> Result<(), Refusal> {
        if let Some(failure) = self.current_failure() {
            return Err(Refusal::Failing(failure));
        }
        let free = match rustix::fs::statvfs(&self.path) {
            Ok(status) => status.f_bavail.saturating_mul(status.f_frsize),
            Err(error) => return Err(Refusal::Failing(error.to_string())),
        };
        let mut account = self.account.lock();
        let after = account.used_bytes.saturating_add(account.reserved_bytes).saturating_add(bytes);
        if after > self.limit_bytes {
            return Err(Refusal::LimitReached);
        }
        if free < self.min_free_bytes.saturating_add(account.reserved_bytes).saturating_add(bytes) {
            return Err(Refusal::FileSystemFull);
        }
        account.reserved_bytes += bytes;
        Ok(())
    }

    /// Reserved bytes have been written.
    pub(super) fn commit(&self, bytes: u64) {
        let mut account = self.account.lock();
        account.reserved_bytes = account.reserved_bytes.saturating_sub(bytes);
        account.used_bytes += bytes;
        drop(account);
        *self.failure.lock() = None;
    }

    /// Reserved bytes will not be written.
    pub(super) fn cancel(&self, bytes: u64) {
        let mut account = self.account.lock();
        account.reserved_bytes = account.reserved_bytes.saturating_sub(bytes);
    }

    /// Bytes that were found at the start.
    pub(super) fn add_found(&self, bytes: u64) {
        self.account.lock().used_bytes += bytes;
    }

    /// Written bytes are gone.
    pub(super) fn give_back(&self, bytes: u64) {
        let mut account = self.account.lock();
        account.used_bytes = account.used_bytes.saturating_sub(bytes);
    }

    pub(super) fn room_bytes(&self) -> u64 {
        let account = self.account.lock();
        self.limit_bytes.saturating_sub(account.used_bytes + account.reserved_bytes)
    }

    pub(super) fn is_over_limit(&self) -> bool {
        self.account.lock().used_bytes > self.limit_bytes
    }

    pub(super) fn is_usable(&self) -> bool {
        self.current_failure().is_none()
    }

    pub(super) fn report_failure(&self, error: &io::Error) {
        let mut failure = self.failure.lock();
        if failure.is_none() {
            tracing::error!(path = %self.path.display(), %error, "the volume fails and is passed by, clients are served without it; check the volume");
        }
        *failure = Some(Failure { reason: error.to_string(), since: Instant::now() });
    }

    /// The failure, unless it is time to try again. A volume that was never set up is set up then.
    fn current_failure(&self) -> Option<String> {
        let failure = self.failure.lock().clone()?;
        if failure.since.elapsed() < FAILURE_PAUSE {
            return Some(failure.reason);
        }
        if !self.temporary_folder().is_dir()
            && let Err(error) = self.probe()
        {
            self.report_failure(&error);
            return Some(error.to_string());
        }
        None
    }

    pub(super) fn usage(&self) -> VolumeUsage {
        let account = self.account.lock();
        VolumeUsage {
            path: self.path.clone(),
            used_bytes: account.used_bytes,
            reserved_bytes: account.reserved_bytes,
            limit_bytes: self.limit_bytes,
            failure: self.failure.lock().as_ref().map(|failure| failure.reason.clone()),
        }
    }
}

fn probe_error(path: &Path, error: &io::Error) -> Option<VolumeProbeError> {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => Some(VolumeProbeError::Missing { path }),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            Some(VolumeProbeError::NotAFolder { path })
        }
        io::ErrorKind::PermissionDenied => {
            Some(VolumeProbeError::PermissionDenied { path, user: rustix::process::geteuid().as_raw() })
        }
        _ => None,
    }
}

/// Bytes of a file whose hash is known to be right.
pub(super) fn read_range(file: &Path, range: ByteRange) -> io::Result<Bytes> {
    let input = File::open(file)?;
    let mut bytes = vec![0; to_usize(range.length())?];
    input.read_exact_at(&mut bytes, range.first)?;
    Ok(Bytes::from(bytes))
}

/// Bytes of a file that is read whole and compared with its hash first.
pub(super) fn read_checked(
    file: &Path,
    length: u64,
    sha256: &[u8; 32],
    range: ByteRange,
) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(to_usize(length)?);
    File::open(file)?.take(length + 1).read_to_end(&mut bytes)?;
    let actual: [u8; 32] = Sha256::digest(&bytes).into();
    if bytes.len() as u64 != length || actual != *sha256 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its bytes do not have the recorded hash"));
    }
    let (first, end) = (to_usize(range.first)?, to_usize(range.last + 1)?);
    // A copy, so that the rest is not kept in memory for as long as these are sent.
    bytes.get(first..end).map(Bytes::copy_from_slice).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn to_usize(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(io::Error::other)
}
