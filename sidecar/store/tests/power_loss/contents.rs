//! What the pieces hold: every byte follows from which object, generation and piece it belongs to.

use std::sync::Arc;

use connected_cache_store::{FillError, Object, Trust};
use sha2::{Digest as _, Sha256};

/// The right bytes. The pattern has no period of a page or a sector, so that a page in a wrong place shows.
pub(crate) fn bytes(key: &str, generation: u64, piece: usize, length: usize) -> Vec<u8> {
    let patterns = (0..17).flat_map(|part| Sha256::digest(format!("{key} {generation} {piece} {part}")));
    let mut pattern: Vec<u8> = patterns.collect();
    pattern.truncate(521);
    let mut bytes = pattern.repeat(length.div_ceil(pattern.len()));
    bytes.truncate(length);
    bytes
}

/// The generation that an object carries in its attributes, as their first word.
pub(crate) fn generation(object: &Object) -> Option<u64> {
    let attributes = String::from_utf8(object.record().ok()??.attributes).ok()?;
    attributes.split(' ').next()?.parse().ok()
}

/// Stores a piece in parts of this size.
pub(crate) fn fill(
    object: &Arc<Object>,
    key: &str,
    generation: u64,
    piece: usize,
    part: usize,
) -> Result<(), FillError> {
    let bytes = bytes(key, generation, piece, object.length_of(piece));
    let mut fill = object.begin(piece)?;
    for part in bytes.chunks(part) {
        fill.append(part)?;
    }
    fill.commit(Sha256::digest(&bytes).into(), Trust::Origin)
}
