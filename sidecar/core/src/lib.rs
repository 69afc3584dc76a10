//! Identifiers, allow-list, piece arithmetic, range rules, the placement of content on pods and the peer protocol's decisions: what the
//! sidecar decides without a socket, a disk or a clock.
#![warn(missing_docs)]

mod allow_list;
mod bandwidth;
mod conditions;
mod freshness;
mod generation;
mod key_pattern;
mod object_key;
mod origin;
mod piece;
mod range;
mod sharing;
pub mod swarm;

pub use allow_list::{AllowList, AllowedOrigin};
pub use bandwidth::{
    BandwidthLimits, BandwidthPlan, BitRate, ClientNetwork, FLOOR_BYTES_PER_SECOND, Grant, Schedule,
    TokenBucket, reserve,
};
pub use conditions::{Conditions, Verdict};
pub use freshness::{AnswerTimes, CacheControl, Freshness, StaleLimits, Use};
pub use generation::Generation;
pub use key_pattern::KeyPattern;
pub use object_key::{ObjectKey, QueryRule};
pub use origin::{CacheHostOrigin, ContentClass, OriginPattern, OriginPatternError, OriginRefused};
pub use piece::{PIECE_LENGTH_BYTES, PieceIndex, PieceLayout};
pub use range::{ByteRange, ContentRange, RangeHeader, RangeSpec, Selection};
pub use sharing::{Candidate, GroupHash, MemberHash, PIECES_OF_A_GROUP, Placement, Role, Route};
