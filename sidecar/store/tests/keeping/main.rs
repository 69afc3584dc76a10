//! What is kept and what goes: counts by class, shares, pins, lists and purges.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod authenticate;
mod counts;
mod listing;
mod pins;
mod purge;
mod shares;
mod support;
mod together;
mod unsynced;
