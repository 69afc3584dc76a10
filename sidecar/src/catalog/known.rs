//! What is known under a key, and on which volume it lies.

use std::sync::Arc;

use connected_cache_core::{ContentClass, ObjectKey};
use connected_cache_store::StoreError;

use super::{Catalog, Object, ObjectHead, Verdict, opening::Kept, verification::Verification};
use crate::control_plane::Policy;

type Stored = connected_cache_store::Object;

/// What is known under a key.
pub(super) enum Known {
    /// The current generation.
    Object(Arc<Object>),
    /// Something that can't be read now, so nobody knows what it is.
    Unreadable(Arc<Stored>),
    Nothing,
}

/// What is known of the hashes of an object.
pub(crate) struct KnownHashes {
    pub(crate) verdict: Verdict,
    pub(crate) policy: Option<Arc<Policy>>,
}

/// What memory holds of a key.
enum InMemory {
    Usable(Arc<Object>),
    /// `passed` = what was passed through because no volume took it.
    Not {
        passed: Option<Arc<Object>>,
    },
}

impl Known {
    pub(super) fn object(&self) -> Option<&Arc<Object>> {
        match self {
            Self::Object(object) => Some(object),
            Self::Unreadable(_) | Self::Nothing => None,
        }
    }
}

impl Catalog {
    /// The current generation of a key, from memory or from the store.
    pub(super) async fn known(&self, key: &ObjectKey) -> Known {
        match self.in_memory(key) {
            InMemory::Usable(object) => Known::Object(object),
            // Elsewhere in memory: the future of every request would have room for it.
            InMemory::Not { passed } => Box::pin(self.on_volumes(key, passed)).await,
        }
    }

    fn in_memory(&self, key: &ObjectKey) -> InMemory {
        let mut passed = None;
        if let Some(object) = self.shared.objects.get(key) {
            // One that no volume took is asked for again once a volume may.
            let is_stored = object.stored().is_some();
            let can_be_stored = is_stored
                || object.generation().content_length_bytes == 0
                || !self.shared.store.takes_pieces();
            if !object.is_removed() && can_be_stored {
                return InMemory::Usable(object);
            }
            self.shared.objects.remove(key);
            passed = Some(object).filter(|_| !is_stored);
        }
        InMemory::Not { passed }
    }

    async fn on_volumes(&self, key: &ObjectKey, passed: Option<Arc<Object>>) -> Known {
        let Some(stored) = self.shared.store.get(key.as_str()) else { return Known::Nothing };
        let reading = stored.clone();
        let record = match tokio::task::spawn_blocking(move || reading.record()).await {
            Ok(Ok(Some(record))) => record,
            Ok(Ok(None)) => return Known::Nothing,
            Ok(Err(_)) | Err(_) if stored.is_removed() => return Known::Nothing,
            Ok(Err(error)) => {
                tracing::debug!(object = %key, %error, "a stored object can't be read and is passed by");
                return Known::Unreadable(stored);
            }
            Err(_) => return Known::Unreadable(stored),
        };
        let Some(head) = ObjectHead::decode(&record.attributes, stored.length()) else {
            self.shared.store.remove(&stored);
            return Known::Nothing;
        };
        // While it could not be read the origin was asked, and what it said then is younger.
        if passed.as_ref().is_some_and(|passed| !passed.generation().agrees_with(&head.generation)) {
            self.shared.store.remove(&stored);
            return Known::Nothing;
        }
        let object = Arc::new(Object::new(key.clone(), stored.class(), head, Some(stored), self.verifies()));
        if let Some(passed) = passed {
            let head = passed.head();
            object.refresh(head.freshness, head.headers.clone());
        }
        self.shared.objects.insert(key.clone(), object.clone());
        Known::Object(object)
    }

    /// Makes this head the current generation of its key. An object that agrees with it stays as it is; one that does not goes
    /// with its pieces, because bytes of two generations are never mixed. One that can't be read on a volume that is said to
    /// work stays, and this one is passed through.
    pub(super) fn admit(&self, kept: Kept<'_>, head: ObjectHead, known: &Known) -> Arc<Object> {
        if let Some(known) = known.object().filter(|known| !known.is_removed())
            && known.generation().agrees_with(&head.generation)
        {
            known.refresh(head.freshness, head.headers);
            return known.clone();
        }
        let Kept { key, class, ticket } = kept;
        let encoded = head.encode();
        let Some(_held) = ticket.hold() else {
            // For those who wait, and nobody else.
            return Arc::new(Object::new(key.clone(), class.number(), head, None, self.verifies()));
        };
        let stays =
            matches!(known, Known::Unreadable(stored) if stored.takes_pieces() && !stored.is_removed());
        let length = head.generation.content_length_bytes;
        let stored = if stays { None } else { self.create(key, class, length, &encoded, known) };
        let object = Arc::new(Object::new(key.clone(), class.number(), head, stored, self.verifies()));
        self.shared.objects.insert(key.clone(), object.clone());
        object
    }

    /// What is known of the hashes of an object that is in memory, without using it.
    pub(crate) fn known_of(&self, key: &ObjectKey) -> KnownHashes {
        let Some(object) = self.shared.objects.peek(key) else {
            return KnownHashes { verdict: Verdict::Unasked, policy: None };
        };
        let verdict = object.verification().map_or(Verdict::Unasked, Verification::verdict);
        KnownHashes { verdict, policy: object.head().policy.clone() }
    }

    /// Whether pieces are checked against hashes at all.
    pub(crate) fn verifies(&self) -> bool {
        self.shared.control_plane.is_some()
    }

    fn create(
        &self,
        key: &ObjectKey,
        class: ContentClass,
        length: u64,
        attributes: &[u8],
        known: &Known,
    ) -> Option<Arc<Stored>> {
        let error = match self.shared.store.create(key.as_str(), class.number(), length, attributes) {
            Ok(stored) => return Some(stored),
            Err(error) => error,
        };
        tracing::debug!(object = %key, %error, "an object can't be kept");
        // What is stored is of another generation. Only what can't be read may be of this one.
        let may_be_the_same = matches!((known, error), (Known::Unreadable(_), StoreError::NoVolume));
        if !may_be_the_same && let Some(old) = self.shared.store.get(key.as_str()) {
            self.shared.store.remove(&old);
        }
        None
    }

    /// Forgets an object, if it still is the current one of its key.
    pub(super) fn forget(&self, object: &Arc<Object>) {
        if self.shared.objects.get(object.key()).is_some_and(|current| Arc::ptr_eq(&current, object)) {
            self.shared.objects.remove(object.key());
        }
        if let Some(stored) = object.stored() {
            self.shared.store.remove(&stored);
        }
    }

    /// Where pieces of an object are stored now. While its volume fails and another one works, the object moves there, without
    /// the pieces that it had; the old ones go once their volume works again.
    pub(super) fn place(&self, object: &Object) -> Option<Arc<Stored>> {
        let stored = object.stored()?;
        if stored.takes_pieces() || stored.is_removed() || !self.shared.store.takes_pieces() {
            return Some(stored);
        }
        let key = object.key();
        object.move_from(&stored, |attributes| {
            let moved = self.shared.store.move_away(&stored, key.as_str(), attributes);
            if let Err(error) = &moved {
                tracing::debug!(object = %key, %error, "an object can't be moved to another volume");
            }
            moved.ok()
        })
    }
}
