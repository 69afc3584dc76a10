//! Bytes to types and back, one module per protocol. No sockets, no clock, no file system; input from a network never
//! panics.
#![warn(missing_docs)]

pub mod delivery_optimization;
#[cfg(any(test, feature = "fuzzing"))]
pub mod invariants;
pub mod swarm;
