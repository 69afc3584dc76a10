//! One object in one generation: what its replies repeat, how fresh it is, and its place in the store.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use connected_cache_core::{ByteRange, Freshness, Generation, ObjectKey, PieceIndex, PieceLayout};
use http::{HeaderName, HeaderValue};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

/// Objects of at most so many bytes are kept in memory while they are used: no file access for a reply of one packet or few.
pub(crate) const SMALL_BYTES: u64 = 64 << 10;

/// How long an origin that was silent about an object is not waited for, if the stale object may be used instead.
const SILENCE_SECONDS: u64 = 15;

/// What every reply of an object repeats, and how long it may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectHead {
    /// Length and validators.
    pub(crate) generation: Generation,
    /// The origin's headers that are passed on.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) freshness: Freshness,
}

/// One object in one generation.
#[derive(Debug)]
pub(crate) struct Object {
    key: ObjectKey,
    /// Number of its content class.
    class: u8,
    generation: Generation,
    head: Mutex<Arc<ObjectHead>>,
    /// `None` = nothing of it can be kept: it is empty, or no volume takes writes. Another one once it was moved.
    stored: RwLock<Option<Arc<connected_cache_store::Object>>>,
    small: OnceLock<Bytes>,
    /// When its origin was last asked about it and stayed silent, in seconds since 1970; 0 = never.
    silent_at: AtomicU64,
}

/// What the store keeps with an object for us.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    etag: Option<String>,
    last_modified: Option<String>,
    headers: Vec<(String, String)>,
    born_at: u64,
    lifetime_seconds: u64,
    must_revalidate: bool,
    stale_while_revalidate_seconds: Option<u64>,
    stale_if_error_seconds: Option<u64>,
}

impl ObjectHead {
    /// As the store keeps it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let attributes = Attributes {
            etag: self.generation.etag.clone(),
            last_modified: self.generation.last_modified.clone(),
            headers: self.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            born_at: self.freshness.born_at,
            lifetime_seconds: self.freshness.lifetime_seconds,
            must_revalidate: self.freshness.must_revalidate,
            stale_while_revalidate_seconds: self.freshness.stale_while_revalidate_seconds,
            stale_if_error_seconds: self.freshness.stale_if_error_seconds,
        };
        // Can't fail: text and numbers only.
        serde_json::to_vec(&attributes).unwrap_or_default()
    }

    /// From the store; `None` = bytes that are no head.
    pub(crate) fn decode(bytes: &[u8], content_length_bytes: u64) -> Option<Self> {
        let attributes: Attributes = serde_json::from_slice(bytes).ok()?;
        let headers = attributes.headers.iter().map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        });
        Some(Self {
            headers: headers.collect::<Option<_>>()?,
            generation: Generation {
                content_length_bytes,
                etag: attributes.etag,
                last_modified: attributes.last_modified,
            },
            freshness: Freshness {
                born_at: attributes.born_at,
                lifetime_seconds: attributes.lifetime_seconds,
                must_revalidate: attributes.must_revalidate,
                stale_while_revalidate_seconds: attributes.stale_while_revalidate_seconds,
                stale_if_error_seconds: attributes.stale_if_error_seconds,
            },
        })
    }
}

impl Object {
    pub(super) fn new(
        key: ObjectKey,
        class: u8,
        head: ObjectHead,
        stored: Option<Arc<connected_cache_store::Object>>,
    ) -> Self {
        let generation = head.generation.clone();
        Self {
            key,
            class,
            generation,
            head: Mutex::new(Arc::new(head)),
            stored: RwLock::new(stored),
            small: OnceLock::new(),
            silent_at: AtomicU64::new(0),
        }
    }

    pub(crate) const fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Number of its content class.
    pub(super) const fn class(&self) -> u8 {
        self.class
    }

    /// Length and validators; they never change.
    pub(crate) const fn generation(&self) -> &Generation {
        &self.generation
    }

    /// What its replies repeat, as the origin said last.
    pub(crate) fn head(&self) -> Arc<ObjectHead> {
        self.head.lock().clone()
    }

    /// The origin said that it is still the same: newer times and headers (RFC 9111 4.3.4).
    pub(super) fn refresh(&self, freshness: Freshness, headers: Vec<(HeaderName, HeaderValue)>) {
        let encoded = {
            let mut head = self.head.lock();
            let mut refreshed = ObjectHead { freshness, ..ObjectHead::clone(&head) };
            for (name, value) in headers {
                match refreshed.headers.iter_mut().find(|(known, _)| *known == name) {
                    Some(known) => known.1 = value,
                    None => refreshed.headers.push((name, value)),
                }
            }
            *head = Arc::new(refreshed);
            head.encode()
        };
        self.silent_at.store(0, Ordering::Relaxed);
        if let Some(stored) = self.stored() {
            stored.set_attributes(encoded);
        }
    }

    pub(crate) const fn layout(&self) -> PieceLayout {
        PieceLayout::new(self.generation.content_length_bytes)
    }

