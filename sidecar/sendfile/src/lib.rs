//! Data files that are written once, and a socket that sends them without copying.
//!
//! * [`DataFile`]: a file of fixed length whose pieces are written front to back, once, and read as [`bytes::Bytes`] that
//!   point into a mapping of the file.
//! * [`ZeroCopyStream`]: a TCP stream for hyper that recognises such bytes in a vectored write and hands them to
//!   `sendfile(2)` instead of copying them.
//!
//! Nothing depends on the second for being right: whoever reads the bytes (TLS, a compressor, a test) gets them through the
//! mapping, only slower. What the first must uphold is that mapped memory never changes while somebody can see it; how it
//! does so stands in [`data_file`]. This is the only crate of the workspace that may use `unsafe`.

pub mod data_file;
mod mapping;
mod registry;
mod residency;
pub mod stream;

pub use data_file::{DataFile, PieceWriter};
pub use stream::ZeroCopyStream;
