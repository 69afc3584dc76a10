//! The socket under a content connection. It counts body bytes when the kernel takes them, by where they came from, and
//! closes connections that take too long over a request head or do nothing at all. Under a bandwidth cap it hands down no more
//! body bytes than may go; heads are never held back.
//!
//! hyper writes bodies without copying them: the slices it hands down lie in the buffers that the body gave it. So a slice is
//! recognised by its address. The stream below does the same to send file bytes without touching them
//! (`connected_cache_sendfile::ZeroCopyStream`); where TLS is spoken they are counted as it takes them.

mod shortened;

use std::{
    collections::VecDeque,
    future::Future,
    io::{self, IoSlice},
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use crate::{
    access_log::Record,
    bandwidth::Pace,
    metrics::{Counters, Source},
};
use shortened::{Contents, Shortened};

/// What a connection's handler and its socket tell each other.
#[derive(Debug)]
pub(crate) struct Ledger {
    counters: Arc<Counters>,
    transport: Transport,
    client: IpAddr,
    state: Mutex<LedgerState>,
}

/// What lies below HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP: bytes of files are handed to the kernel untouched.
    Plain,
    /// TLS: every byte is touched here.
    Tls,
}

impl Transport {
    /// The port that is meant where a URL of this transport names none.
    pub(crate) const fn default_port(self) -> u16 {
        match self {
            Self::Plain => 80,
            Self::Tls => 443,
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) client: IpAddr,
    pub(crate) transport: Transport,
}

#[cfg(test)]
impl Peer {
    const LOCAL: Self =
        Self { client: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), transport: Transport::Plain };
}

#[derive(Debug)]
struct LedgerState {
    /// Body buffers on their way to the socket.
    outstanding: VecDeque<Buffer>,
    phase: Phase,
    /// When the request came whose reply has had no body byte yet.
    asked: Option<Instant>,
    /// The reply that is being made, if it gets a line in the access log.
    record: Option<Arc<Record>>,
}

#[derive(Debug)]
struct Buffer {
    start: usize,
    end: usize,
    source: Source,
    /// When the request came, if its first byte is still in here.
    asked: Option<Instant>,
    /// Of the reply that it belongs to: a client that sends requests in a row may have several on their way.
    record: Option<Arc<Record>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for the first byte of a request head.
    Idle,
    /// A head is on its way; it must be complete at this time.
    Head { deadline: Instant },
    /// A request is being answered; `handed_over` once the whole reply is in hyper's hands.
    Answering { handed_over: bool },
}

impl Ledger {
    fn new(counters: Arc<Counters>, peer: Peer, header_timeout: Duration) -> Self {
        // A new connection is expected to ask at once.
        let phase = Phase::Head { deadline: Instant::now() + header_timeout };
        let state = LedgerState { outstanding: VecDeque::new(), phase, asked: None, record: None };
        Self { counters, transport: peer.transport, client: peer.client, state: Mutex::new(state) }
    }

    pub(crate) const fn transport(&self) -> Transport {
        self.transport
    }

    /// Address of the other end.
    pub(crate) const fn client(&self) -> IpAddr {
        self.client
    }

    /// A request head is complete and is being answered.
    pub(crate) fn request_begins(&self) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.phase = Phase::Answering { handed_over: false };
        state.asked = Some(now);
    }

    /// The head of a reply is made; the bytes that follow are written down here.
    pub(crate) fn reply_begins(&self, record: Option<Arc<Record>>) {
        self.state.lock().record = record;
    }

    /// The whole reply is in hyper's hands; the next request may come when it has been written.
    pub(crate) fn reply_ends(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Answering { handed_over: true };
        state.record = None;
    }

    /// These bytes are on their way to the socket.
    pub(crate) fn expect(&self, bytes: &Bytes, source: Source) {
        let start = bytes.as_ptr().addr();
        let mut state = self.state.lock();
        let (asked, record) = (state.asked.take(), state.record.clone());
        state.outstanding.push_back(Buffer { start, end: start + bytes.len(), source, asked, record });
    }

    /// Counts what the kernel took of these slices; how many body bytes those were.
    fn wrote(&self, slices: &[IoSlice<'_>], mut written: usize) -> u64 {
        let mut body = 0;
        let mut state = self.state.lock();
        for slice in slices {
            let taken = written.min(slice.len());
            if taken == 0 {
                break;
            }
            body += state.count(&self.counters, slice.as_ptr().addr(), taken);
            written -= taken;
        }
        body
    }
}

impl LedgerState {
    fn position(&self, start: usize) -> Option<usize> {
        self.outstanding.iter().position(|buffer| buffer.start <= start && start < buffer.end)
    }

    /// Whether a slice that begins here is of a body.
    fn holds(&self, start: usize) -> bool {
        self.position(start).is_some()
    }

