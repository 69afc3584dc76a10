//! One connection after its handshake, for one content (dossier delivery-optimization 5.5, 5.6). It sees no bytes, no socket and no
//! clock. After each call that changes something the caller takes [`Connection::poll_message`] and [`Connection::poll_event`] until
//! they are empty and sets its timer anew by [`Connection::poll_timeout`].
//!
//! Invariants: what is to be sent follows from the state, so nothing piles up if it is sent late; at most `requests_in_flight` of
//! our requests are unanswered; at most `max_queued_requests` of each side are kept; requests go out only while they unchoke us, and
//! theirs are kept only while we unchoke them.

mod inspect;
mod requests;
mod timers;
mod uploads;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use requests::{Arrival, Requests};
use timers::Timers;
use uploads::Uploads;

use connected_cache_wire::swarm::{Message, PieceRange};

use super::{Bitfield, SwarmLayout, Violation};

/// So many messages of unknown types in a row close (dossier 5.3).
const MAX_UNKNOWN_MESSAGES: u32 = 3;

/// Bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Our requests that were sent and not answered.
    pub requests_in_flight: usize,
    /// Requests of theirs that wait; one more is a violation. Also how many of ours wait here.
    pub max_queued_requests: usize,
    /// A keep-alive goes out after so much silence of ours.
    pub keep_alive: Duration,
    /// The connection ends after so much silence of theirs.
    pub idle: Duration,
    /// A request without progress for so long is reported as [`Event::Stalled`].
    pub stall: Duration,
}

/// Why a connection ends without a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// They sent nothing for too long.
    Idle,
    /// Both have all pieces.
    BothComplete,
}

impl CloseReason {
    /// For metrics and the admin endpoint.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::BothComplete => "both_complete",
        }
    }
}

/// What the caller should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// They have told which pieces they have.
    Bitfield,
    /// They have one more piece.
    Have(u32),
    /// They answer requests now.
    Unchoked,
    /// They answer none any more. What was sent and not answered is lost, oldest first, and may be requested again.
    Choked {
        /// Our requests that will get no answer.
        lost: Vec<PieceRange>,
    },
    /// All data of a request that we still want.
    Piece(PieceRange),
    /// No progress for a while, or later requests were answered before. It stays requested; told once.
    Stalled(PieceRange),
    /// They want something of us ([`Connection::wants_slot`]).
    Interested,
    /// They want nothing any more; their upload slot is free for others.
    NotInterested,
}

/// What the data of a piece frame is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Requested exactly so, and wanted.
    Wanted,
    /// Requested and cancelled (by us or by their choke): read it and throw it away.
    Forgotten,
    /// Never requested; [`Connection::receive`] says so as well.
    Unrequested,
}

/// The state of one connection.
#[derive(Clone, Debug)]
pub struct Connection {
    layout: SwarmLayout,
    ours: Bitfield,
    /// Our own bitfield has gone, or needs not to go.
    greeted: bool,
    seeking: bool,
    told_interested: bool,
    to_announce: VecDeque<u32>,
    peer: Peer,
    requests: Requests,
    uploads: Uploads,
    timers: Timers,
    events: VecDeque<Event>,
}

/// What they told.
#[derive(Clone, Debug)]
struct Peer {
    pieces: Bitfield,
    /// They may still send a bitfield.
    is_new: bool,
    is_choking: bool,
    is_interested: bool,
    /// In a row.
    unknown_messages: u32,
}

impl Connection {
    /// A connection whose handshake is done. Both sides choke and are not interested.
    #[must_use]
    pub fn new(layout: SwarmLayout, ours: &Bitfield, limits: ConnectionLimits, now: Instant) -> Self {
        Self {
            layout,
            ours: ours.clone(),
            greeted: false,
            seeking: false,
            told_interested: false,
            to_announce: VecDeque::new(),
            peer: Peer {
                pieces: Bitfield::new(layout.piece_count()),
                is_new: true,
                is_choking: true,
                is_interested: false,
                unknown_messages: 0,
            },
            requests: Requests::new(limits.requests_in_flight, limits.max_queued_requests),
            uploads: Uploads::new(limits.max_queued_requests),
            timers: Timers::new(limits.keep_alive, limits.idle, limits.stall, now),
            events: VecDeque::new(),
        }
    }

