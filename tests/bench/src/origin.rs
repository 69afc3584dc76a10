//! The origin: an HTTP/1.1 server in a thread of ours whose bodies cost it one copy, so that it is not what is measured.
//!
//! Paths are `/o/<length>/<name>`; the bytes follow from the path ([`Content`]). Every reply has a strong ETag,
//! Last-Modified, Cache-Control and one range if asked for. Requests and body bytes are counted.

mod connection;
mod pace;
mod request;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{Timespec, epoll};

use crate::content::Content;
use crate::interrupt;
use crate::machine;
use connection::{Connection, Next};
use pace::Link;
pub(crate) use pace::Pace;

/// Where it listens in a run, outside of the range that clients take their ports from.
pub(crate) const PORT: u16 = 8080;
/// How often it looks whether it is to end.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// How often connections that wait for their time are looked at.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000 };
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// The number of the listening socket among the events.
const LISTENER: u64 = u64::MAX;

/// A running origin.
#[derive(Debug)]
pub(crate) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and its owner share.
#[derive(Debug, Default)]
struct Shared {
    requests: AtomicU64,
    body_bytes: AtomicU64,
    /// Replies on their way.
    sending: AtomicU64,
    pace: Mutex<Pace>,
    end: AtomicBool,
}

/// What was asked of the origin so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) requests: u64,
    pub(crate) body_bytes: u64,
}

impl Origin {
    pub(crate) fn start(content: Arc<Content>, port: u16, core: usize) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("unable to start the origin")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let mut service = Service::new(listener, content, Arc::clone(&shared))?;
        let thread = std::thread::Builder::new().name("origin".to_owned()).spawn(move || {
            if let Err(error) = machine::pin(core).and_then(|()| service.run()) {
                eprintln!("the origin ended: {error:#}");
            }
        })?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How far away the origin is for requests from now on.
    pub(crate) fn set_pace(&self, pace: Pace) {
        *self.shared.pace.lock().unwrap_or_else(PoisonError::into_inner) = pace;
    }

    /// Waits until nobody is being sent anything: some servers fetch on when their clients have what they asked for.
    pub(crate) fn wait_until_idle(&self) -> Result<()> {
        while self.shared.sending.load(Ordering::Relaxed) > 0 {
            interrupt::pause(Duration::from_millis(5))?;
        }
        Ok(())
    }

    pub(crate) fn asked(&self) -> Asked {
        Asked {
            requests: self.shared.requests.load(Ordering::Relaxed),
            body_bytes: self.shared.body_bytes.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that it did not print.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Service {
    listener: TcpListener,
    epoll: rustix::fd::OwnedFd,
    content: Arc<Content>,
    shared: Arc<Shared>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    link: Link,
}

impl Service {
    fn new(listener: TcpListener, content: Arc<Content>, shared: Arc<Shared>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        let (connections, free, link) = (Vec::new(), Vec::new(), Link::default());
        Ok(Self { listener, epoll, content, shared, connections, free, link })
    }

    fn run(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(256);
        // Connections that go on without an event: at once, or at a tick.
        let (mut ready, mut waiting) = (Vec::new(), Vec::new());
        while !self.shared.end.load(Ordering::Relaxed) {
            let timeout = match (ready.is_empty(), waiting.is_empty()) {
                (false, _) => AT_ONCE,
                (true, false) => TICK,
                (true, true) => LOOK_EVERY,
            };
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let mut turn: Vec<usize> = ready.drain(..).chain(waiting.drain(..)).collect();
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    number => turn.push(usize::try_from(number)?),
                }
            }
            turn.sort_unstable();
            turn.dedup();
            for number in turn {
                match self.go_on(number) {
                    Next::Event => {}
                    Next::AtOnce => ready.push(number),
                    Next::Tick => waiting.push(number),
                    Next::Close => self.close(number),
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let number = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(number as u64), flags)?;
            self.connections[number] = Some(Connection::new(stream));
        }
    }

    fn go_on(&mut self, number: usize) -> Next {
        // An event may tell of a connection that was closed in this very turn.
        let Some(connection) = self.connections.get_mut(number).and_then(Option::as_mut) else {
            return Next::Event;
        };
        connection.go_on(&self.content, &self.shared, &mut self.link)
    }

    fn close(&mut self, number: usize) {
        // Closing the socket takes it out of epoll.
        if self.connections[number].take().is_some_and(|connection| connection.is_sending()) {
            self.shared.sending.fetch_sub(1, Ordering::Relaxed);
        }
        self.free.push(number);
    }
}

impl Shared {
    fn pace(&self) -> Pace {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
