//! A sidecar whose volume is full, fails, becomes read-only or vanishes: clients notice nothing, health and metrics say so,
//! and content is stored again when the volume works again, without a restart.
//!
//! Needs root, `/dev/fuse` and loop devices, so `cargo xtask test` runs it in the stage `storage`.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod cache;

mod failing;
mod full;
mod moved;
mod start;
mod vanished;

connected_cache_faulty_disk::disk_process!();
