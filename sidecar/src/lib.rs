//! The cache process of one pod: content endpoint, store and admin endpoint.
//!
//! [`Sidecar::start`] takes a configuration and binds; everything that touches socket, disk or clock lives below it. What is
//! decided without them (allow-list, keys, ranges, pieces) is in `connected-cache-core`.
//!
//! Map: `server` accepts, `tls` holds its certificates, `content` answers, `catalog` knows objects and fetches (pieces are kept
//! by `connected-cache-store` and sent by `connected-cache-sendfile`), `upstream` speaks to origins, `socket` counts what
//! leaves, `bandwidth` paces it, `access_log` tells of single replies, `swarm` speaks to other caches, `upkeep` checks and tidies in
//! the background, `admin` shows it all and purges.

mod access_log;
mod admin;
mod bandwidth;
mod catalog;
mod content;
mod control_plane;
mod header_names;
pub mod logging;
pub mod metrics;
pub mod peers;
mod priority;
pub mod probe;
mod server;
mod settings;
pub mod sharing;
mod sidecar;
mod socket;
mod swarm;
mod tasks;
pub mod tls;
mod upkeep;
pub mod upstream;

pub use admin::TokenError;
pub use control_plane::ControlPlaneError;
pub use sidecar::{Sidecar, StartError};
#[cfg(feature = "bench")]
#[doc(hidden)]
pub use swarm::bench as swarm_bench;
