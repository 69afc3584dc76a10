//! Types of the API group `connectedcache.dev`: the custom resource, its status, the closed vocabularies of conditions,
//! and the names (labels, annotations, field manager) that everything which touches such an object must agree on.
//!
//! There is no client and no runtime in this crate, so that tools, tests and the operator can share it.
//!
//! Every rule about a field stands beside the field: ranges and lengths as schema, relations between fields as CEL.
//! The API server therefore refuses a wrong object at the moment it is written, and says what to do instead.
#![warn(missing_docs)]
// The schema derive copies each type into a function body, with its visibility.
#![allow(unreachable_pub)]

mod conditions;
mod connected_cache;
mod crd;
mod names;
pub mod spec;
mod status;

pub use conditions::{ConditionStatus, ConditionType, Reason, SummaryState};
pub use connected_cache::{ConnectedCache, ConnectedCacheSpec};
pub use crd::{crd, crd_yaml_value};
pub use names::{CONTAINER_NAME, CONTROLLER_NAME, annotations, field_managers, labels, ports};
pub use status::{CacheSummary, ConnectedCacheStatus};
