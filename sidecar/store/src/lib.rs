//! The block store: pieces of content on one to nine volumes.
//!
//! An *object* is one generation of one content: its key, its length, and attributes that the caller keeps with it. Its
//! bytes lie in one sparse data file, in pieces of 1 MiB (the last one shorter). A piece is either committed, with its
//! SHA-256 in the index, or it does not exist. 64 pieces make a *group*, the unit of eviction.
//!
//! ```text
//! Store            which volume holds which key
//!  └ Mount         one volume as configured, open or not
//!  └ Volume        one folder: data files, index, byte budget, health
//!     ├ Budget     bytes in use, never above the limit
//!     ├ Index      what is committed, on disk (redb)
//!     ├ Keeper     one thread: group commit, eviction, giving space back
//!     └ Object     groups in memory, the data file when it is open
//! ```
//!
//! # What holds at every instant
//! * Bytes that are reserved, written or still held by readers of removed pieces are at most the limit of the volume; space is
//!   reserved before it is written.
//! * A piece is in the index only after its bytes were synced; it is gone from the index, durably, before its bytes may
//!   change. So a crash at any point leaves an index that tells the truth.
//! * Bytes that somebody reads never change (see `connected_cache_sendfile::data_file`).
//! * A volume that fails, at the start or later, stops taking pieces; the caller passes content through or stores it on
//!   another one. It is tried again every few seconds, and what it holds is served as far as it can be read.
//! * Of two objects with one key the younger one counts, on whatever volumes they are.

mod budget;
mod eviction;
mod index;
mod keeper;
mod listing;
mod mount;
mod object;
mod policy;
mod purge;
#[doc(hidden)]
pub mod sample_index;
mod store;
mod tally;
mod volume;

pub use eviction::Order;
pub use index::{ObjectRecord, PieceRecord, Trust};
pub use keeper::{Answer, Authenticated, Digests};
pub use listing::{Cursor, CursorError, Entry, Filter, Matches, Page};
pub use object::{FillError, Object, PieceFill, ReadError, WholeError};
pub use policy::{Evicted, PinnedUntil, Pins, Policy, Watcher};
pub use purge::{Purged, Survivor};
pub use store::{MAX_VOLUMES, Store, StoreError, VolumeOptions};
pub use tally::ClassUsage;
pub use volume::{Health, Usage};

/// Length of a piece: 1 MiB, the unit in which Delivery Optimization hashes and Windows clients ask.
pub const PIECE_LENGTH: usize = 1 << 20;

/// Pieces in a group, the unit of eviction: 64 MiB of content.
pub const GROUP_PIECES: usize = 64;

/// Bytes that a piece of `length` takes on a file system with blocks of 4 KiB.
pub(crate) const fn disk_bytes(length: usize) -> u64 {
    (length as u64).next_multiple_of(4096)
}
