//! What comes: messages one by one, and the data of pieces straight into a buffer of its own.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use connected_cache_core::swarm::Expectation;
use connected_cache_wire::swarm::{FrameError, FrameReader, Message, PieceRange};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Room for messages; data of a piece passes through it only as far as it came together with its header.
const BUFFER_BYTES: usize = 4096;

/// The receiving half.
pub(super) struct Inlet {
    frames: FrameReader,
    buffer: Box<[u8]>,
    /// What of the buffer was not looked at.
    start: usize,
    end: usize,
    incoming: Option<Incoming>,
}

/// A piece frame whose data is on its way.
struct Incoming {
    range: PieceRange,
    /// `None` = it is thrown away.
    data: Option<BytesMut>,
}

/// What came.
#[derive(Debug)]
pub(super) enum Came {
    /// Anything but data; of data that nobody asked for its header.
    Message(Message),
    /// So many bytes of a piece.
    Progress(usize),
    /// All data of a request; `None` = it was thrown away.
    Piece(PieceRange, Option<Bytes>),
    /// They sent their last byte.
    End,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum InletError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Inlet {
    /// For content with so many pieces.
    pub(super) fn new(piece_count: u32) -> Self {
        Self {
            frames: FrameReader::new(piece_count.div_ceil(8)),
            buffer: vec![0; BUFFER_BYTES].into(),
            start: 0,
            end: 0,
            incoming: None,
        }
    }

    /// The next thing. `expectation` is asked before room is made for data.
    pub(super) fn poll<Stream: AsyncRead + Unpin>(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        expectation: impl Fn(PieceRange) -> Expectation,
    ) -> Poll<Result<Came, InletError>> {
        loop {
            if self.incoming.is_some() {
                return self.poll_data(stream, context).map_err(InletError::Io);
            }
            let mut input = &self.buffer[self.start..self.end];
            let message = self.frames.read(&mut input)?;
            self.start = self.end - input.len();
            let Some(message) = message else {
                if ready!(self.poll_fill(stream, context))? == 0 {
                    return Poll::Ready(Ok(Came::End));
                }
                continue;
            };
            let Message::Piece(range) = message else { return Poll::Ready(Ok(Came::Message(message))) };
            let data = match expectation(range) {
                // As long as a request of ours.
                Expectation::Wanted => Some(BytesMut::with_capacity(range.length as usize)),
                Expectation::Forgotten => None,
                Expectation::Unrequested => return Poll::Ready(Ok(Came::Message(message))),
            };
            self.incoming = Some(Incoming { range, data });
        }
    }

    fn poll_data<Stream: AsyncRead + Unpin>(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Came>> {
        let left = self.frames.data_left();
        if left == 0
            && let Some(Incoming { range, data }) = self.incoming.take()
        {
            return Poll::Ready(Ok(Came::Piece(range, data.map(BytesMut::freeze))));
        }
        if self.start < self.end {
            let mut input = &self.buffer[self.start..self.end];
            let taken = self.frames.take_data(&mut input);
            self.start += taken.len();
            if let Some(data) = self.incoming.as_mut().and_then(|incoming| incoming.data.as_mut()) {
                data.extend_from_slice(taken);
            }
            return Poll::Ready(Ok(Came::Progress(taken.len())));
        }
        let count = match self.incoming.as_mut().and_then(|incoming| incoming.data.as_mut()) {
            Some(data) => {
                let count = ready!(poll_read_buf(Pin::new(stream), context, &mut data.limit(left)))?;
                self.frames.data_was_read(count);
                count
            }
            // What is thrown away is taken out of the buffer by the next call.
            None => match ready!(self.poll_fill(stream, context))? {
                0 => 0,
                _ => return self.poll_data(stream, context),
            },
        };
        Poll::Ready(Ok(if count == 0 { Came::End } else { Came::Progress(count) }))
    }

    /// Reads into the buffer, which is used up.
    fn poll_fill<Stream: AsyncRead + Unpin>(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(stream).poll_read(context, &mut room))?;
        (self.start, self.end) = (0, room.filled().len());
        Poll::Ready(Ok(self.end))
    }
}
