//! What this pod gives out by the swarm protocol, by swarm id. Content with authenticated hashes is known by its `HashOfHashes`. Other
//! content has an id that only those know whom we told it over mTLS: it is made of a secret of this process.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use connected_cache_core::PieceIndex;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::catalog::{Fill, Object};

/// Objects that are offered at a time; who asked for the one that was used least lately asks again.
const MOST_OFFERS: usize = 4096;

/// What is given out.
#[derive(Debug)]
pub(crate) struct Offers {
    secret: [u8; 32],
    by_swarm: quick_cache::sync::Cache<[u8; 32], Arc<Offer>>,
}

/// One object that is given out.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) object: Arc<Object>,
    /// Whether whoever knows the id may have it, rather than members alone.
    pub(crate) is_public: bool,
    /// Pieces that are in memory, for as long as somebody holds them.
    fills: Mutex<HashMap<PieceIndex, Weak<Fill>>>,
}

impl Offers {
    pub(crate) fn new() -> Self {
        Self { secret: rand::random(), by_swarm: quick_cache::sync::Cache::new(MOST_OFFERS) }
    }

    /// The id of an object, under which it is given out from now on.
    pub(crate) fn offer(&self, object: &Arc<Object>) -> ([u8; 32], Arc<Offer>) {
        let public = self.public_id(object);
        let id = public.unwrap_or_else(|| self.private_id(object));
        let current = self.by_swarm.get(&id).filter(|offer| Arc::ptr_eq(&offer.object, object));
        let offer = current.unwrap_or_else(|| {
            let fills = Mutex::default();
            let offer = Arc::new(Offer { object: object.clone(), is_public: public.is_some(), fills });
            self.by_swarm.insert(id, offer.clone());
            offer
        });
        (id, offer)
    }

    /// The id of an object, if it is given out.
    pub(crate) fn id_of(&self, object: &Arc<Object>) -> Option<[u8; 32]> {
        let id = self.public_id(object).unwrap_or_else(|| self.private_id(object));
        self.by_swarm.get(&id).filter(|offer| Arc::ptr_eq(&offer.object, object)).map(|_| id)
    }

    /// What is given out under an id.
    pub(crate) fn get(&self, id: &[u8; 32]) -> Option<Arc<Offer>> {
        self.by_swarm.get(id).filter(|offer| !offer.object.is_removed())
    }

    /// The hash of its hashes, unless the same content is given out under it by another key.
    fn public_id(&self, object: &Arc<Object>) -> Option<[u8; 32]> {
        let is_free = |id: &[u8; 32]| self.get(id).is_none_or(|offer| Arc::ptr_eq(&offer.object, object));
        object.hash_of_hashes().filter(is_free)
    }

    fn private_id(&self, object: &Object) -> [u8; 32] {
        let generation = object.generation();
        let mut hasher = Sha256::new();
        hasher.update(self.secret);
        for part in
            [Some(object.key().as_str()), generation.etag.as_deref(), generation.last_modified.as_deref()]
        {
            let part = part.unwrap_or_default();
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(generation.content_length_bytes.to_be_bytes());
        if !generation.is_named() {
            // Nothing tells its states apart. An offer keeps its object, so the address isn't used again meanwhile.
            hasher.update(std::ptr::from_ref(object).addr().to_be_bytes());
        }
        hasher.finalize().into()
    }
}

impl Offer {
    /// A piece is whole and in memory.
    pub(crate) fn hold(&self, piece: PieceIndex, fill: &Arc<Fill>) {
        let mut fills = self.fills.lock();
        fills.retain(|_, fill| fill.strong_count() > 0);
        fills.insert(piece, Arc::downgrade(fill));
    }

    /// A piece that is whole and in memory.
    pub(crate) fn held(&self, piece: PieceIndex) -> Option<Arc<Fill>> {
        self.fills.lock().get(&piece)?.upgrade()
    }
}
