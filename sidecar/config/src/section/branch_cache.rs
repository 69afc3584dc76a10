//! `branchCache`: the hosted cache role.

use serde::{Deserialize, Serialize};

/// BranchCache hosted cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct BranchCache {
    /// Take offers and serve blocks.
    pub enabled: bool,
    /// Content information versions that are spoken.
    pub versions: Vec<BranchCacheVersion>,
    /// Offers may come from loopback addresses (labs).
    pub allow_loopback_offers: bool,
    /// Clients at once; beyond it empty answers.
    pub max_clients: u32,
    /// Offers waiting; beyond it the oldest goes.
    pub max_offers: u32,
}

impl Default for BranchCache {
    fn default() -> Self {
        Self {
            enabled: false,
            versions: vec![BranchCacheVersion::V1, BranchCacheVersion::V2],
            allow_loopback_offers: false,
            max_clients: 1024,
            max_offers: 10_000,
        }
    }
}

/// Version of the content information format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BranchCacheVersion {
    /// MS-PCCRC 1.0.
    V1,
    /// MS-PCCRC 2.0.
    V2,
}
