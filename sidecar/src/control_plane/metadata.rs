//! What the control plane says of one content, and the hashes of its pieces that this authenticates.

use std::sync::Arc;

use connected_cache_wire::delivery_optimization::{ContentId, HashOfHashes, PieceHashFile};
use serde::{Deserialize, Serialize};
use url::Url;

/// What a content policy says, as far as it is used. It is kept with the object, so that a restart needs no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Canonical id.
    pub(crate) content_id: ContentId,
    /// From the reply, so it came over TLS.
    pub(crate) hash_of_hashes: HashOfHashes,
    /// Where the piece hash file is; nothing there is trusted.
    pub(crate) piece_hash_file_urls: Vec<Url>,
    /// Until when it holds, in seconds since 1970.
    pub(crate) expires_at: u64,
}

/// A policy and the piece hash file that it authenticates.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    pub(crate) policy: Policy,
    pub(crate) pieces: Arc<PieceHashFile>,
}

/// A policy as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeptPolicy {
    content_id: String,
    hash_of_hashes: String,
    piece_hash_file_urls: Vec<Url>,
    expires_at: u64,
}

impl From<&Policy> for KeptPolicy {
    fn from(policy: &Policy) -> Self {
        Self {
            content_id: policy.content_id.as_str().to_owned(),
            hash_of_hashes: policy.hash_of_hashes.to_base64(),
            piece_hash_file_urls: policy.piece_hash_file_urls.clone(),
            expires_at: policy.expires_at,
        }
    }
}

impl KeptPolicy {
    /// `None` = it was not kept by us.
    pub(crate) fn policy(&self) -> Option<Policy> {
        Some(Policy {
            content_id: ContentId::parse(&self.content_id).ok()?,
            hash_of_hashes: HashOfHashes::from_base64(&self.hash_of_hashes).ok()?,
            piece_hash_file_urls: self.piece_hash_file_urls.clone(),
            expires_at: self.expires_at,
        })
    }
}
