//! One connection of the swarm protocol by itself, for whoever measures it: both ends are as in a pod, only that nothing is hashed,
//! read from a disk or stored.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use connected_cache_config as config;
use connected_cache_core::{
    PIECE_LENGTH_BYTES,
    swarm::{Bitfield, SwarmLayout},
};
use connected_cache_wire::swarm::{PeerId, SwarmId};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use tokio::net::TcpListener;

use super::{Audience, Members, Shared, Shelf, Swarm, SwarmMember, SwarmParts, SwarmPeer, Zone};
use crate::tasks::Tasks;

/// The only content.
const SWARM: [u8; 32] = [1; 32];
/// Pieces that are on their way at a time, as many as a pod asks another one for.
const AT_ONCE: usize = 4;

/// Why nothing can be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The listener is no more.
    #[error("unable to read the address of the listener: {0}")]
    Listener(#[from] io::Error),
    /// A content of no pieces, or of too many.
    #[error("the protocol can't say a content of {0} pieces")]
    Pieces(u32),
    /// A piece did not come.
    #[error("a piece did not come: {0}")]
    Fetch(String),
}

/// A content whose pieces are all the same.
#[derive(Clone)]
struct Same {
    layout: SwarmLayout,
    piece: Bytes,
}

impl Shelf for Same {
    fn content(&self, _: &SwarmId, _: Audience) -> Option<Arc<dyn Shared>> {
        Some(Arc::new(self.clone()))
    }
}

impl Shared for Same {
    fn layout(&self) -> SwarmLayout {
        self.layout
    }

    fn have(&self) -> Bitfield {
        Bitfield::full(self.layout.piece_count())
    }

    fn piece(&self, _: u32) -> BoxFuture<'static, Option<Bytes>> {
        std::future::ready(Some(self.piece.clone())).boxed()
    }
}

/// Has nothing: two peers that have everything leave each other.
struct Nothing;

impl Shelf for Nothing {
    fn content(&self, _: &SwarmId, _: Audience) -> Option<Arc<dyn Shared>> {
        None
    }
}

/// A pod without anything but the swarm protocol, whose only other member is at this address.
fn pod(me: u8, other: SocketAddr, shelf: Arc<dyn Shelf>) -> Swarm {
    let members = Arc::new(Members::default());
    members.replace([SwarmMember { name: "other".into(), address: other, zone: Zone::Unknown }]);
    Swarm::new(SwarmParts {
        limits: config::Swarm::default(),
        me: PeerId::from_guid([me; 16]),
        // A member is known by the address that it calls from; both have the same.
        source: Some(other.ip()),
        shelf,
        members,
        counters: Arc::default(),
        tasks: Tasks::default(),
    })
}

fn layout(pieces: u32) -> Result<SwarmLayout, BenchError> {
    let length = u64::from(pieces) * PIECE_LENGTH_BYTES;
    SwarmLayout::new(length, PIECE_LENGTH_BYTES).map_err(|_| BenchError::Pieces(pieces))
}

/// Gives away a content of so many pieces of 1 MiB, to a member that calls from the same address, for as long as it is polled.
pub async fn serve(listener: TcpListener, pieces: u32) -> Result<(), BenchError> {
    // 1 MiB fits into any `usize` of ours.
    let piece = vec![1; usize::try_from(PIECE_LENGTH_BYTES).unwrap_or_default()].into();
    let shelf = Arc::new(Same { layout: layout(pieces)?, piece });
    let swarm = pod(1, listener.local_addr()?, shelf);
    swarm.serve(listener);
    std::future::pending().await
}

/// Fetches all pieces of the content that [`serve`] gives away, over one connection; gives their length together.
pub async fn fetch(from: SocketAddr, pieces: u32) -> Result<u64, BenchError> {
    let layout = layout(pieces)?;
    let swarm = pod(2, from, Arc::new(Nothing));
    let peer = SwarmPeer { address: from, is_member: true };
    let fetched = stream::iter(0..pieces)
        .map(|piece| swarm.fetch(&peer, SwarmId::from_bytes(SWARM), layout, piece))
        .buffered(AT_ONCE)
        .try_fold(0, |length, piece| std::future::ready(Ok(length + piece.len() as u64)));
    fetched.await.map_err(|error| BenchError::Fetch(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_piece_comes_from_the_other_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::select! {
            served = serve(listener, 20) => panic!("{served:?}"),
            fetched = fetch(address, 20) => assert_eq!(fetched.unwrap(), 20 * PIECE_LENGTH_BYTES),
        }
    }
}
