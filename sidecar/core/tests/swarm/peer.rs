//! One peer: what the sidecar does around the decisions of the crate, without its sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use connected_cache_core::swarm::{
    BadPiece, BanRules, Bans, Bitfield, Connection, ConnectionLimits, Download, Event, InOrder, PiecePicker,
    RarestFirst, Suspect, SwarmLayout, UploadSlots,
};
use connected_cache_wire::swarm::{Message, PeerId, PieceRange, SwarmId};

use crate::network::Frame;
use crate::random::Random;
use crate::scenario::{Manner, Scenario};
use crate::vandal::anything;

const CONTENT: SwarmId = SwarmId::from_bytes([1; 32]);

/// What is broken on purpose, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    ForgetsLost,
    WaitsForStalled,
    SkipsCheck,
    IgnoresChokes,
    UnchokesAll,
}

/// One connection of a peer.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) remote: usize,
    pub(crate) connection: Connection,
    is_foreign: bool,
    /// Parts of pieces that are asked for here, and whether all that came was right.
    parts: BTreeMap<u32, (Vec<PieceRange>, bool)>,
}

/// See the module.
pub(crate) struct Peer {
    pub(crate) manner: Manner,
    pub(crate) sessions: BTreeMap<usize, Session>,
    pub(crate) pieces: Bitfield,
    pub(crate) download: Download<usize, Box<dyn PiecePicker>>,
    pub(crate) bans: Bans,
    slots: UploadSlots<usize>,
    layout: SwarmLayout,
    limits: ConnectionLimits,
    parts: u32,
    gone: u64,
    sabotage: Sabotage,
    random: Random,
    /// For the one who runs it: what to send, in order; `None` = close.
    pub(crate) out: Vec<(usize, Option<Frame>)>,
    pub(crate) counts: Counts,
    /// The worst that can be.
    pub(crate) keeps_wrong: bool,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) violations: u64,
    pub(crate) bad_pieces: u64,
    pub(crate) bans: u64,
    pub(crate) stalls: u64,
    pub(crate) lost: u64,
    pub(crate) losers: u64,
    pub(crate) refused: u64,
    pub(crate) idle: u64,
}

pub(crate) fn suspect(peer: usize) -> Suspect {
    let number = u8::try_from(peer).unwrap();
    Suspect {
        peer: Some(PeerId::from_bytes([number; 20])),
        address: SocketAddr::from(([10, 0, 0, number], 7680)),
    }
}

impl Peer {
    pub(crate) fn new(number: usize, scenario: &Scenario, sabotage: Sabotage) -> Self {
        let count = scenario.layout.piece_count();
        let held = scenario.held.get(number).copied().unwrap_or(u64::MAX);
        let (mut pieces, mut missing) = (Bitfield::new(count), Bitfield::full(count));
        for piece in (0..count).filter(|piece| held >> piece & 1 == 1) {
            pieces.set(piece);
            missing.clear(piece);
        }
        let mut random = scenario.random.clone();
        random.0 ^= number as u64;
        let picker: Box<dyn PiecePicker> = if random.one_in(3) {
            Box::new(InOrder::at(u32::try_from(random.below(u64::from(count))).unwrap()))
        } else {
            Box::new(RarestFirst::new(random.next()))
        };
        let seconds = Duration::from_secs;
        Self {
            manner: scenario.manners[number],
            sessions: BTreeMap::new(),
            pieces,
            download: Download::new(missing, picker),
            bans: Bans::new(BanRules {
                bad_pieces: 2,
                violations: 3,
                window: seconds(600),
                ban: seconds(900),
            }),
            slots: UploadSlots::new(scenario.slots),
            layout: scenario.layout,
            limits: ConnectionLimits {
                requests_in_flight: scenario.in_flight,
                max_queued_requests: 64,
                keep_alive: seconds(60),
                idle: seconds(180),
                stall: seconds(1),
            },
            parts: scenario.parts,
            gone: scenario.gone,
            sabotage,
            random,
            out: Vec::new(),
            counts: Counts::default(),
            keeps_wrong: false,
        }
    }

    pub(crate) fn is_honest(&self) -> bool {
        self.manner == Manner::Honest
    }

    pub(crate) fn is_connected_to(&self, remote: usize) -> bool {
        self.sessions.values().any(|session| session.remote == remote)
    }

    pub(crate) fn refuses(&self, remote: usize, now: Instant) -> bool {
        self.is_honest() && self.bans.is_banned(suspect(remote), Some(CONTENT), now)
    }

