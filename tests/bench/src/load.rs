//! The load: clients of one thread that send a request, check its answer, and send the next.
//!
//! Bodies are dropped inside the kernel (`MSG_TRUNC`), so that the load can take more than a server on one core gives. Status
//! and length of every reply are checked; with [`Bodies::Compared`] also every byte.

mod connection;
mod reply;
mod request;
mod transport;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{Timespec, epoll};

use crate::content::Content;
use crate::interrupt;
use connection::Connection;
pub(crate) use request::{HOST, Request};
pub(crate) use transport::Target;

/// A server that says nothing for so long is an error.
const SILENCE: Duration = Duration::from_secs(20);
/// How often an interruption is looked for.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Connections that are opened before a server has to answer.
const BATCH: usize = 256;
/// What one `recv` takes at most.
const BUFFER: usize = 4 << 20;

/// An answer that is not what was asked for: it fails the run.
#[derive(Debug, thiserror::Error)]
#[error("a wrong answer to `{request}`: {what}")]
pub(crate) struct WrongAnswer {
    pub(crate) request: String,
    pub(crate) what: String,
}

/// Clients that do the same.
#[derive(Clone, Debug)]
pub(crate) struct Group<'a> {
    pub(crate) to: &'a Target,
    pub(crate) connections: usize,
    pub(crate) requests: &'a [Request],
    pub(crate) order: Order,
}

/// Which request is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Any, without end.
    Random,
    /// All connections together send each once.
    Once,
    /// Every connection sends the first one, and no other.
    Same,
}

/// What happens to bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bodies<'a> {
    Dropped,
    Compared(&'a Content),
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// After this time.
    Elapsed(Duration),
    /// When every group that has an end is there; an error after this time.
    Done(Duration),
}

/// What a group received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) replies: u64,
    pub(crate) body_bytes: u64,
    pub(crate) elapsed: Duration,
    /// From sending a request to the last byte of its reply, in no order.
    pub(crate) latencies: Vec<Duration>,
    /// From sending a request to the first byte of its body, in no order.
    pub(crate) first_bytes: Vec<Duration>,
}

impl Outcome {
    /// Body bytes per second.
    pub(crate) fn bytes_per_second(&self) -> f64 {
        self.body_bytes as f64 / self.elapsed.as_secs_f64()
    }

    /// Replies per second.
    pub(crate) fn replies_per_second(&self) -> f64 {
        self.replies as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the replies did not exceed.
    pub(crate) fn latency(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is from 0 to 1")]
        let place = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
        sorted.get(place).copied().unwrap_or_default()
    }
}

/// Connected clients.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    bodies: Bodies<'a>,
    epoll: rustix::fd::OwnedFd,
    groups: Vec<Running<'a>>,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    begun: bool,
}

/// A group on its way.
#[derive(Debug)]
struct Running<'a> {
    requests: &'a [Request],
    order: Order,
    connections: usize,
    next: usize,
    random: u64,
    /// Connections that still have something to do.
    busy: usize,
    outcome: Outcome,
}

