//! `spec.rollout`: how pods are replaced.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How pods are replaced.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// Seconds between a pod's readiness falling and its listeners closing, 0 to 600: at least as long as the load balancer
    /// needs to notice, because a refused connection makes Windows clients leave the cache for 15 minutes. Default: 15.
    #[serde(default = "defaults::drain_seconds")]
    #[schemars(range(min = 0, max = 600))]
    pub drain_seconds: u32,
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self { drain_seconds: defaults::drain_seconds() }
    }
}

mod defaults {
    /// Load balancers commonly probe every 5 or 10 seconds; kube-proxy follows within 1 or 2.
    pub(super) fn drain_seconds() -> u32 {
        15
    }
}
