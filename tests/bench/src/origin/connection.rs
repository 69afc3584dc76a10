//! One connection of the origin: a head comes in, a reply goes out at its pace.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Shared;
use super::pace::{Link, Pace, Rate};
use super::request::{self, Reply};
use crate::content::Content;

/// Longest request head.
const MAX_HEAD: usize = 64 * 1024;
/// Bytes that one connection sends before others have their turn.
const TURN: u64 = 2 << 20;
/// Bytes that one connection takes of a shared link before others have their turn.
const LINK_TURN: u64 = 64 << 10;

/// When a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// When its socket has an event.
    Event,
    /// As soon as others had their turn.
    AtOnce,
    /// When time has passed.
    Tick,
    /// Never.
    Close,
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    sending: Option<Sending>,
}

/// A reply on its way.
#[derive(Debug)]
struct Sending {
    reply: Reply,
    head_sent: usize,
    /// When its first byte may go.
    begin: Instant,
    pace: Pace,
    sent: u64,
}

impl Connection {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self { stream, input: Vec::new(), sending: None }
    }

    /// Whether a reply is on its way.
    pub(super) const fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Does what can be done now.
    pub(super) fn go_on(&mut self, content: &Content, shared: &Shared, link: &mut Link) -> Next {
        loop {
            if let Some(sending) = &mut self.sending {
                match sending.go_on(&mut self.stream, content, shared, link) {
                    Ok(None) => {
                        self.sending = None;
                        shared.sending.fetch_sub(1, Ordering::Relaxed);
                    }
                    Ok(Some(next)) => return next,
                    Err(_) => return Next::Close,
                }
            }
            if let Some(end) = find_end(&self.input) {
                let head: Vec<u8> = self.input.drain(..end).collect();
                let pace = shared.pace();
                let begin = Instant::now() + pace.delay;
                shared.requests.fetch_add(1, Ordering::Relaxed);
                shared.sending.fetch_add(1, Ordering::Relaxed);
                self.sending =
                    Some(Sending { reply: request::answer(&head), head_sent: 0, begin, pace, sent: 0 });
                continue;
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(count) if count > 0 && self.input.len() < MAX_HEAD => {
                    self.input.extend_from_slice(&buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Event,
                Ok(_) | Err(_) => return Next::Close,
            }
        }
    }
}

impl Sending {
    /// `None` once everything is sent.
    fn go_on(
        &mut self,
        stream: &mut TcpStream,
        content: &Content,
        shared: &Shared,
        link: &mut Link,
    ) -> std::io::Result<Option<Next>> {
        let now = Instant::now();
        if now < self.begin {
            return Ok(Some(Next::Tick));
        }
        while let Some(rest) = self.reply.head.get(self.head_sent..).filter(|rest| !rest.is_empty()) {
            match stream.write(rest) {
                Ok(count) => self.head_sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Some(Next::Event)),
                Err(error) => return Err(error),
            }
        }
        let mut turn = TURN;
        loop {
            let left = self.reply.end - self.reply.offset;
            if left == 0 {
                return Ok(None);
            }
            if turn == 0 {
                return Ok(Some(Next::AtOnce));
            }
            let mut allowed = left.min(turn);
            if let Some(total) = self.pace.allows(now - self.begin) {
                allowed = allowed.min(total.saturating_sub(self.sent));
            }
            if let Rate::Link(rate) = self.pace.rate {
                turn = turn.min(LINK_TURN);
                allowed = allowed.min(link.allows(rate, now)).min(turn);
            }
            if allowed == 0 {
                return Ok(Some(Next::Tick));
            }
            match stream.write(content.run(self.reply.shift, self.reply.offset, allowed)) {
                Ok(count) => {
                    let count = count as u64;
                    self.reply.offset += count;
                    self.sent += count;
                    turn -= count;
                    link.take(count);
                    shared.body_bytes.fetch_add(count, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Some(Next::Event)),
                Err(error) => return Err(error),
            }
        }
    }
}

/// One past the empty line that ends a head.
fn find_end(input: &[u8]) -> Option<usize> {
    input.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4)
}