impl<'a> Load<'a> {
    /// Connects the clients of all groups. Nothing is sent yet, except that many clients ask once as they come: a server
    /// accepts only so many that wait, and closes those that say nothing for long.
    pub(crate) fn connect(groups: &[Group<'a>], bodies: Bodies<'a>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let buffer = vec![0; BUFFER];
        let mut load =
            Self { bodies, epoll, groups: Vec::new(), connections: Vec::new(), buffer, begun: false };
        for group in groups {
            load.groups.push(Running::new(group, load.groups.len()));
            let mut left = group.connections;
            while left > 0 {
                let batch = left.min(BATCH);
                let first = load.connections.len();
                load.open(group.to, batch).context("unable to connect")?;
                if group.connections > BATCH {
                    load.greet(first)?;
                }
                left -= batch;
            }
        }
        Ok(load)
    }

    /// Opens connections of the newest group.
    fn open(&mut self, to: &Target, count: usize) -> Result<()> {
        interrupt::check()?;
        for _ in 0..count {
            let connection = Connection::open(to, self.groups.len() - 1)?;
            let key = epoll::EventData::new_u64(self.connections.len() as u64);
            epoll::add(&self.epoll, connection.socket(), key, epoll::EventFlags::IN)?;
            self.connections.push(connection);
        }
        Ok(())
    }

    /// One request on every connection from `first` on, whose replies don't count.
    fn greet(&mut self, first: usize) -> Result<()> {
        let begin = Instant::now();
        let mut waiting = self.connections.len() - first;
        for connection in &mut self.connections[first..] {
            let requests = self.groups[connection.group()].requests;
            connection.send(&requests[0], 0, begin)?;
        }
        let mut events = Vec::with_capacity(BATCH);
        while waiting > 0 {
            self.wait(&mut events)?;
            for event in events.drain(..) {
                let connection = &mut self.connections[usize::try_from(event.data.u64())?];
                let requests = self.groups[connection.group()].requests;
                if connection.receive(requests, self.bodies, &mut self.buffer)?.complete.is_some() {
                    waiting -= 1;
                }
            }
            if begin.elapsed() > SILENCE {
                bail!("{waiting} of many clients had no reply in {SILENCE:?}");
            }
        }
        Ok(())
    }

    /// Runs, or goes on where the last run ended; gives what each group received meanwhile.
    pub(crate) fn run(&mut self, until: Until) -> Result<Vec<Outcome>> {
        let start = Instant::now();
        let (mut last_byte, mut last_reply) = (start, start);
        self.begin(start)?;
        let mut events = Vec::with_capacity(1024);
        loop {
            self.wait(&mut events)?;
            if !events.is_empty() {
                last_byte = Instant::now();
            }
            for event in events.drain(..) {
                let number = usize::try_from(event.data.u64())?;
                if self.go_on(number)? {
                    last_reply = Instant::now();
                }
            }
            let now = Instant::now();
            match until {
                Until::Elapsed(limit) if now - start >= limit => return Ok(self.outcomes(now - start)),
                Until::Done(_) if self.is_done() => return Ok(self.outcomes(last_reply - start)),
                Until::Done(limit) if now - start >= limit => bail!("it was not done in {limit:?}"),
                _ if now - last_byte > SILENCE => bail!("nothing came in {SILENCE:?}"),
                _ => {}
            }
        }
    }

    /// Waits for events, unless somebody wants us to end.
    fn wait(&self, events: &mut Vec<epoll::Event>) -> Result<()> {
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&LOOK_EVERY)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => interrupt::check(),
            Err(error) => Err(error.into()),
        }
    }

    fn begin(&mut self, now: Instant) -> Result<()> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        for connection in &mut self.connections {
            let group = &mut self.groups[connection.group()];
            if let Some(request) = group.take() {
                connection.send(&group.requests[request], request, now)?;
                group.busy += 1;
            }
        }
        Ok(())
    }

    /// Reads what came; whether a reply became complete.
    fn go_on(&mut self, number: usize) -> Result<bool> {
        let connection = &mut self.connections[number];
        let group = &mut self.groups[connection.group()];
        let received = connection.receive(group.requests, self.bodies, &mut self.buffer)?;
        group.outcome.body_bytes += received.body_bytes;
        group.outcome.first_bytes.extend(received.first_byte);
        let Some(sent_at) = received.complete else { return Ok(false) };
        let now = Instant::now();
        group.outcome.replies += 1;
        group.outcome.latencies.push(now - sent_at);
        match group.take() {
            Some(request) => connection.send(&group.requests[request], request, now)?,
            None => group.busy -= 1,
        }
        Ok(true)
    }

    fn is_done(&self) -> bool {
        self.groups.iter().all(|group| group.order == Order::Random || group.busy == 0)
    }

    fn outcomes(&mut self, elapsed: Duration) -> Vec<Outcome> {
        let take = |group: &mut Running<'_>| Outcome { elapsed, ..std::mem::take(&mut group.outcome) };
        self.groups.iter_mut().map(take).collect()
    }
}

impl<'a> Running<'a> {
    fn new(group: &Group<'a>, number: usize) -> Self {
        Self {
            requests: group.requests,
            order: group.order,
            connections: group.connections,
            next: 0,
            random: 0x5eed + number as u64,
            busy: 0,
            outcome: Outcome::default(),
        }
    }

    /// The number of the request that is next.
    fn take(&mut self) -> Option<usize> {
        match self.order {
            Order::Random => {
                // xorshift64
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                usize::try_from(self.random % self.requests.len() as u64).ok()
            }
            Order::Once => {
                self.next += 1;
                Some(self.next - 1).filter(|next| *next < self.requests.len())
            }
            // The first question of each connection comes before any second one.
            Order::Same => {
                self.next += 1;
                (self.next <= self.connections).then_some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests;
