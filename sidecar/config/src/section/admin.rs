//! `admin`: who may change something at the admin listener.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Who may change something at the admin listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Admin {
    /// A file with a token: who sends it as `Authorization: Bearer` may purge from anywhere. Read again when it changes.
    /// `None` = only who comes from this host's own loopback may.
    pub token_file: Option<PathBuf>,
}
