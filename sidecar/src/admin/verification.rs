//! How the pieces of an object are checked, as the list of objects shows it.

use connected_cache_core::ObjectKey;
use connected_cache_store::Entry;
use serde::Serialize;

use crate::{
    catalog::{Catalog, Verdict, is_metadata},
    control_plane::SimpleMode,
};

/// How the pieces of one object are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VerificationReport {
    state: State,
    /// Why it is in simple mode, or why its peers are not asked for although its pieces are authenticated.
    reason: Option<&'static str>,
    /// The code of Delivery Optimization for it.
    code: Option<String>,
    content_id: Option<String>,
    hash_of_hashes: Option<String>,
    authenticated_pieces: usize,
    stored_pieces: usize,
    /// Every piece is stored and authenticated, so the whole is.
    complete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Nobody has asked for it since the start.
    Unasked,
    /// The control plane is being asked.
    Pending,
    /// Every piece is checked before it is given to a client.
    Authenticated,
    /// Pieces are given to clients as the origin sends them.
    Simple,
}

impl VerificationReport {
    /// What is known of an object of the store. Content below `least_shared_bytes` has no peers.
    pub(super) fn of(entry: &Entry, catalog: &Catalog, least_shared_bytes: u64) -> Self {
        let key = ObjectKey::from_stored(entry.key.clone());
        let known = catalog.known_of(&key);
        let is_authenticated = entry.authenticated_pieces == entry.stored_pieces && entry.stored_pieces > 0;
        let (state, reason) = match &known.verdict {
            _ if !catalog.verifies() => (State::Simple, Some(SimpleMode::Off)),
            _ if is_metadata(&key) => (State::Simple, Some(SimpleMode::Metadata)),
            Verdict::Awaited => (State::Pending, None),
            Verdict::Simple(SimpleMode::Pending) => (State::Pending, Some(SimpleMode::Pending)),
            Verdict::Simple(reason) => (State::Simple, Some(*reason)),
            Verdict::Disputed(_) => (State::Simple, Some(SimpleMode::BadPieces)),
            Verdict::Unasked if !is_authenticated => (State::Unasked, None),
            Verdict::Authenticated(_) | Verdict::Unasked => {
                (State::Authenticated, (entry.length < least_shared_bytes).then_some(SimpleMode::TooSmall))
            }
        };
        Self {
            state,
            reason: reason.map(SimpleMode::label),
            code: reason.map(SimpleMode::code_text).filter(|code| !code.is_empty()),
            content_id: known.policy.as_ref().map(|policy| policy.content_id.as_str().to_owned()),
            hash_of_hashes: known.policy.as_ref().map(|policy| policy.hash_of_hashes.to_base64()),
            authenticated_pieces: entry.authenticated_pieces,
            stored_pieces: entry.stored_pieces,
            complete: is_authenticated && entry.stored_pieces == entry.pieces,
        }
    }
}