    pub(crate) fn open(&mut self, link: usize, remote: usize, is_foreign: bool, now: Instant) {
        let mut connection = Connection::new(self.layout, &self.pieces, self.limits, now);
        connection.seek(true);
        connection.allow(!is_foreign || !self.is_honest() || self.sabotage == Sabotage::UnchokesAll);
        self.sessions.insert(link, Session { remote, connection, is_foreign, parts: BTreeMap::new() });
        self.drive(now);
    }

    /// The connection is no more.
    pub(crate) fn closed(&mut self, link: usize, now: Instant) {
        self.sessions.remove(&link);
        self.slots.leave(link);
        self.download.gone(link);
        self.drive(now);
    }

    /// Something came. False: it broke a rule.
    pub(crate) fn take(&mut self, link: usize, frame: &Frame, now: Instant) -> bool {
        let Some(session) = self.sessions.get_mut(&link) else { return true };
        let (message, is_right) = match frame {
            Frame::Progress => {
                session.connection.progressed(now);
                return true;
            }
            Frame::Closed => {
                self.closed(link, now);
                return true;
            }
            Frame::Message(message) => (message, true),
            Frame::Data { message, is_right } => (message, *is_right),
        };
        if self.manner == Manner::Vandal {
            for _ in 0..self.random.below(3) {
                let message = anything(&mut self.random, self.layout);
                let is_data = matches!(message, Message::Piece(_));
                let data = Frame::Data { message: message.clone(), is_right: false };
                self.out.push((link, Some(if is_data { data } else { Frame::Message(message) })));
            }
            return true;
        }
        let received = session.connection.receive(message, now);
        self.events(link, is_right, now);
        if received.is_err() {
            let remote = self.sessions.get(&link).map(|session| session.remote);
            let banned = remote.and_then(|remote| self.bans.violation(suspect(remote), Some(CONTENT), now));
            self.counts.violations += 1;
            self.counts.bans += u64::from(banned.is_some());
            self.close(link, now);
        }
        self.drive(now);
        received.is_ok()
    }

    fn close(&mut self, link: usize, now: Instant) {
        if self.sessions.contains_key(&link) {
            self.out.push((link, None));
            self.closed(link, now);
        }
    }

    fn events(&mut self, link: usize, is_right: bool, now: Instant) {
        while let Some(event) =
            self.sessions.get_mut(&link).and_then(|session| session.connection.poll_event())
        {
            match event {
                Event::Bitfield => self.download.peer(link, self.sessions[&link].connection.their_pieces()),
                Event::Have(piece) => {
                    self.download.peer(link, self.sessions[&link].connection.their_pieces());
                    self.download.peer_has(link, piece);
                }
                Event::Choked { lost } => lost.into_iter().for_each(|range| self.lost(link, range.piece)),
                Event::Piece(range) => self.part(link, range, is_right, now),
                Event::Stalled(range) => {
                    self.counts.stalls += 1;
                    if self.sabotage != Sabotage::WaitsForStalled {
                        self.download.stalled(range.piece, link);
                    }
                }
                Event::Interested if self.sessions[&link].is_foreign => self.slots.interested(link),
                Event::NotInterested => {
                    if self.slots.leave(link) {
                        self.allow(link, false);
                        self.send(link);
                    }
                }
                Event::Interested | Event::Unchoked => {}
            }
        }
    }

    fn lost(&mut self, link: usize, piece: u32) {
        self.counts.lost += 1;
        self.take_back(link, piece);
        if self.sabotage != Sabotage::ForgetsLost {
            self.download.lost(piece, link);
        }
    }

    fn take_back(&mut self, link: usize, piece: u32) {
        if let Some(session) = self.sessions.get_mut(&link)
            && let Some((parts, _)) = session.parts.remove(&piece)
        {
            for range in parts {
                session.connection.cancel(range);
            }
        }
    }