    /// Takes a message. On an error the connection is to be closed.
    pub fn receive(&mut self, message: &Message, now: Instant) -> Result<(), Violation> {
        self.timers.received(now);
        self.count_unknown(message)?;
        // Frames without a meaning don't end the time for the bitfield: peers are known to send filler.
        let is_first = self.peer.is_new;
        self.peer.is_new &=
            matches!(message, Message::KeepAlive | Message::Filler(_) | Message::Unknown { .. });
        match message {
            Message::KeepAlive | Message::Filler(_) | Message::Unknown { .. } => Ok(()),
            Message::Choke => {
                self.choked();
                Ok(())
            }
            Message::Unchoke => {
                if std::mem::replace(&mut self.peer.is_choking, false) {
                    self.events.push_back(Event::Unchoked);
                }
                Ok(())
            }
            Message::Interested => {
                self.peer_interest(true);
                Ok(())
            }
            Message::NotInterested => {
                self.peer_interest(false);
                Ok(())
            }
            Message::Have(piece) => self.have(*piece),
            Message::Bitfield(_) if !is_first => Err(Violation::BitfieldLate),
            Message::Bitfield(bytes) => {
                self.peer.pieces = Bitfield::from_wire(bytes, self.layout.piece_count())?;
                self.events.push_back(Event::Bitfield);
                Ok(())
            }
            Message::Request(range) if !self.layout.contains(*range) => {
                Err(Violation::RequestOutOfRange(*range))
            }
            Message::Request(range) => self.uploads.requested(*range),
            Message::Cancel(range) => {
                self.uploads.cancel(*range);
                Ok(())
            }
            Message::Piece(range) => self.piece(*range),
        }
    }

    /// What the data of a piece frame with exactly these fields is worth. To be asked before it is read or room is made for it.
    #[must_use]
    pub fn expectation(&self, range: PieceRange) -> Expectation {
        self.requests.expectation(range)
    }

    /// A piece frame with exactly these fields is requested and wanted.
    #[must_use]
    pub fn expects(&self, range: PieceRange) -> bool {
        self.expectation(range) == Expectation::Wanted
    }

    /// Some data of a piece came; [`Self::receive`] is called when it is whole. Without it a slow piece counts as stalled.
    pub fn progressed(&mut self, now: Instant) {
        self.timers.progressed(now);
    }

    /// We have a checked piece now. They are told once.
    pub fn announce(&mut self, piece: u32) {
        if self.ours.set(piece) && self.greeted {
            self.to_announce.push_back(piece);
        }
    }

    /// Asks for data; it is sent when they unchoke us and fewer than the limit are unanswered. They need not have announced the
    /// piece. False: outside of the content, asked for already, or too many wait.
    pub fn request(&mut self, range: PieceRange, now: Instant) -> bool {
        self.timers.advance(now);
        self.layout.contains(range) && self.requests.add(range, self.timers.now())
    }

    /// Takes a request back. Its data may still come, which is then no violation.
    pub fn cancel(&mut self, range: PieceRange) {
        self.requests.cancel(range);
    }

    /// A download of the content as a whole uses this connection: interest follows their pieces, so that an upload slot is kept
    /// between requests. Otherwise we are interested as long as requests wait or are unanswered.
    pub fn seek(&mut self, seeking: bool) {
        self.seeking = seeking;
    }

    /// Gives them an upload slot, or takes it. Taking it forgets their requests that [`Self::next_upload`] has not given yet; the
    /// choke goes out behind the data of those that it has.
    pub fn allow(&mut self, unchoked: bool) {
        self.uploads.allow(unchoked);
    }

    /// They are interested and we choke them.
    #[must_use]
    pub fn wants_slot(&self) -> bool {
        self.peer.is_interested && !self.uploads.is_allowed()
    }

    /// The next request of theirs to answer. Each is followed by [`Self::uploaded`] or [`Self::refuse_upload`].
    pub fn next_upload(&mut self) -> Option<PieceRange> {
        self.uploads.next()
    }

    /// They still want what [`Self::next_upload`] gave. If not, and nothing of it was sent, it may be refused.
    #[must_use]
    pub fn is_wanted(&self, range: PieceRange) -> bool {
        self.uploads.is_wanted(range)
    }

    /// The data of a request has been sent.
    pub fn uploaded(&mut self, range: PieceRange, now: Instant) {
        self.timers.advance(now);
        self.timers.sent();
        self.uploads.done(range);
    }

