//! The client against the mock control plane: real TLS, real HTTP, and where time matters a clock that the test moves.

mod faults;
mod hosts;
pub(crate) mod lab;
mod order;
mod restarts;
mod sessions;
mod times;
