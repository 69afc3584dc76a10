//! `content.classes`: what differs for one class of content.

use serde::{Deserialize, Serialize};

use super::ReadAheadMode;

/// What differs for one class of content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ClassOptions {
    /// The most of each volume that the class may take, 1 to 100 percent of what pieces may take there. A class that has more is
    /// evicted from even when the volume is not full. `None` = no bound.
    pub max_percent: Option<u8>,
    /// Instead of `content.readAhead.mode`.
    pub read_ahead: Option<ReadAheadMode>,
    /// Instead of `content.ttl.maxAgeSeconds`.
    pub max_age_seconds: Option<u64>,
    /// Instead of `content.ttl.staleWhileRevalidateSeconds`.
    pub stale_while_revalidate_seconds: Option<u64>,
    /// Instead of `content.ttl.staleIfErrorSeconds`.
    pub stale_if_error_seconds: Option<u64>,
}