    /// Notes that its origin was asked about it and did not answer in time.
    pub(super) fn note_silence(&self, now: u64) {
        self.silent_at.store(now, Ordering::Relaxed);
    }

    /// Whether its origin was silent a moment ago, so that nobody needs to wait for it again.
    pub(super) fn was_silent(&self, now: u64) -> bool {
        now.abs_diff(self.silent_at.load(Ordering::Relaxed)) < SILENCE_SECONDS
    }

    /// Its place in the store.
    pub(super) fn stored(&self) -> Option<Arc<connected_cache_store::Object>> {
        self.stored.read().clone()
    }

    /// Takes another place in the store, unless somebody else has moved it meanwhile. Gives where it is now.
    pub(super) fn move_from(
        &self,
        old: &Arc<connected_cache_store::Object>,
        create: impl FnOnce(&[u8]) -> Option<Arc<connected_cache_store::Object>>,
    ) -> Option<Arc<connected_cache_store::Object>> {
        let mut stored = self.stored.write();
        if stored.as_ref().is_some_and(|stored| Arc::ptr_eq(stored, old))
            && let Some(created) = create(&self.head().encode())
        {
            *stored = Some(created);
        }
        stored.clone()
    }

    /// Whether it can still grow and be served: not removed, replaced or evicted as a whole.
    pub(super) fn is_removed(&self) -> bool {
        self.stored.read().as_ref().is_some_and(|stored| stored.is_removed())
    }

    /// Whether the piece is stored.
    pub(crate) fn has(&self, piece: PieceIndex) -> bool {
        self.stored.read().as_ref().is_some_and(|stored| stored.has(index(piece)))
    }

    /// Notes that a stored piece was asked for again: what nobody asks for again is evicted first.
    pub(crate) fn touch(&self, piece: PieceIndex) {
        if let Some(stored) = self.stored.read().as_ref() {
            stored.touch(index(piece), now_seconds());
        }
    }

    /// How many pieces of a range are stored, and how many it has.
    pub(crate) fn stored_of(&self, range: ByteRange) -> (u64, u64) {
        let (Some(first), Some(last)) =
            (self.layout().piece_at(range.first), self.layout().piece_at(range.last))
        else {
            return (0, 0);
        };
        let stored = self
            .stored
            .read()
            .as_ref()
            .map_or(0, |stored| stored.committed_within(index(first), index(last)));
        (stored as u64, last.number() - first.number() + 1)
    }

    /// The whole of a small object, if it is in memory.
    pub(super) fn small(&self) -> Option<&Bytes> {
        self.small.get()
    }

    /// A range of a small object, if that is in memory.
    pub(crate) fn in_memory(&self, range: ByteRange) -> Option<Bytes> {
        let (first, last) = (usize::try_from(range.first).ok()?, usize::try_from(range.last).ok()?);
        self.small()
            .filter(|whole| last < whole.len() && first <= last)
            .map(|whole| whole.slice(first..=last))
    }

    pub(super) fn is_small(&self) -> bool {
        self.generation.content_length_bytes <= SMALL_BYTES
    }

    /// Keeps a small object in memory.
    pub(super) fn keep_small(&self, bytes: Bytes) {
        if self.is_small() && bytes.len() as u64 == self.generation.content_length_bytes {
            // Somebody else may have been faster, with the same bytes.
            let _ = self.small.set(bytes);
        }
    }
}

/// A piece's number as the store counts.
pub(super) fn index(piece: PieceIndex) -> usize {
    usize::try_from(piece.number()).unwrap_or(usize::MAX)
}

/// Seconds since 1970.
pub(crate) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> ObjectHead {
        ObjectHead {
            generation: Generation {
                content_length_bytes: 5,
                etag: Some("\"a\"".into()),
                last_modified: Some("Mon, 05 Jan 2026 00:00:00 GMT".into()),
            },
            headers: vec![(http::header::CONTENT_TYPE, HeaderValue::from_static("image/gif"))],
            freshness: Freshness {
                born_at: 1000,
                lifetime_seconds: 60,
                must_revalidate: true,
                stale_while_revalidate_seconds: None,
                stale_if_error_seconds: Some(7),
            },
        }
    }

    #[test]
    fn a_head_is_read_back_as_it_was_kept() {
        assert_eq!(ObjectHead::decode(&head().encode(), 5), Some(head()));
        for broken in [&b""[..], b"{}", b"[1]", b"\xff"] {
            assert_eq!(ObjectHead::decode(broken, 5), None);
        }
    }

    #[test]
    fn refreshing_takes_newer_headers_and_keeps_the_others() {
        let object = Object::new(ObjectKey::from_stored("example.com/f".into()), 0, head(), None);
        let freshness = Freshness { born_at: 2000, ..head().freshness };
        let control = (http::header::CACHE_CONTROL, HeaderValue::from_static("max-age=9"));
        object.refresh(freshness, vec![control.clone()]);
        assert_eq!(object.head().freshness.born_at, 2000);
        assert_eq!(object.head().headers, [head().headers[0].clone(), control]);
    }
}
