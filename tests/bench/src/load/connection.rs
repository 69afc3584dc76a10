//! One client: a request is out, its reply comes in.

use std::io::{Error, ErrorKind};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::reply::{self, Head};
use super::transport::{Target, Transport};
use super::{Bodies, Request, WrongAnswer};

/// One read while a head is awaited: a small reply as a whole.
const FIRST_READ: usize = 32 * 1024;

#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    group: usize,
    request: usize,
    sent_at: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is expected.
    Idle,
    /// The head is not complete; what came of it so far.
    Head(Vec<u8>),
    /// So many bytes of the body are still to come.
    Body(u64),
}

/// What one look at the socket gave.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) body_bytes: u64,
    /// The first byte of the body is among them; how long after the request it came.
    pub(super) first_byte: Option<Duration>,
    /// The reply is complete; when its request was sent.
    pub(super) complete: Option<Instant>,
}

impl Connection {
    pub(super) fn open(to: &Target, group: usize) -> Result<Self> {
        let transport = Transport::open(to)?;
        Ok(Self { transport, group, request: 0, sent_at: Instant::now(), state: State::Idle })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        self.transport.socket()
    }

    pub(super) const fn group(&self) -> usize {
        self.group
    }

    pub(super) fn send(&mut self, request: &Request, number: usize, now: Instant) -> Result<()> {
        self.transport.send(&request.bytes)?;
        (self.request, self.sent_at, self.state) = (number, now, State::Head(Vec::new()));
        Ok(())
    }

    /// Reads until nothing is there, or the reply is complete.
    pub(super) fn receive(
        &mut self,
        requests: &[Request],
        bodies: Bodies<'_>,
        buffer: &mut [u8],
    ) -> Result<Received> {
        let request = &requests[self.request];
        let wrong = |what: String| anyhow!(WrongAnswer { request: request.line(), what });
        let mut received = Received::default();
        loop {
            let asked = match &self.state {
                State::Idle | State::Head(_) => FIRST_READ,
                State::Body(left) => {
                    usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()))
                }
            };
            let place = &mut buffer[..asked];
            let read = match (&self.state, bodies) {
                (State::Body(_), Bodies::Dropped) => self.transport.discard(place),
                _ => self.transport.receive(place),
            };
            let count = match read {
                Ok(0) => Err(Error::from(ErrorKind::UnexpectedEof)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(received),
                read => read,
            };
            let count = count.map_err(|error| wrong(format!("the connection ended: {error}")))?;
            let body = match &mut self.state {
                State::Idle => return Err(wrong("bytes came that nobody asked for".to_owned())),
                State::Body(_) => &place[..count],
                State::Head(before) => {
                    let whole = if before.is_empty() {
                        &place[..count]
                    } else {
                        before.extend_from_slice(&place[..count]);
                        &before[..]
                    };
                    let Some(head) = reply::parse(whole).map_err(|what| wrong(what.to_owned()))? else {
                        if before.is_empty() {
                            before.extend_from_slice(&place[..count]);
                        }
                        continue;
                    };
                    check(head, request).map_err(wrong)?;
                    let in_body = whole.len() - head.end;
                    self.state = State::Body(request.length);
                    &place[count - in_body..count]
                }
            };
            let State::Body(left) = &mut self.state else { continue };
            let offset = request.offset + request.length - *left;
            *left = left
                .checked_sub(body.len() as u64)
                .ok_or_else(|| wrong("more bytes came than its Content-Length says".to_owned()))?;
            if let Bodies::Compared(content) = bodies
                && let Some(place) = content.first_difference(request.shift, offset, body)
            {
                return Err(wrong(format!("byte {place} of the content is wrong")));
            }
            if !body.is_empty() && offset == request.offset {
                received.first_byte = Some(self.sent_at.elapsed());
            }
            received.body_bytes += body.len() as u64;
            if *left == 0 {
                self.state = State::Idle;
                received.complete = Some(self.sent_at);
                return Ok(received);
            }
            // A read that was not filled has emptied the socket; epoll tells when there is more.
            if count < asked && self.transport.is_plain() {
                return Ok(received);
            }
        }
    }
}

fn check(head: Head, request: &Request) -> Result<(), String> {
    if head.status != request.status {
        return Err(format!("its status is {} instead of {}", head.status, request.status));
    }
    match head.content_length {
        Some(length) if length == request.length => Ok(()),
        Some(length) => Err(format!("its Content-Length is {length} instead of {}", request.length)),
        None => Err("it has no Content-Length".to_owned()),
    }
}
