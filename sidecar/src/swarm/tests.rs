//! Over real sockets on loopback: two shells, or a shell and a peer of the test that says whatever it likes.
//!
//! Shells reach each other from 127.0.0.1, which is a member's address where a test says so; everybody else comes from another
//! address of 127.0.0.0/8.

mod downloads;
mod flood;
mod greetings;
mod hostile;
mod room;
mod scripted;
mod support;
mod uploads;
