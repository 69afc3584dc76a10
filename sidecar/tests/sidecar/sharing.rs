//! Several pods of one cache over real sockets: what one has, the others need not fetch.

mod handover;
mod lab;
mod one_copy;
