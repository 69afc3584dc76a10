//! The body of a member's answer.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

/// What a member answers, as it comes. It takes one of the requests that may be open to this member until it is dropped;
/// dropped before its end, the member is told that nobody reads it.
#[derive(Debug)]
pub struct Answer {
    body: Incoming,
    _place: OwnedSemaphorePermit,
}

impl Answer {
    pub(super) const fn new(body: Incoming, place: OwnedSemaphorePermit) -> Self {
        Self { body, _place: place }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        loop {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
            // The end of a body whose length was not known comes as a frame without bytes.
            let is_empty = matches!(&frame, Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty));
            if !is_empty {
                return Poll::Ready(frame);
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
