//! From a stored piece to bytes for a client.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use connected_cache_core::{ByteRange, PieceIndex};
use connected_cache_sendfile::stream::SMALLEST;
use connected_cache_store::ReadError;

use super::{Catalog, Fill, Object, object};
use crate::priority::step_back;

/// Bytes of one read for readers that touch the bytes: what every slow client may hold in memory.
const MAX_COPIED_BYTES: usize = 128 << 10;

impl Catalog {
    /// The whole of a stored piece in hand, so that it can't be evicted under the one who reads it; `None` = it can't be read, and
    /// the object is forgotten. For content without a validator, which no other fetch can continue; it has one piece.
    pub(crate) async fn hold(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        mapped: bool,
    ) -> Option<Arc<Fill>> {
        let length = object.layout().range_of(piece).length();
        let fill = Fill::new(length);
        let mut first = 0;
        while first < length {
            let within = ByteRange { first, last: length - 1 };
            let Some(bytes) =
                self.read(object, piece, within, mapped).await.filter(|bytes| !bytes.is_empty())
            else {
                self.forget(object);
                return None;
            };
            first += bytes.len() as u64;
            fill.push(bytes).ok()?;
        }
        fill.finish(Ok(()));
        Some(Arc::new(fill))
    }

    /// Stored bytes from the beginning of a range of a piece, all or as many as one read gives; `None` if they can't be read
    /// (gone, damaged, or the disk fails). `mapped` = the reader only hands them to the kernel, so they need not be copied.
    pub(crate) async fn read(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        within: ByteRange,
        mapped: bool,
    ) -> Option<Bytes> {
        let stored = object.stored()?;
        let number = object::index(piece);
        let offset = usize::try_from(within.first).ok()?;
        let length = usize::try_from(within.length()).ok()?;
        if let Some(bytes) = object.small() {
            return Some(bytes.slice(offset..offset + length));
        }
        if !stored.is_ready(number, offset, length) {
            let loading = stored.clone();
            let load = move || {
                step_back();
                loading.make_ready(number, offset, length)
            };
            let loaded = tokio::task::spawn_blocking(load).await;
            if let Err(error) = loaded.ok()? {
                if matches!(error, ReadError::Damaged(_)) {
                    self.shared.counters.pieces_rejected.fetch_add(1, Ordering::Relaxed);
                }
                tracing::warn!(object = %object.key(), piece = piece.number(), %error, "a stored piece can't be read");
                return None;
            }
        }
        if object.is_small() {
            let before = object.comparisons();
            let whole = stored.read_copied(number, 0, stored.length_of(number)).ok()?;
            object.keep_small(whole.clone());
            if before.may_have_dropped(object.comparisons()) {
                // It may be wrong.
                object.forget_small();
            }
            return Some(whole.slice(offset..offset + length));
        }
        // Short slices are copied by the socket anyway.
        if mapped && length >= SMALLEST {
            return stored.read(number, offset, length).ok();
        }
        let length = length.min(MAX_COPIED_BYTES);
        if length < SMALLEST {
            return stored.read_copied(number, offset, length).ok();
        }
        let reading = stored.clone();
        tokio::task::spawn_blocking(move || reading.read_copied(number, offset, length)).await.ok()?.ok()
    }
}
