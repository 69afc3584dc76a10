//! What the swarm listener gives out: pieces of what is offered.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use connected_cache_core::{
    PIECE_LENGTH_BYTES,
    swarm::{Bitfield, SwarmLayout},
};
use connected_cache_wire::swarm::SwarmId;
use futures::{FutureExt, future::BoxFuture};

use super::offers::{Offer, Offers};
use crate::{
    catalog::Catalog,
    swarm::{Audience, Shared, Shelf},
};

/// Gives out what is offered, once it knows where that is.
pub(crate) struct Offered {
    offers: Arc<Offers>,
    catalog: OnceLock<Catalog>,
}

impl Offered {
    pub(crate) const fn new(offers: Arc<Offers>) -> Self {
        Self { offers, catalog: OnceLock::new() }
    }

    /// From now on there is something.
    pub(crate) fn open(&self, catalog: Catalog) {
        // Called once.
        let _ = self.catalog.set(catalog);
    }
}

/// One object that is given out.
struct OfferedObject {
    catalog: Catalog,
    offer: Arc<Offer>,
    layout: SwarmLayout,
}

impl Shelf for Offered {
    /// An id that was made of our secret is known to those alone whom we told it, wherever they call from. The hash of public content is
    /// known to many: it is for pods of this cache alone, as long as arrays are told that nothing is given.
    fn content(&self, swarm: &SwarmId, audience: Audience) -> Option<Arc<dyn Shared>> {
        let (catalog, offer) = (self.catalog.get()?.clone(), self.offers.get(swarm.as_bytes())?);
        if audience == Audience::Foreign && offer.is_public {
            return None;
        }
        let length = offer.object.layout().content_length_bytes();
        let layout = SwarmLayout::new(length, PIECE_LENGTH_BYTES).ok()?;
        Some(Arc::new(OfferedObject { catalog, offer, layout }))
    }
}

impl Shared for OfferedObject {
    fn layout(&self) -> SwarmLayout {
        self.layout
    }

    fn have(&self) -> Bitfield {
        let mut have = Bitfield::new(self.layout.piece_count());
        let object = &self.offer.object;
        for number in 0..self.layout.piece_count() {
            if object.layout().piece(u64::from(number)).is_some_and(|piece| object.has(piece)) {
                have.set(number);
            }
        }
        have
    }

    fn piece(&self, piece: u32) -> BoxFuture<'static, Option<Bytes>> {
        let (catalog, offer) = (self.catalog.clone(), self.offer.clone());
        async move { catalog.whole_piece(&offer, u64::from(piece)).await }.boxed()
    }
}
