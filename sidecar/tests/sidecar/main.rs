//! The sidecar on real sockets and real folders, against a real origin. One file per behaviour.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that meets the unexpected has failed")]

mod signatures;
mod support;

mod access_log;
mod admin;
mod bandwidth;
mod classes;
mod collapse;
mod command_line;
mod damage;
mod drain;
mod freshness;
mod generations;
mod https;
mod limits;
mod members;
mod memory;
mod objects;
mod origins;
mod peers;
mod ranges;
mod requests;
mod sharing;
mod upstream;
mod verification;
mod volumes;
mod whole;
mod wire;
