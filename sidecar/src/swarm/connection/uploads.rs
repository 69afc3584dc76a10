//! Answers their requests: one piece is taken from the shelf at a time, the next while one is being sent.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use connected_cache_core::swarm::{Bitfield, Connection as Machine, SwarmLayout};
use connected_cache_wire::swarm::{PieceRange, SwarmId};
use futures::future::BoxFuture;

use super::outlet::Outlet;
use crate::swarm::{Audience, Shared, Shelf};

/// See the module.
pub(super) struct Uploads {
    source: Source,
    loading: Option<Loading>,
    /// The last piece that was asked for, for as long as more requests wait: they may be for parts of it.
    last: Option<(u32, Bytes)>,
}

/// Where pieces are taken from. The shelf is asked again for each: the content may have come, gone, or been stored anew since the
/// connection was opened.
pub(in crate::swarm) struct Source {
    pub(in crate::swarm) shelf: Arc<dyn Shelf>,
    pub(in crate::swarm) swarm: SwarmId,
    pub(in crate::swarm) audience: Audience,
    /// Content that falls into other pieces is none of this connection.
    pub(in crate::swarm) layout: SwarmLayout,
}

impl Source {
    fn content(&self) -> Option<Arc<dyn Shared>> {
        let content = self.shelf.content(&self.swarm, self.audience);
        content.filter(|content| content.layout() == self.layout)
    }
}

struct Loading {
    range: PieceRange,
    piece: BoxFuture<'static, Option<Bytes>>,
}

impl Uploads {
    pub(super) const fn new(source: Source) -> Self {
        Self { source, loading: None, last: None }
    }

    /// What they could be given now.
    pub(super) fn have(&self) -> Bitfield {
        let piece_count = self.source.layout.piece_count();
        let have = self.source.content().map(|content| content.have());
        have.filter(|have| have.piece_count() == piece_count).unwrap_or_else(|| Bitfield::new(piece_count))
    }

    /// Moves an answer to the outlet. Pending: they ask for nothing, or there is no room.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        machine: &mut Machine,
        outlet: &mut Outlet,
    ) -> Poll<()> {
        let Loading { range, piece } = match &mut self.loading {
            Some(loading) => loading,
            None if !outlet.has_room() => return Poll::Pending,
            None => {
                let Some(range) = machine.next_upload() else {
                    if machine.their_requests() == 0 {
                        self.last = None;
                    }
                    return Poll::Pending;
                };
                let piece = self.take(range.piece);
                self.loading.insert(Loading { range, piece })
            }
        };
        let (range, piece) = (*range, ready!(piece.as_mut().poll(context)));
        self.loading = None;
        match piece.as_ref().and_then(|piece| part_of(piece, range)).filter(|_| machine.is_wanted(range)) {
            Some(data) => outlet.push_piece(range, data),
            None => machine.refuse_upload(range),
        }
        self.last = piece.map(|piece| (range.piece, piece));
        Poll::Ready(())
    }

    fn take(&self, piece: u32) -> BoxFuture<'static, Option<Bytes>> {
        if let Some((_, bytes)) = self.last.as_ref().filter(|(number, _)| *number == piece) {
            return Box::pin(std::future::ready(Some(bytes.clone())));
        }
        match self.source.content() {
            Some(content) => content.piece(piece),
            None => Box::pin(std::future::ready(None)),
        }
    }
}

/// `None` = the piece is not as long as it should be.
fn part_of(piece: &Bytes, range: PieceRange) -> Option<Bytes> {
    let end = usize::try_from(range.end()).ok().filter(|end| *end <= piece.len())?;
    Some(piece.slice(range.begin as usize..end))
}
