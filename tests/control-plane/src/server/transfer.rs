//! Writing an answer: head, then body, with the faults that concern single bytes, counting what was written.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Shared;
use super::answer::{Answer, Body};
use super::connection::{Client, Next, Request};
use crate::content::ObjectReader;
use crate::fault::Fault;
use crate::request_log::OpenRequest;

/// Read and write size of a body.
const CHUNK_BYTES: usize = 256 << 10;
/// Length of the pieces that faults count.
const PIECE_BYTES: u64 = 1 << 20;
/// A trickle is written in that many steps per second, as far as single bytes allow.
const TRICKLE_STEPS_PER_SECOND: u64 = 20;

/// Sends the answer. `replaced` ends a stall; `record` counts.
pub(super) async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    request: &Request,
    answer: Answer,
    fault: &Fault,
    replaced: Option<watch::Receiver<u64>>,
    record: Option<&OpenRequest>,
    shared: &Shared,
) -> io::Result<Next> {
    let next = if shared.stopping.is_cancelled() { Next::Close } else { request.next() };
    if let Some(record) = record {
        record.lock().status = Some(answer.status);
    }
    client.stream.write_all(head(&answer, next).as_bytes()).await?;
    let total = if request.is_head() { 0 } else { answer.body.length().unwrap_or(0) };
    let pace = Pace::new(fault.trickle_bytes_per_second);
    let mut source = Source::new(answer.body, fault);
    let mut replaced = replaced;
    let mut buffer = Vec::new();
    let mut sent = 0;
    // A stall or a cut at the very end of a body (or in a body that never gets there) changes nothing.
    while sent < total {
        if fault.cut_after_bytes == Some(sent) {
            client.stream.flush().await?;
            return Ok(Next::Cut);
        }
        if fault.stall_after_bytes == Some(sent)
            && let Some(replaced) = replaced.take()
        {
            client.stream.flush().await?;
            if stall(client, replaced, shared).await == Stall::Ended {
                return Ok(Next::Cut);
            }
        }
        let stops = [fault.cut_after_bytes, fault.stall_after_bytes].into_iter().flatten();
        let stop = stops.filter(|stop| *stop > sent).fold(total, u64::min);
        let count = pace.step(stop - sent);
        buffer = source.next(buffer, count).await?;
        write_counted(&mut client.stream, &buffer, record).await?;
        sent += count as u64;
        if pace.limited() {
            client.stream.flush().await?;
            tokio::select! {
                () = pace.wait(sent) => {}
                () = client.left() => return Ok(Next::Cut),
            }
        }
    }
    client.stream.flush().await?;
    Ok(next)
}

fn head(answer: &Answer, next: Next) -> String {
    let reason = reason(answer.status);
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", answer.status);
    let date = httpdate::fmt_http_date(SystemTime::now());
    let length = answer.body.length().map(|length| length.to_string());
    let fixed = [("Date", Some(date)), ("Content-Length", length)];
    let fixed = fixed.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    let own = answer.headers.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in fixed.chain(own) {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    if next == Next::Close && !answer.headers.iter().any(|(name, _)| *name == "Connection") {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    head
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown")
}

#[derive(PartialEq, Eq)]
enum Stall {
    Over,
    Ended,
}

async fn stall<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    mut replaced: watch::Receiver<u64>,
    shared: &Shared,
) -> Stall {
    tokio::select! {
        _ = replaced.changed() => Stall::Over,
        () = client.left() => Stall::Ended,
        () = shared.stopping.cancelled() => Stall::Ended,
    }
}

/// Writes everything; each accepted byte is counted before anybody else can look at the record.
async fn write_counted<S: AsyncWrite + Unpin>(
    stream: &mut S,
    bytes: &[u8],
    record: Option<&OpenRequest>,
) -> io::Result<()> {
    let mut written = 0;
    poll_fn(|context| {
        while written < bytes.len() {
            let mut record = record.map(|record| record.lock());
            let count = ready!(Pin::new(&mut *stream).poll_write(context, &bytes[written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            written += count;
            if let Some(record) = &mut record {
                record.body_bytes += count as u64;
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// The bytes of a body in order, with those inverted that a fault names.
struct Source {
    body: Body,
    /// Offset in the object of the next byte.
    offset: u64,
    corrupt: [Option<u64>; 2],
}

impl Source {
    fn new(body: Body, fault: &Fault) -> Self {
        let piece = fault.corrupt_piece.and_then(|number| number.checked_mul(PIECE_BYTES));
        let corrupt = [fault.corrupt_byte, piece];
        let offset = if let Body::Object { span, .. } = &body { span.first } else { 0 };
        Self { body, offset, corrupt }
    }

    /// The next `count` bytes, in the buffer that is passed in.
    async fn next(&mut self, mut buffer: Vec<u8>, count: usize) -> io::Result<Vec<u8>> {
        buffer.resize(count, 0);
        match std::mem::replace(&mut self.body, Body::None) {
            Body::None => return Err(io::ErrorKind::UnexpectedEof.into()),
            Body::Memory(mut bytes) => {
                buffer.copy_from_slice(&bytes.split_to(count));
                self.body = Body::Memory(bytes);
            }
            Body::Object { reader, span } => {
                let (reader, filled) = read(reader, buffer).await?;
                buffer = filled;
                self.body = Body::Object { reader, span };
            }
        }
        for corrupt in self.corrupt.iter().flatten() {
            let index = corrupt.checked_sub(self.offset).and_then(|index| usize::try_from(index).ok());
            if let Some(byte) = index.and_then(|index| buffer.get_mut(index)) {
                *byte = !*byte;
            }
        }
        self.offset += count as u64;
        Ok(buffer)
    }
}

async fn read(mut reader: ObjectReader, mut buffer: Vec<u8>) -> io::Result<(ObjectReader, Vec<u8>)> {
    if reader.is_computed() {
        reader.fill(&mut buffer)?;
        return Ok((reader, buffer));
    }
    let work = tokio::task::spawn_blocking(move || reader.fill(&mut buffer).map(|()| (reader, buffer)));
    work.await.map_err(io::Error::other)?
}

/// Spreads the bytes of a trickle over time.
struct Pace {
    bytes_per_second: Option<u64>,
    started: Instant,
}

impl Pace {
    fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, started: Instant::now() }
    }

    fn limited(&self) -> bool {
        self.bytes_per_second.is_some()
    }

    /// Bytes to write now, at least one, at most `left`.
    fn step(&self, left: u64) -> usize {
        let most = self.bytes_per_second.map_or(CHUNK_BYTES as u64, |rate| {
            (rate / TRICKLE_STEPS_PER_SECOND).clamp(1, CHUNK_BYTES as u64)
        });
        usize::try_from(left.min(most)).unwrap_or(CHUNK_BYTES)
    }

    /// Until `sent` bytes are due, counted from the start, so that single delays do not add up.
    async fn wait(&self, sent: u64) {
        if let Some(rate) = self.bytes_per_second {
            let microseconds = u128::from(sent) * 1_000_000 / u128::from(rate);
            let due = Duration::from_micros(u64::try_from(microseconds).unwrap_or(u64::MAX));
            tokio::time::sleep_until(self.started + due).await;
        }
    }
}
