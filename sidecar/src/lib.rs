//! The cache process of one pod: content endpoint, store and admin endpoint.
//!
//! [`Sidecar::start`] takes a configuration and binds; everything that touches socket, disk or clock lives below it. What is
//! decided without them (allow-list, keys, ranges, pieces) is in `connected-cache-core`.
//!
//! Map: `server` accepts, `content` answers, `catalog` knows objects and fetches, `store` keeps pieces, `upstream` speaks
//! to origins, `socket` counts what leaves, `admin` shows it.

mod admin;
mod catalog;
mod content;
mod header_names;
pub mod logging;
pub mod metrics;
pub mod probe;
mod server;
mod settings;
mod sidecar;
mod socket;
pub mod store;
mod tasks;
pub mod upstream;

pub use sidecar::{Sidecar, StartError};
