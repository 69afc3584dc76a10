//! One connection after its handshake: a task that owns the socket, the state machine and everybody who waits for data.
//!
//! The task reads and writes in turn and never waits for one of them alone: two peers that send each other pieces would
//! otherwise wait for each other for ever. What piles up is bounded: two pieces to be sent, one message to be read, and what
//! the state machine keeps.

mod downloads;
mod inlet;
mod outlet;
mod uploads;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use connected_cache_core::swarm::{CloseReason, Connection as Machine, Event, SwarmLayout};
use connected_cache_sendfile::ZeroCopyStream;
use connected_cache_wire::swarm::{Handshake, Message, PieceRange};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Audience, Inner, SwarmError,
    registry::{Flag, Place},
};
use crate::metrics::PeerDirection;
use downloads::Downloads;
pub(super) use downloads::Reply;
use inlet::{Came, Inlet, InletError};
use outlet::Outlet;
use uploads::{Source, Uploads};

/// Messages that are encoded at once; more follow when these are written.
const MESSAGES_AT_ONCE: usize = 64;

/// What a connection is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Somebody wants data.
    Fetch(Wish),
    /// Somebody wants it no longer.
    Forget { number: u64, range: PieceRange },
    /// We have a piece now.
    Have(u32),
    /// They got an upload slot, or it was taken.
    SlotChanged,
}

/// What somebody wants.
#[derive(Debug)]
pub(super) struct Wish {
    /// Tells callers apart.
    pub(super) number: u64,
    pub(super) range: PieceRange,
    pub(super) reply: Reply,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// They closed, or the network did.
    Lost,
    /// They broke a rule.
    Violation(&'static str),
    /// Nothing came for too long, or nothing could be sent.
    Idle,
    /// Nobody needs it.
    Unneeded,
    /// A request made no progress.
    Stalled,
}

impl Ending {
    /// What those are told who still wait.
    const fn error(self) -> SwarmError {
        match self {
            Self::Violation(label) => SwarmError::Violation(label),
            Self::Stalled => SwarmError::Stalled,
            Self::Lost | Self::Idle | Self::Unneeded => SwarmError::Lost,
        }
    }
}

/// The task's state.
pub(super) struct Connection {
    inner: Arc<Inner>,
    place: Place,
    handshake: Handshake,
    stream: ZeroCopyStream,
    machine: Machine,
    inlet: Inlet,
    outlet: Outlet,
    downloads: Downloads,
    /// Wanted of somebody who has not told what he has.
    undecided: Vec<Wish>,
    /// Cancelled once it is known what may be asked for; `None` = they connected to us.
    opened: Option<CancellationToken>,
    uploads: Uploads,
    commands: mpsc::UnboundedReceiver<Command>,
    timer: Pin<Box<Sleep>>,
    /// When something was written, or there was nothing to write.
    last_written: Instant,
}

/// What a connection is made of.
pub(super) struct Parts {
    pub(super) inner: Arc<Inner>,
    pub(super) place: Place,
    pub(super) stream: TcpStream,
    /// What the other side said.
    pub(super) handshake: Handshake,
    pub(super) layout: SwarmLayout,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    /// See [`Connection`].
    pub(super) opened: Option<CancellationToken>,
}

impl Connection {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { inner, place, stream, handshake, layout, commands, opened } = parts;
        let now = Instant::now();
        let is_member = place.entry.member.is_some();
        let uploads = Uploads::new(Source {
            shelf: inner.shelf.clone(),
            swarm: handshake.swarm,
            audience: if is_member { Audience::Member } else { Audience::Foreign },
            layout,
        });
        let mut machine = Machine::new(layout, &uploads.have(), inner.limits.machine, now);
        // Members are never choked.
        machine.allow(is_member);
        // Of others we want whatever they have, so that they keep a slot for us.
        machine.seek(!is_member && opened.is_some());
        if let Some(opened) = opened.as_ref().filter(|_| is_member) {
            opened.cancel();
        }
        Self {
            stream: ZeroCopyStream::new(stream),
            machine,
            inlet: Inlet::new(layout.piece_count()),
            outlet: Outlet::default(),
            downloads: Downloads::default(),
            undecided: Vec::new(),
            opened,
            uploads,
            commands,
            timer: Box::pin(sleep_until(now.into())),
            last_written: now,
            inner,
            place,
            handshake,
        }
    }

