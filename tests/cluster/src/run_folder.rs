//! The run folder: everything a cluster writes lies below it, and its lock and state file say whose it is.
//!
//! The path is short on purpose: unix socket paths below it must stay under 108 bytes.

use std::{
    fs::{File, TryLockError},
    io::Write,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, FileContext, Result},
    process::Identity,
};

/// Where the one throwaway cluster of a machine lives.
pub const RUN_FOLDER: &str = "/var/tmp/connected-cache-cluster";

/// Paths below the run folder.
#[derive(Clone, Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
}

/// How far a cluster has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// `up` is at work (or died at it).
    Starting,
    /// `up` has finished.
    Ready,
}

/// What the state file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) nodes: usize,
    /// The process whose end is the end of the cluster; `None` for one that outlives its maker.
    pub(crate) owner: Option<Identity>,
    pub(crate) kubectl: PathBuf,
    pub(crate) helm: PathBuf,
    pub(crate) node_subnet: String,
}

/// Held while a cluster is brought up or taken down; freed on drop.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl RunFolder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.join("kubeconfig")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.join("logs")
    }

    pub(crate) fn processes(&self) -> PathBuf {
        self.join("processes")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.join("pki")
    }

    pub(crate) fn node(&self, index: usize) -> PathBuf {
        self.join(format!("node{index}"))
    }

    fn state_file(&self) -> PathBuf {
        self.join("state.json")
    }

    /// Makes the folder (owned by root, not a link that somebody else put there) and takes its lock.
    pub(crate) fn lock(&self) -> Result<Lock> {
        loop {
            if let Err(source) = std::fs::create_dir(&self.path)
                && source.kind() != std::io::ErrorKind::AlreadyExists
            {
                return Err(source).context("create", &self.path);
            }
            let metadata = std::fs::symlink_metadata(&self.path).context("look at", &self.path)?;
            if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
                return Err(Error::Unsuitable {
                    problem: format!("{} exists and is not a folder of this user", self.path.display()),
                    advice: "remove it".to_owned(),
                });
            }
            let path = self.join("lock");
            let file = File::create(&path).context("create", &path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(Error::Busy { lock: path }),
                Err(TryLockError::Error(source)) => return Err(source).context("lock", path),
            }
            // Whoever held the lock before may have removed the folder with it: then this is the lock of nothing.
            let same_file = file.metadata().ok().map(|held| held.ino())
                == std::fs::metadata(&path).ok().map(|now| now.ino());
            if same_file {
                return Ok(Lock { _file: file });
            }
        }
    }

    pub(crate) fn state(&self) -> Option<State> {
        serde_json::from_slice(&std::fs::read(self.state_file()).ok()?).ok()
    }

    pub(crate) fn write_state(&self, state: &State) -> Result<()> {
        let text = serde_json::to_string_pretty(state).unwrap_or_default();
        write_whole(&self.state_file(), text.as_bytes(), 0o644)
    }
}

/// Makes a folder and those above it.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).context("create", path)
}

/// Writes a file under a temporary name and renames it, so that nobody reads half of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .context("create", &temporary)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode)).context("set the mode of", &temporary)?;
    file.write_all(bytes).context("write", &temporary)?;
    std::fs::rename(&temporary, path).context("rename", &temporary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_and_a_freed_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path().join("run"));
        let first = run.lock().unwrap();
        let error = run.lock().unwrap_err();
        assert!(matches!(error, Error::Busy { .. }), "{error}");
        drop(first);
        run.lock().unwrap();
    }

    #[test]
    fn a_link_in_place_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/tmp", folder.path().join("run")).unwrap();
        let error = RunFolder::new(folder.path().join("run")).lock().unwrap_err();
        assert!(error.to_string().contains("remove it"), "{error}");
    }

    #[test]
    fn the_state_comes_back_as_written_and_rubbish_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        assert_eq!(run.state(), None);
        let state = State {
            phase: Phase::Ready,
            nodes: 3,
            owner: None,
            kubectl: "/k".into(),
            helm: "/h".into(),
            node_subnet: "10.0.0".into(),
        };
        run.write_state(&state).unwrap();
        assert_eq!(run.state(), Some(state));
        std::fs::write(run.state_file(), "{").unwrap();
        assert_eq!(run.state(), None);
    }
}