    fn part(&mut self, link: usize, range: PieceRange, is_right: bool, now: Instant) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        let (parts, all_right) = session.parts.get_mut(&range.piece).unwrap();
        parts.retain(|part| *part != range);
        *all_right &= is_right;
        if !parts.is_empty() {
            return;
        }
        let is_right = *all_right || self.sabotage == Sabotage::SkipsCheck;
        self.keeps_wrong |= is_right && !*all_right;
        session.parts.remove(&range.piece);
        let remote = session.remote;
        if is_right {
            for loser in self.download.arrived(range.piece, link) {
                self.counts.losers += 1;
                self.take_back(loser, range.piece);
            }
            self.pieces.set(range.piece);
            for session in self.sessions.values_mut() {
                session.connection.announce(range.piece);
            }
        } else {
            self.counts.bad_pieces += 1;
            self.download.wrong(range.piece, link);
            if let BadPiece::Banned(_) = self.bans.bad_piece(suspect(remote), CONTENT, now) {
                self.counts.bans += 1;
                self.close(link, now);
            }
        }
    }

    fn allow(&mut self, link: usize, unchoked: bool) {
        if let Some(session) = self.sessions.get_mut(&link) {
            session.connection.allow(unchoked || self.sabotage == Sabotage::UnchokesAll);
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.manner == Manner::Vandal {
            return None;
        }
        let sessions = self.sessions.values().filter_map(|session| session.connection.poll_timeout());
        sessions.chain(self.slots.poll_timeout()).min()
    }

    pub(crate) fn timeout(&mut self, now: Instant) {
        let links: Vec<usize> = self.sessions.keys().copied().collect();
        for link in links {
            let Some(session) = self.sessions.get_mut(&link) else { continue };
            match session.connection.handle_timeout(now) {
                Ok(()) => self.events(link, true, now),
                Err(reason) => {
                    self.counts.idle += u64::from(reason.label() == "idle");
                    self.close(link, now);
                }
            }
        }
        self.drive(now);
    }

    /// Asks, answers and sends what follows from what has happened.
    fn drive(&mut self, now: Instant) {
        if self.manner == Manner::Vandal {
            return;
        }
        for change in self.slots.rebalance(now) {
            self.allow(change.connection, change.unchoked);
            // A choke is out before another has the slot.
            self.send(change.connection);
        }
        let links: Vec<usize> = self.sessions.keys().copied().collect();
        for link in links {
            if self.manner == Manner::Flapper && self.random.one_in(4) {
                let unchoked = self.random.one_in(2);
                self.allow(link, unchoked);
            }
            self.answer(link, now);
            self.ask(link, now);
            self.send(link);
        }
    }

    fn ask(&mut self, link: usize, now: Instant) {
        loop {
            let Some(session) = self.sessions.get_mut(&link) else { return };
            let (waiting, sent) = session.connection.our_requests();
            // Most wait for the unchoke before they choose; requests may also wait in the connection.
            let holds_back = session.connection.is_choked()
                && self.sabotage != Sabotage::IgnoresChokes
                && !self.random.one_in(50);
            if holds_back || waiting + sent >= self.limits.requests_in_flight {
                return;
            }
            let Some(piece) = self.download.next(link) else { return };
            let parts = split(self.layout.whole(piece).unwrap(), self.parts);
            for range in &parts {
                assert!(session.connection.request(*range, now), "{range:?} is asked for already");
                if session.connection.is_choked() && self.sabotage == Sabotage::IgnoresChokes {
                    self.out.push((link, Some(Frame::Message(Message::Request(*range)))));
                }
            }
            session.parts.insert(piece, (parts, true));
        }
    }

    fn answer(&mut self, link: usize, now: Instant) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        // What was decided before is told before.
        while let Some(message) = session.connection.poll_message() {
            self.out.push((link, Some(Frame::Message(message))));
        }
        while self.manner != Manner::Silent
            && let Some(range) = session.connection.next_upload()
        {
            let is_gone = self.gone > 0 && self.random.one_in(self.gone);
            if is_gone || !self.pieces.has(range.piece) {
                self.counts.refused += 1;
                session.connection.refuse_upload(range);
                continue;
            }
            let is_right = self.manner != Manner::Liar || self.random.one_in(2);
            self.out.push((link, Some(Frame::Data { message: Message::Piece(range), is_right })));
            session.connection.uploaded(range, now);
        }
    }

    fn send(&mut self, link: usize) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        while let Some(message) = session.connection.poll_message() {
            self.out.push((link, Some(Frame::Message(message))));
        }
    }

    /// Nothing is kept that is of no use any more.
    pub(crate) fn has_leaks(&self) -> bool {
        let asks =
            |session: &Session| session.connection.our_requests() != (0, 0) || !session.parts.is_empty();
        self.sessions.values().any(asks)
            || (0..self.layout.piece_count()).any(|piece| self.download.asked(piece).next().is_some())
    }
}

fn split(whole: PieceRange, parts: u32) -> Vec<PieceRange> {
    let length = whole.length.div_ceil(parts);
    let begins = (0..whole.length).step_by(length as usize);
    begins.map(|begin| PieceRange { begin, length: length.min(whole.length - begin), ..whole }).collect()
}