    fn count(&mut self, counters: &Counters, start: usize, length: usize) -> u64 {
        let Some(index) = self.position(start) else { return 0 };
        let buffer = &mut self.outstanding[index];
        let taken = length.min(buffer.end - start);
        counters.add_served(buffer.source, taken as u64);
        if let Some(asked) = buffer.asked.take() {
            counters.first_bytes.add(buffer.source, asked.elapsed());
        }
        if let Some(record) = &buffer.record {
            record.sent(buffer.source, taken as u64);
        }
        // Never counted twice; gone from the list before the memory can be used again.
        buffer.start = start + taken;
        if buffer.start == buffer.end {
            self.outstanding.remove(index);
        }
        taken as u64
    }
}

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketLimits {
    /// From the first byte of a request head to its end.
    pub(crate) header: Duration,
    /// Without any progress.
    pub(crate) idle: Duration,
}

/// The socket.
#[derive(Debug)]
pub(crate) struct Socket<Stream> {
    stream: Stream,
    ledger: Arc<Ledger>,
    limits: SocketLimits,
    /// Later than now while our own pacing holds bytes back.
    last_progress: Instant,
    timer: Pin<Box<Sleep>>,
    /// `None` = there are no caps.
    pace: Option<Box<Pace>>,
}

impl<Stream> Socket<Stream> {
    pub(crate) fn new(
        stream: Stream,
        peer: Peer,
        counters: Arc<Counters>,
        limits: SocketLimits,
        pace: Option<Pace>,
    ) -> Self {
        let ledger = Arc::new(Ledger::new(counters, peer, limits.header));
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(now + limits.header.min(limits.idle)));
        Self { stream, ledger, limits, last_progress: now, timer, pace: pace.map(Box::new) }
    }

    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        self.ledger.clone()
    }

    /// Ready with an error when the connection has used up its time.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let idle = self.last_progress + self.limits.idle;
            let deadline = match self.ledger.state.lock().phase {
                Phase::Head { deadline } => deadline.min(idle),
                Phase::Idle | Phase::Answering { .. } => idle,
            };
            if deadline <= Instant::now() {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    fn or_deadline<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.poll_deadline(context).map(Err)
    }

    fn head_bytes_came(&mut self) {
        let deadline = Instant::now() + self.limits.header;
        let mut state = self.ledger.state.lock();
        if state.phase == Phase::Idle {
            state.phase = Phase::Head { deadline };
            drop(state);
            let next = deadline.min(self.timer.deadline());
            self.timer.as_mut().reset(next);
        }
    }

    /// hyper's buffers are empty.
    fn reply_flushed(&mut self) {
        let mut state = self.ledger.state.lock();
        if state.phase == (Phase::Answering { handed_over: true }) {
            state.outstanding.clear();
            state.phase = Phase::Idle;
        }
    }
}

impl<Stream: AsyncRead + Unpin> AsyncRead for Socket<Stream> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let before = buffer.filled().len();
        let Poll::Ready(result) = Pin::new(&mut socket.stream).poll_read(context, buffer) else {
            return socket.or_deadline(context);
        };
        if buffer.filled().len() > before {
            socket.last_progress = Instant::now();
            socket.head_bytes_came();
            // A head that dribbles in byte by byte is always readable; its deadline counts all the same.
            if let Poll::Ready(error) = socket.poll_deadline(context) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(result)
    }
}

impl<Stream: AsyncWrite + Unpin> Socket<Stream> {
    fn poll_write_now(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(result) = Pin::new(&mut self.stream).poll_write_vectored(context, slices) else {
            return self.or_deadline(context);
        };
        let written = result?;
        self.last_progress = Instant::now();
        let body_bytes = self.ledger.wrote(slices, written);
        if let Some(pace) = &mut self.pace {
            pace.spend(body_bytes);
        }
        Poll::Ready(Ok(written))
    }

    /// No more body bytes than may go now, and a head at once.
    fn poll_write_paced(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let contents = Contents::of(slices, &self.ledger);
        let Some(pace) = self.pace.as_mut().filter(|_| contents.body_bytes > 0) else {
            return self.poll_write_now(context, slices);
        };
        let allowed = match pace.poll_allowance(context, contents.body_bytes) {
            Poll::Ready(bytes) => bytes,
            Poll::Pending if contents.begins_with_head => 0,
            Poll::Pending => {
                // The client is not to blame for the time until then.
                self.last_progress = pace.due().unwrap_or(self.last_progress).max(self.last_progress);
                // What was written before doesn't wait below for company.
                return match Pin::new(&mut self.stream).poll_flush(context) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Pending,
                };
            }
        };
        let ledger = self.ledger.clone();
        self.poll_write_now(context, Shortened::to(allowed, slices, &ledger).as_slices())
    }
}

impl<Stream: AsyncWrite + Unpin> AsyncWrite for Socket<Stream> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        match socket.pace {
            None => socket.poll_write_now(context, slices),
            Some(_) => socket.poll_write_paced(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        ready!(Pin::new(&mut socket.stream).poll_flush(context))?;
        socket.reply_flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