    /// Runs to its end, and answers everybody who waits.
    pub(super) async fn run(mut self) {
        let closing = self.place.entry.closing.clone();
        let ending = closing.run_until_cancelled(poll_fn(|context| self.poll(context))).await;
        let ending = ending.unwrap_or(Ending::Unneeded);
        if let Ending::Violation(label) = ending {
            let remote = self.place.entry.remote;
            self.inner.violated(Some(self.handshake.peer), remote, Some(self.handshake.swarm), label);
        }
        tracing::debug!(
            swarm = %self.handshake.swarm.short(), peer = ?self.handshake.peer, ?ending, "a connection to a peer ended"
        );
        self.inner.slots.leave(self.place.entry.number);
        self.downloads.fail_all(ending.error());
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Fetch(wish) = command {
                self.undecided.push(wish);
            }
        }
        for wish in self.undecided {
            let _ = wish.reply.send(Err(ending.error()));
        }
    }

    /// Does whatever can be done now.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        loop {
            match self.poll_once(context) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(ending) => return Poll::Ready(ending),
            }
        }
    }

    /// Every source once. True if one of them gave something.
    fn poll_once(&mut self, context: &mut Context<'_>) -> Result<bool, Ending> {
        let mut moved = self.poll_command(context);
        moved |= self.poll_read(context)?;
        self.take_events()?;
        moved |= self.uploads.poll(context, &mut self.machine, &mut self.outlet).is_ready();
        moved |= self.poll_write(context)?;
        if !moved {
            self.tell_others();
            moved = self.poll_timer(context)?;
        }
        Ok(moved)
    }

    fn poll_command(&mut self, context: &mut Context<'_>) -> bool {
        let Poll::Ready(Some(command)) = self.commands.poll_recv(context) else { return false };
        match command {
            Command::Fetch(wish) if self.knows_their_pieces() => self.fetch(wish),
            Command::Fetch(wish) => self.undecided.push(wish),
            Command::Forget { number, range } => {
                self.undecided.retain(|wish| wish.number != number);
                if self.downloads.forget(number, range) {
                    self.machine.cancel(range);
                }
            }
            Command::Have(piece) => self.machine.announce(piece),
            Command::SlotChanged => self.machine.allow(self.place.entry.has_slot()),
        }
        true
    }

    fn knows_their_pieces(&self) -> bool {
        self.opened.as_ref().is_none_or(CancellationToken::is_cancelled)
    }

    fn fetch(&mut self, Wish { number, range, reply }: Wish) {
        // Its caller may have left while it waited here.
        if reply.is_closed() {
            return;
        }
        if self.place.entry.member.is_none() && !self.machine.they_have(range.piece) {
            let _ = reply.send(Err(SwarmError::NotThere));
        } else if self.downloads.wants(range) || self.machine.request(range, Instant::now()) {
            self.downloads.add(number, range, reply);
        } else {
            let _ = reply.send(Err(SwarmError::TooManyRequests));
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Result<bool, Ending> {
        let machine = &self.machine;
        let polled = self.inlet.poll(&mut self.stream, context, |range| machine.expectation(range));
        let came = match polled {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(came)) => came,
            Poll::Ready(Err(InletError::Io(_))) => return Err(Ending::Lost),
            Poll::Ready(Err(InletError::Frame(error))) => return Err(self.broke(error.label(), &error)),
        };
        let now = Instant::now();
        self.place.entry.received();
        match came {
            Came::Message(message) => self.receive(&message, now)?,
            Came::Progress(bytes) => {
                self.machine.progressed(now);
                self.place.entry.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                self.inner.counters.swarm.add_bytes(PeerDirection::In, self.place.entry.zone(), bytes as u64);
            }
            Came::Piece(range, data) => {
                let answers_request = self.machine.expects(range);
                self.receive(&Message::Piece(range), now)?;
                self.take_piece(range, data, answers_request);
            }
            Came::End => return Err(Ending::Lost),
        }
        Ok(true)
    }

    fn receive(&mut self, message: &Message, now: Instant) -> Result<(), Ending> {
        let received = self.machine.receive(message, now);
        received.map_err(|violation| self.broke(violation.label(), &violation))?;
        // What they have comes first; who has nothing may begin with something else.
        if !matches!(message, Message::KeepAlive | Message::Filler(_) | Message::Unknown { .. })
            && !self.knows_their_pieces()
        {
            if let Some(opened) = &self.opened {
                opened.cancel();
            }
            for wish in std::mem::take(&mut self.undecided) {
                self.fetch(wish);
            }
        }
        Ok(())
    }

    fn broke(&self, label: &'static str, error: &dyn std::error::Error) -> Ending {
        tracing::info!(peer = ?self.handshake.peer, %error, "a peer broke a rule of the swarm protocol");
        Ending::Violation(label)
    }

    /// Who still waits for it gets it. Data that was thrown away because nobody wanted it when it began may be wanted now: it is
    /// asked for again where it counts as the answer to a request.
    fn take_piece(&mut self, range: PieceRange, data: Option<Bytes>, answers_request: bool) {
        if let Some(data) = data {
            self.downloads.answer(range, &Ok(data));
            // It may be asked for a second time meanwhile.
            self.machine.cancel(range);
        } else if answers_request
            && self.downloads.wants(range)
            && !self.machine.request(range, Instant::now())
        {
            self.downloads.answer(range, &Err(SwarmError::TooManyRequests));
        }
    }

    fn take_events(&mut self) -> Result<(), Ending> {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Choked { lost } => self.choked(&lost),
                Event::Stalled(range) => self.stalled(range)?,
                Event::Interested if self.needs_slot() => {
                    self.inner.slots.interested(self.place.entry.number);
                }
                Event::NotInterested if self.needs_slot() => self.inner.slots.leave(self.place.entry.number),
                Event::Bitfield
                | Event::Have(_)
                | Event::Unchoked
                | Event::Piece(_)
                | Event::Interested
                | Event::NotInterested => {}
            }
        }
        Ok(())
    }

    /// A member chokes only to say that a piece is gone. It answers in order, so that is the oldest; the others are asked for
    /// again. Anybody else has given the slot to another.
    fn choked(&mut self, lost: &[PieceRange]) {
        let is_member = self.place.entry.member.is_some();
        for (range, is_oldest) in lost.iter().zip(std::iter::once(true).chain(std::iter::repeat(false))) {
            if is_oldest || !is_member || !self.machine.request(*range, Instant::now()) {
                self.downloads.answer(*range, &Err(SwarmError::Choked));
            }
        }
    }

    fn needs_slot(&self) -> bool {
        self.place.entry.member.is_none()
    }

    /// Its callers ask elsewhere. A peer that chokes us or is slow with one request is kept; one that says nothing at all may be
    /// gone for good, which TCP would tell only after minutes.
    fn stalled(&mut self, range: PieceRange) -> Result<(), Ending> {
        let is_choked = self.machine.is_choked();
        self.machine.cancel(range);
        let error = if is_choked { SwarmError::Choked } else { SwarmError::Stalled };
        self.downloads.answer(range, &Err(error));
        let silence = self.place.entry.last_received().elapsed();
        let is_gone = !is_choked && silence >= self.inner.limits.machine.stall;
        if is_gone { Err(Ending::Stalled) } else { Ok(()) }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Result<bool, Ending> {
        if self.outlet.is_empty() {
            let mut encoded = Vec::new();
            let messages = std::iter::from_fn(|| self.machine.poll_message());
            messages.take(MESSAGES_AT_ONCE).for_each(|message| message.encode(&mut encoded));
            self.outlet.push_messages(encoded);
        }
        if !self.outlet.is_pending() {
            self.last_written = Instant::now();
            return Ok(false);
        }
        let Poll::Ready(wrote) = self.outlet.poll(&mut self.stream, context) else { return Ok(false) };
        let wrote = wrote.map_err(|_| Ending::Lost)?;
        let now = Instant::now();
        self.last_written = now;
        if wrote.data_bytes > 0 {
            self.place.entry.sent_bytes.fetch_add(wrote.data_bytes, Ordering::Relaxed);
            self.inner.counters.swarm.add_bytes(
                PeerDirection::Out,
                self.place.entry.zone(),
                wrote.data_bytes,
            );
        }
        for range in wrote.done {
            self.machine.uploaded(range, now);
        }
        Ok(true)
    }

    /// Nothing more can be done now: what the registry and the admin endpoint may know.
    fn tell_others(&self) {
        let (machine, entry) = (&self.machine, &self.place.entry);
        entry.set_busy(!self.downloads.is_empty() || machine.their_requests() > 0 || !self.outlet.is_empty());
        entry.set_flags([
            (Flag::Choking, machine.is_choking()),
            (Flag::Interested, machine.is_interested()),
            (Flag::Choked, machine.is_choked()),
            (Flag::TheyAreInterested, machine.they_are_interested()),
        ]);
    }

    /// True if something was due.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Result<bool, Ending> {
        let limits = &self.inner.limits;
        // Nobody reads what we write.
        let stuck = (!self.outlet.is_empty()).then(|| self.last_written + limits.machine.idle);
        // Ours, and nobody fetches by it.
        let is_unused = self.place.entry.direction == PeerDirection::Out
            && self.downloads.is_empty()
            && self.undecided.is_empty()
            && self.machine.their_requests() == 0;
        let unused = is_unused.then(|| self.place.entry.last_used() + limits.unused);
        // Somebody else's turn is over.
        let slot = self.machine.wants_slot().then(|| self.inner.slots.due()).flatten();
        let deadlines = [self.machine.poll_timeout(), stuck, unused, slot];
        let Some(deadline) = deadlines.into_iter().flatten().min() else { return Ok(false) };
        if self.timer.deadline().into_std() != deadline {
            self.timer.as_mut().reset(deadline.into());
        }
        if self.timer.as_mut().poll(context).is_pending() {
            return Ok(false);
        }
        let now = Instant::now();
        if stuck.is_some_and(|stuck| stuck <= now) {
            return Err(Ending::Idle);
        }
        if unused.is_some_and(|unused| unused <= now) {
            return Err(Ending::Unneeded);
        }
        if slot.is_some_and(|slot| slot <= now) {
            self.inner.slots.rebalance();
        }
        self.machine.handle_timeout(now).map_err(|reason| match reason {
            CloseReason::Idle => Ending::Idle,
            CloseReason::BothComplete => Ending::Unneeded,
        })?;
        Ok(true)
    }
}
