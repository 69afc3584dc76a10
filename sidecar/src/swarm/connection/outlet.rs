//! What goes: messages and the data of pieces, in order, by vectored writes. Bytes of a mapped file are sent without being copied.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use connected_cache_wire::swarm::{Message, PieceRange};
use tokio::io::AsyncWrite;

/// Pieces that wait to be written: one on its way and the next.
const MAX_PIECES: usize = 2;
/// Slices of one write: header and data of two pieces, and what is said between them.
const MAX_SLICES: usize = 8;

/// The sending half.
#[derive(Default)]
pub(super) struct Outlet {
    parts: VecDeque<Part>,
    pieces: usize,
    /// Something was written and not flushed.
    is_dirty: bool,
}

struct Part {
    bytes: Bytes,
    /// Data of this request.
    data_of: Option<PieceRange>,
}

/// What a write did.
#[derive(Debug, Default)]
pub(super) struct Wrote {
    /// Bytes of pieces.
    pub(super) data_bytes: u64,
    /// Requests whose data is written to its end.
    pub(super) done: Vec<PieceRange>,
}

impl Outlet {
    /// Nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// There is room for one more piece.
    pub(super) const fn has_room(&self) -> bool {
        self.pieces < MAX_PIECES
    }

    /// Something waits to be written or flushed.
    pub(super) fn is_pending(&self) -> bool {
        self.is_dirty || !self.parts.is_empty()
    }

    /// Messages, encoded.
    pub(super) fn push_messages(&mut self, encoded: Vec<u8>) {
        if !encoded.is_empty() {
            self.parts.push_back(Part { bytes: encoded.into(), data_of: None });
        }
    }

    /// The answer to a request: header and data.
    pub(super) fn push_piece(&mut self, range: PieceRange, data: Bytes) {
        let mut header = Vec::new();
        Message::Piece(range).encode(&mut header);
        self.push_messages(header);
        self.parts.push_back(Part { bytes: data, data_of: Some(range) });
        self.pieces += 1;
    }

    /// Writes once, or flushes what was written.
    pub(super) fn poll<Stream: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Wrote>> {
        if self.parts.is_empty() {
            ready!(Pin::new(stream).poll_flush(context))?;
            self.is_dirty = false;
            return Poll::Ready(Ok(Wrote::default()));
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let used = self.parts.len().min(MAX_SLICES);
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(&part.bytes);
        }
        let count = ready!(Pin::new(stream).poll_write_vectored(context, &slices[..used]))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.is_dirty = true;
        Poll::Ready(Ok(self.advance(count)))
    }

    /// So many bytes are written.
    fn advance(&mut self, mut count: usize) -> Wrote {
        let mut wrote = Wrote::default();
        while count > 0
            && let Some(part) = self.parts.front_mut()
        {
            let taken = count.min(part.bytes.len());
            part.bytes.advance(taken);
            count -= taken;
            if part.data_of.is_some() {
                wrote.data_bytes += taken as u64;
            }
            if part.bytes.is_empty()
                && let Some(Part { data_of: Some(range), .. }) = self.parts.pop_front()
            {
                wrote.done.push(range);
                self.pieces -= 1;
            }
        }
        wrote
    }
}
