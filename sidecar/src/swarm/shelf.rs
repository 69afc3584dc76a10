//! What is shared: the seam to whoever holds the pieces.

use std::sync::Arc;

use bytes::Bytes;
use connected_cache_core::swarm::{Bitfield, SwarmLayout};
use connected_cache_wire::swarm::SwarmId;
use futures::future::BoxFuture;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// A pod of this cache.
    Member,
    /// Anybody else who knows the swarm id.
    Foreign,
}

/// What is shared, by swarm id.
pub(crate) trait Shelf: Send + Sync + 'static {
    /// `None` = nothing is shared under this id with this audience. Asked for each piece, so it has to be cheap.
    fn content(&self, swarm: &SwarmId, audience: Audience) -> Option<Arc<dyn Shared>>;
}

/// One content that is shared. A piece that becomes available later is told by
/// [`Swarm::announce`](super::Swarm::announce).
pub(crate) trait Shared: Send + Sync {
    /// How it falls into pieces. Connections of the time when it was another serve nothing more.
    fn layout(&self) -> SwarmLayout;

    /// The pieces that were checked.
    fn have(&self) -> Bitfield;

    /// The whole piece, checked against its digest once more; `None` = it is gone or was bad. The bytes may be a view of a mapped
    /// file, which is then sent without being copied.
    fn piece(&self, piece: u32) -> BoxFuture<'static, Option<Bytes>>;
}
