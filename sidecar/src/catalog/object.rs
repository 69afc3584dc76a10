//! One object in one generation: what its replies repeat, how fresh it is, and its place in the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use connected_cache_core::{ByteRange, Freshness, Generation, ObjectKey, PieceIndex, PieceLayout};
use http::{HeaderName, HeaderValue};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use super::verification::{Comparisons, Verdict, Verification};
use crate::control_plane::{KeptPolicy, Policy};

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
    /// What the control plane said of it.
    pub(crate) policy: Option<Arc<Policy>>,
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
    /// All of a small object.
    small: RwLock<Option<Bytes>>,
    /// `None` = its pieces are not checked against hashes: there is no control plane, or it holds hashes itself.
    verification: Option<Verification>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<KeptPolicy>,
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
            policy: self.policy.as_deref().map(KeptPolicy::from),
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
            policy: attributes.policy.as_ref().and_then(KeptPolicy::policy).map(Arc::new),
        })
    }
}

impl Object {
    pub(super) fn new(
        key: ObjectKey,
        class: u8,
        head: ObjectHead,
        stored: Option<Arc<connected_cache_store::Object>>,
        is_verified: bool,
    ) -> Self {
        let generation = head.generation.clone();
        let is_verified = is_verified && !is_metadata(&key);
        Self {
            key,
            class,
            generation,
            head: Mutex::new(Arc::new(head)),
            stored: RwLock::new(stored),
            small: RwLock::default(),
            verification: is_verified.then(Verification::default),
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

    /// What is known of the hashes of its pieces; `None` = they are not checked against any.
    pub(crate) const fn verification(&self) -> Option<&Verification> {
        self.verification.as_ref()
    }

    /// Whether its bytes are seen as they come.
    pub(super) fn shows_at_once(&self) -> bool {
        self.verification.as_ref().is_none_or(Verification::shows_at_once)
    }

    /// Comparisons of its stored bytes with hashes that came late.
    pub(crate) fn comparisons(&self) -> Comparisons {
        self.verification.as_ref().map_or_else(Comparisons::default, Verification::comparisons)
    }

    /// Under which id it is known to everybody who may share it: the hash of its authenticated hashes, where they are those of whole
    /// pieces. It stays so when everything is stored and the hashes are let go.
    pub(crate) fn hash_of_hashes(&self) -> Option<[u8; 32]> {
        let verification = self.verification.as_ref().filter(|known| known.was_of_whole_pieces())?;
        match verification.verdict() {
            Verdict::Authenticated(hashes) => Some(*hashes.policy().hash_of_hashes.as_bytes()),
            Verdict::Unasked if self.is_authenticated() => {
                Some(*self.head().policy.as_ref()?.hash_of_hashes.as_bytes())
            }
            _ => None,
        }
    }

    /// Whether its origin sends other bytes than its hashes say.
    pub(super) fn is_disputed(&self) -> bool {
        let verdict = self.verification.as_ref().map(Verification::verdict);
        matches!(verdict, Some(Verdict::Disputed(_)))
    }

    /// Whether every piece is checked before it is seen.
    pub(crate) fn is_checked(&self) -> bool {
        let verdict = self.verification.as_ref().map(Verification::verdict);
        matches!(verdict, Some(Verdict::Authenticated(_)))
    }

    /// Whether every piece is stored and authenticated.
    pub(super) fn is_authenticated(&self) -> bool {
        let (_, authenticated, pieces) = self.counts();
        authenticated == pieces && pieces > 0
    }

    /// Pieces that are stored, those among them that are authenticated, and all that it has.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let stored = self.stored.read();
        stored
            .as_ref()
            .map_or((0, 0, usize::try_from(self.layout().piece_count()).unwrap_or(usize::MAX)), |stored| {
                (stored.committed(), stored.authenticated(), stored.pieces())
            })
    }

    /// The control plane said this of it.
    pub(super) fn keep_policy(&self, policy: &Policy) {
        let encoded = {
            let mut head = self.head.lock();
            if head.policy.as_deref() == Some(policy) {
                return;
            }
            let policy = Some(Arc::new(policy.clone()));
            *head = Arc::new(ObjectHead { policy, ..ObjectHead::clone(&head) });
            head.encode()
        };
        if let Some(stored) = self.stored() {
            stored.set_attributes(encoded);
        }
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
    pub(crate) fn is_removed(&self) -> bool {
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
    pub(super) fn small(&self) -> Option<Bytes> {
        self.small.read().clone()
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

    /// Keeps a small object in memory, in the place of what was kept before.
    pub(super) fn keep_small(&self, bytes: Bytes) {
        if self.is_small() && bytes.len() as u64 == self.generation.content_length_bytes {
            *self.small.write() = Some(bytes);
        }
    }

    /// What memory has of a small object is wrong.
    pub(super) fn forget_small(&self) {
        *self.small.write() = None;
    }
}

/// Whether content is a piece hash file, by the forms of their names that are known (dossier delivery-optimization 2.5).
pub(crate) fn is_metadata(key: &ObjectKey) -> bool {
    let path = key.as_str().split('?').next().unwrap_or_default();
    let is_named_so = path
        .rsplit('/')
        .next()
        .is_some_and(|name| name == "pieceshash" || matches!(name.rsplit_once('.'), Some((_, "phf"))));
    is_named_so || path.contains("/phf/")
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
    use connected_cache_wire::delivery_optimization::{ContentId, HashOfHashes};

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
            policy: None,
        }
    }

    #[test]
    fn a_head_is_read_back_as_it_was_kept() {
        assert_eq!(ObjectHead::decode(&head().encode(), 5), Some(head()));
        let hash = HashOfHashes::from_bytes([7; 32]);
        let policy = Policy {
            content_id: ContentId::from_hash_of_hashes(hash),
            hash_of_hashes: hash,
            piece_hash_file_urls: vec!["http://example.com/f/pieceshash".parse().unwrap()],
            expires_at: 9,
        };
        let with_policy = ObjectHead { policy: Some(Arc::new(policy)), ..head() };
        assert_eq!(ObjectHead::decode(&with_policy.encode(), 5), Some(with_policy));
        for broken in [&b""[..], b"{}", b"[1]", b"\xff"] {
            assert_eq!(ObjectHead::decode(broken, 5), None);
        }
    }

    #[test]
    fn refreshing_takes_newer_headers_and_keeps_the_others() {
        let object = Object::new(ObjectKey::from_stored("example.com/f".into()), 0, head(), None, false);
        let freshness = Freshness { born_at: 2000, ..head().freshness };
        let control = (http::header::CACHE_CONTROL, HeaderValue::from_static("max-age=9"));
        object.refresh(freshness, vec![control.clone()]);
        assert_eq!(object.head().freshness.born_at, 2000);
        assert_eq!(object.head().headers, [head().headers[0].clone(), control]);
    }
    #[test]
    fn piece_hash_files_are_known_by_every_form_of_their_names_and_content_is_not_taken_for_one() {
        let is_one = |key: &str| is_metadata(&ObjectKey::from_stored(key.into()));
        // Dossier 2.5.
        for name in [
            "dl.delivery.mp.microsoft.com/filestreamingservice/files/00000000-0000-4000-8000-000000000001/pieceshash",
            "msedge.b.dl.delivery.mp.microsoft.com/f/pieceshash?P1=1&P4=a",
            "swdd02-mscdn.manage.microsoft.com/a/b/intunewin.bin.phf",
            "swdd02-mscdn.manage.microsoft.com/a/b/intunewin.bin.phf?x=y/z",
            "download.windowsupdate.com/phf/c/e2797dcf9ab1c2d3e4f5061728394a5b6c7d8e9f/0d",
        ] {
            assert!(is_one(name), "{name}");
        }
        for name in [
            "a.example/pieceshash/f.cab",
            "a.example/f.cab?x=/pieceshash",
            "a.example/f.cab?x=.phf",
            "a.example/f.cab?x=/phf/",
            "a.example/phf",
            "a.example/f.phf.cab",
            "a.example/mypieceshash",
        ] {
            assert!(!is_one(name), "{name}");
        }
    }
}
