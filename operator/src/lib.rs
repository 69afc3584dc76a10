//! The operator: turns ConnectedCache objects into running caches.
//!
//! [`run`] is the whole program behind `connected-cache-operator run`; [`controller`] is the reconciler, [`leader`] decides
//! which of several operators works, [`server`] answers probes and scrapes.

pub mod arguments;
pub mod controller;
pub mod crd;
mod health;
pub mod image;
pub mod leader;
mod logging;
mod metrics;
mod run;
pub mod server;

pub use health::{Health, Phase};
pub use metrics::Metrics;
pub use run::{RunError, run};
