//! Which object a caller means by a content id or by a download URL.

use std::collections::HashMap;
use std::sync::Arc;

use connected_cache_wire::delivery_optimization::PieceHashFile;
use parking_lot::Mutex;

use super::Refusal;
use crate::config::{ContentEntry, SharingPolicy};
use crate::content::{Catalogue, OpenError, PieceHashError};
use crate::http1::decode_path;

/// The objects of the mock by the names that callers have for them.
#[derive(Debug)]
pub(crate) struct KnownContent {
    entries: Vec<ContentEntry>,
    catalogue: Arc<Catalogue>,
    /// Paths by canonical id. A caller can have such an id only from an answer, which put it in here.
    canonical: Mutex<HashMap<String, String>>,
}

impl KnownContent {
    pub(super) fn new(entries: Vec<ContentEntry>, catalogue: Arc<Catalogue>) -> Self {
        Self { entries, catalogue, canonical: Mutex::default() }
    }

    /// Path of the object that is meant; `None` when the mock has none.
    pub(super) async fn path(&self, id: Option<&str>, url: Option<&str>) -> Result<Option<String>, Refusal> {
        if let Some(path) = id.and_then(|id| self.path_of_id(id)) {
            return Ok(Some(path));
        }
        let Some(path) = url.and_then(path_of_url) else { return Ok(None) };
        let catalogue = Arc::clone(&self.catalogue);
        let looked_up = tokio::task::spawn_blocking(move || match catalogue.open(&path) {
            Ok(_) => Ok(Some(path)),
            Err(OpenError::NotFound) => Ok(None),
            Err(error) => Err(error.to_string()),
        });
        let found = looked_up.await.unwrap_or_else(|error| Err(error.to_string()));
        found.map_err(|reason| Refusal::new(500, reason))
    }

    /// One name for all the names of a content: the path of the object, else what the caller sent.
    pub(super) async fn key(&self, id: Option<&str>, url: Option<&str>) -> Result<String, Refusal> {
        let path = self.path(id, url).await?;
        Ok(path.unwrap_or_else(|| id.or(url).unwrap_or_default().to_owned()))
    }

    pub(super) fn policy(&self, path: &str) -> SharingPolicy {
        self.entries
            .iter()
            .find(|entry| entry.path == path)
            .map_or(SharingPolicy::Allowed, |entry| entry.policy)
    }

    /// Lets callers name the object by its canonical id from now on.
    pub(super) fn remember(&self, canonical_id: &str, path: &str) {
        self.canonical.lock().insert(canonical_id.to_owned(), path.to_owned());
    }

    pub(crate) async fn piece_hash_file(&self, path: &str) -> Result<Arc<PieceHashFile>, Refusal> {
        let entry = self.entries.iter().find(|entry| entry.path == path);
        let path = entry.and_then(|entry| entry.hashes_of.as_deref()).unwrap_or(path);
        let (catalogue, path) = (Arc::clone(&self.catalogue), path.to_owned());
        let made = tokio::task::spawn_blocking(move || catalogue.piece_hash_file(&path)).await;
        match made {
            Ok(Ok(file)) => Ok(file),
            Ok(Err(PieceHashError::Open(error @ OpenError::NotFound))) => {
                Err(Refusal::new(404, error.to_string()))
            }
            Ok(Err(error)) => Err(Refusal::new(500, error.to_string())),
            Err(error) => Err(Refusal::new(500, error.to_string())),
        }
    }

    fn path_of_id(&self, id: &str) -> Option<String> {
        let entry = self.entries.iter().find(|entry| entry.content_id.as_deref() == Some(id));
        entry.map(|entry| entry.path.clone()).or_else(|| self.canonical.lock().get(id).cloned())
    }
}

fn path_of_url(url: &str) -> Option<String> {
    decode_path(url::Url::parse(url).ok()?.path())
}
