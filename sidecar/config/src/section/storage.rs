//! `storage`: the volumes that hold pieces and how much of them may be used.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ByteSize;

/// Where pieces are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Storage {
    /// One to nine volumes.
    pub volumes: Vec<Volume>,
    /// Free space of each file system that is never used, whatever `limit` says.
    pub min_free: ByteSize,
    /// Memory for hot pieces. `None` = by the memory limit of the cgroup.
    pub memory: Option<ByteSize>,
    /// Whether what is stored is synced to disk. `false` is for measurements: a power loss, and even a kill, may cost all that
    /// was stored since the start, though never a wrong byte.
    pub sync: bool,
    /// Background re-check of stored pieces, MiB per second; 0 = off.
    pub scrub_mib_per_second: u32,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            volumes: vec![Volume {
                path: PathBuf::from("/cache/data"),
                limit: ByteSize::from_gibibytes(100),
            }],
            min_free: ByteSize::from_gibibytes(2),
            memory: None,
            sync: true,
            scrub_mib_per_second: 8,
        }
    }
}

/// One folder on a file system of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Volume {
    /// An existing folder that the process may write to. Required.
    pub path: PathBuf,
    /// All bytes that we may keep there, pieces and index together.
    pub limit: ByteSize,
}

impl Default for Volume {
    /// An entry without a path is refused by validation: there is no sensible second default folder.
    fn default() -> Self {
        Self { path: PathBuf::new(), limit: ByteSize::from_gibibytes(100) }
    }
}