    /// A request can't be answered, because the piece is gone. The protocol has no word for it, but a choke takes all requests
    /// back: once their other requests are answered they are choked and unchoked again, and know at once that this one is lost.
    /// One that they cancelled meanwhile is forgotten without that.
    pub fn refuse_upload(&mut self, range: PieceRange) {
        self.uploads.refuse(range);
    }

    /// What to send next; `None` = nothing now.
    pub fn poll_message(&mut self) -> Option<Message> {
        let message = self.next_message()?;
        self.timers.sent();
        Some(message)
    }

    /// What happened since the last call.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called, at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_finished() {
            return Some(self.timers.now());
        }
        let next = self.timers.next();
        Some(self.requests.next_stall(&self.timers).map_or(next, |stall| stall.min(next)))
    }

    /// Does what is due. On an error the connection is to be closed; nobody is to blame.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        self.timers.advance(now);
        if self.is_finished() {
            return Err(CloseReason::BothComplete);
        }
        if self.timers.is_idle() {
            return Err(CloseReason::Idle);
        }
        let stalled = self.requests.stalled(&self.timers);
        self.events.extend(stalled.into_iter().map(Event::Stalled));
        Ok(())
    }
}

/// Parts of the above.
impl Connection {
    fn count_unknown(&mut self, message: &Message) -> Result<(), Violation> {
        let Message::Unknown { kind: last, .. } = *message else {
            self.peer.unknown_messages = 0;
            return Ok(());
        };
        self.peer.unknown_messages += 1;
        if self.peer.unknown_messages < MAX_UNKNOWN_MESSAGES {
            return Ok(());
        }
        Err(Violation::UnknownMessages { count: self.peer.unknown_messages, last })
    }

    fn choked(&mut self) {
        if !std::mem::replace(&mut self.peer.is_choking, true) {
            let lost = self.requests.lose_all();
            self.events.push_back(Event::Choked { lost });
        }
    }

    fn peer_interest(&mut self, interested: bool) {
        if std::mem::replace(&mut self.peer.is_interested, interested) != interested {
            self.events.push_back(if interested { Event::Interested } else { Event::NotInterested });
        }
    }

    fn have(&mut self, piece: u32) -> Result<(), Violation> {
        let piece_count = self.layout.piece_count();
        if piece >= piece_count {
            return Err(Violation::HaveOutOfRange { piece, piece_count });
        }
        if self.peer.pieces.set(piece) {
            self.events.push_back(Event::Have(piece));
        }
        Ok(())
    }

    fn piece(&mut self, range: PieceRange) -> Result<(), Violation> {
        self.timers.progressed(self.timers.now());
        let overtaken = match self.requests.arrived(range) {
            Arrival::Wanted { overtaken } => {
                self.events.push_back(Event::Piece(range));
                overtaken
            }
            Arrival::Forgotten { overtaken } => overtaken,
            Arrival::Unrequested => return Err(Violation::UnrequestedData(range)),
        };
        self.events.extend(overtaken.into_iter().map(Event::Stalled));
        Ok(())
    }

    /// Both have everything and nothing is on its way.
    fn is_finished(&self) -> bool {
        self.ours.is_full()
            && self.peer.pieces.is_full()
            && self.greeted
            && self.to_announce.is_empty()
            && self.requests.is_empty()
            && self.uploads.unanswered() == 0
    }

    fn is_wanting(&self) -> bool {
        !self.requests.is_empty() || (self.seeking && self.peer.pieces.has_more_than(&self.ours))
    }

    fn next_message(&mut self) -> Option<Message> {
        if !std::mem::replace(&mut self.greeted, true) && !self.ours.is_empty() {
            return Some(Message::Bitfield(self.ours.to_bytes()));
        }
        if let Some(unchoked) = self.uploads.poll_change() {
            return Some(if unchoked { Message::Unchoke } else { Message::Choke });
        }
        let wanting = self.is_wanting();
        if std::mem::replace(&mut self.told_interested, wanting) != wanting {
            return Some(if wanting { Message::Interested } else { Message::NotInterested });
        }
        if let Some(range) = self.requests.next_cancel() {
            return Some(Message::Cancel(range));
        }
        if let Some(piece) = self.to_announce.pop_front() {
            return Some(Message::Have(piece));
        }
        if !self.peer.is_choking
            && let Some(range) = self.requests.next_to_send(self.timers.now())
        {
            return Some(Message::Request(range));
        }
        self.timers.is_keep_alive_due().then_some(Message::KeepAlive)
    }
}

#[cfg(test)]
mod tests;
