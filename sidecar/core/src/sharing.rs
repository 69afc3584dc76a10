//! Which pod of a cache fetches what: every object is cut into groups of pieces, and each group has one *home* among the pods, named
//! by rendezvous hashing. Pods that miss a piece ask its home; only the home asks the origin, so that the pods together cost the
//! internet link one copy. There is no coordination: who sees the same members comes to the same home, and who sees others for a
//! while costs a second copy and no wrong byte.

mod placement;
mod rendezvous;

pub use placement::{Candidate, Placement, Role, Route};
pub use rendezvous::{GroupHash, MemberHash};

/// Pieces of one object that share a home: so many come by one request to the origin, and content is spread over the pods.
pub const PIECES_OF_A_GROUP: u64 = 8;
