//! One object in one generation: what its replies look like, where it lies, and which of its pieces are stored.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use connected_cache_core::{Generation, ObjectKey, PieceIndex, PieceLayout};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// File systems hand out whole blocks.
const BLOCK_BYTES: u64 = 4096;
/// A directory entry with our long names, generously.
const ENTRY_BYTES: u64 = 256;
/// `object.json` of any other form is not read.
const FORMAT: u32 = 1;

/// What a piece of this length takes on a volume.
pub(super) const fn piece_cost_bytes(length_bytes: u64) -> u64 {
    length_bytes.div_ceil(BLOCK_BYTES) * BLOCK_BYTES + ENTRY_BYTES
}

/// What every reply of an object repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// Length and validators.
    pub generation: Generation,
    /// Names (lower case) and values of the origin's headers that are passed on.
    pub headers: Vec<(String, String)>,
}

/// One object in one generation.
#[derive(Debug)]
pub struct Object {
    key: ObjectKey,
    head: ObjectHead,
    /// Held while files of this object are made or removed.
    pub(super) writing: Mutex<()>,
    placement: Mutex<Option<usize>>,
    pieces: Mutex<BTreeMap<PieceIndex, PieceRecord>>,
    last_used: AtomicU64,
    retired: AtomicBool,
}

/// A stored piece.
#[derive(Clone, Debug)]
pub(super) struct PieceRecord {
    pub(super) sha256: [u8; 32],
    /// Whether the bytes on disk were seen to have this hash since the process began.
    verified: bool,
}

impl PieceRecord {
    /// A piece that is being written with this hash.
    pub(super) const fn new(sha256: [u8; 32]) -> Self {
        Self { sha256, verified: true }
    }

    /// A piece that was found with this hash in its name.
    pub(super) const fn found(sha256: [u8; 32]) -> Self {
        Self { sha256, verified: false }
    }

    pub(super) const fn is_verified(&self) -> bool {
        self.verified
    }

    pub(super) fn file_name(&self, piece: PieceIndex) -> String {
        format!("{}.{}", piece.number(), hex::encode(self.sha256))
    }
}

/// `object.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Description {
    format: u32,
    key: String,
    length: u64,
    etag: Option<String>,
    last_modified: Option<String>,
    headers: Vec<(String, String)>,
}

impl Object {
    pub(super) fn new(key: ObjectKey, head: ObjectHead) -> Self {
        Self {
            key,
            head,
            writing: Mutex::default(),
            placement: Mutex::default(),
            pieces: Mutex::default(),
            last_used: AtomicU64::new(0),
            retired: AtomicBool::new(false),
        }
    }

    /// An object as it was described on a volume; `None` = another format or a folder that belongs to something else.
    pub(super) fn from_description(text: &[u8], folder_name: &str) -> Option<Self> {
        let description: Description = serde_json::from_slice(text).ok()?;
        let generation = Generation {
            content_length_bytes: description.length,
            etag: description.etag,
            last_modified: description.last_modified,
        };
        let head = ObjectHead { generation, headers: description.headers };
        let object = Self::new(ObjectKey::from_stored(description.key), head);
        (description.format == FORMAT && object.folder_name() == folder_name).then_some(object)
    }

    pub(super) fn describe(&self) -> Vec<u8> {
        let generation = self.head.generation.clone();
        let description = Description {
            format: FORMAT,
            key: self.key.as_str().to_owned(),
            length: generation.content_length_bytes,
            etag: generation.etag,
            last_modified: generation.last_modified,
            headers: self.head.headers.clone(),
        };
        // Can't fail: text and numbers only.
        serde_json::to_vec(&description).unwrap_or_default()
    }

    /// The folder's name: key and generation, so that two generations never share a folder.
    pub(super) fn folder_name(&self) -> String {
        let generation = &self.head.generation;
        let text = format!(
            "{}\n{:?}\n{:?}",
            generation.content_length_bytes, generation.etag, generation.last_modified
        );
        format!("{}-{}", self.key.digest(), hex::encode(&Sha256::digest(text.as_bytes())[..8]))
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// What its replies repeat.
    #[must_use]
    pub const fn head(&self) -> &ObjectHead {
        &self.head
    }

    /// Its pieces.
    #[must_use]
    pub const fn layout(&self) -> PieceLayout {
        PieceLayout::new(self.head.generation.content_length_bytes)
    }

    /// Whether the piece is stored.
    #[must_use]
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.pieces.lock().contains_key(&piece)
    }

    pub(super) fn volume(&self) -> Option<usize> {
        *self.placement.lock()
    }

    pub(super) fn set_volume(&self, index: usize) {
        *self.placement.lock() = Some(index);
    }

    pub(super) fn record(&self, piece: PieceIndex) -> Option<PieceRecord> {
        self.pieces.lock().get(&piece).cloned()
    }

    pub(super) fn insert_record(&self, piece: PieceIndex, record: PieceRecord) {
        self.pieces.lock().insert(piece, record);
    }

    pub(super) fn remove_record(&self, piece: PieceIndex) -> Option<PieceRecord> {
        self.pieces.lock().remove(&piece)
    }

    pub(super) fn mark_verified(&self, piece: PieceIndex) {
        if let Some(record) = self.pieces.lock().get_mut(&piece) {
            record.verified = true;
        }
    }

    /// Forgets all pieces and says what they took.
    pub(super) fn take_records_cost_bytes(&self) -> u64 {
        let pieces = std::mem::take(&mut *self.pieces.lock());
        pieces.keys().map(|piece| piece_cost_bytes(self.layout().range_of(*piece).length())).sum()
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    pub(super) fn set_last_used(&self, tick: u64) {
        self.last_used.store(tick, Ordering::Relaxed);
    }

    /// From now on nothing is stored for it.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }
}

impl Object {
    /// How many pieces are stored.
    pub(super) fn piece_count(&self) -> u64 {
        self.pieces.lock().len() as u64
    }
}
