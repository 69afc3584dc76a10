//! The bytes are those of the dossier, 5.4, typed from there.

mod frames;
mod handshakes;
