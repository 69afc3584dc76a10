//! What holds for any input, whoever sent it. The property tests of this crate and the fuzz targets in `fuzz/` call the same
//! functions, so that neither checks less than the other. Each one panics where an invariant does not hold.
//!
//! Only built for tests and with the feature `fuzzing`.

mod content_id;
mod piece_hash_file;
mod request;

pub use content_id::content_id;
pub use piece_hash_file::{changed_piece_hash_file, piece_hash_file};
pub use request::{origin_authority, request_target};
