//! Runs a scenario: one queue of what happens next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use connected_cache_wire::swarm::Message;

use crate::network::{Frame, Link, Network};
use crate::peer::{Peer, Sabotage};
use crate::referee::Referee;
use crate::scenario::Scenario;

/// Longer than any download of honest peers takes on the slowest links, with all troubles.
const LIMIT: Duration = Duration::from_mins(30);
/// Progress of data is told at least so often.
const PROGRESS: Duration = Duration::from_millis(300);

/// What happens.
#[derive(Debug)]
enum What {
    Arrives { link: usize, to: usize, frame: Frame },
    Timeout(usize),
    Dials { from: usize, to: usize },
    Cut { is_noticed: bool },
    Noticed { link: usize, by: usize },
}

/// Sums over many lives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    messages: u64,
    pieces: u64,
    bad_pieces: u64,
    violations: u64,
    bans: u64,
    stalls: u64,
    lost: u64,
    losers: u64,
    refused: u64,
    idle: u64,
    dials: u64,
    simulated_seconds: u64,
}

impl Figures {
    fn each(&mut self) -> [&mut u64; 12] {
        let Self {
            messages,
            pieces,
            bad_pieces,
            violations,
            bans,
            stalls,
            lost,
            losers,
            refused,
            idle,
            dials,
            simulated_seconds,
        } = self;
        [
            messages,
            pieces,
            bad_pieces,
            violations,
            bans,
            stalls,
            lost,
            losers,
            refused,
            idle,
            dials,
            simulated_seconds,
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, figure) in self.each().into_iter().zip(other.clone().each()) {
            *sum += *figure;
        }
    }

    pub(crate) fn is_nonzero(&self) -> bool {
        self.clone().each().iter().all(|figure| **figure > 0)
    }
}

/// See the module.
pub(crate) struct World {
    scenario: Scenario,
    peers: Vec<Peer>,
    links: Vec<Link>,
    network: Network,
    referee: Referee,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    /// What stands in the queue, by number.
    happenings: std::collections::HashMap<u64, What>,
    next: u64,
    /// Of each peer, when it was to be woken last.
    wakes: Vec<Option<Instant>>,
    now: Instant,
    figures: Figures,
}

impl World {
    pub(crate) fn new(scenario: Scenario, sabotage: Sabotage) -> Self {
        let now = Instant::now();
        let count = scenario.manners.len();
        let network = Network {
            start: now,
            delay: scenario.delay,
            bytes_per_second: scenario.bytes_per_second,
            holds: scenario.holds,
            partitions: scenario.partitions.clone(),
            quiet: now + scenario.quiet,
            random: scenario.random.clone(),
        };
        let mut world = Self {
            peers: (0..count).map(|number| Peer::new(number, &scenario, sabotage)).collect(),
            links: Vec::new(),
            network,
            referee: Referee::new(scenario.in_flight, scenario.slots),
            queue: BinaryHeap::new(),
            happenings: std::collections::HashMap::new(),
            next: 0,
            wakes: vec![None; count],
            now,
            figures: Figures::default(),
            scenario,
        };
        for (from, to) in (0..count).flat_map(|to| (0..to).map(move |from| (from, to))) {
            let wait = Duration::from_millis(world.network.random.below(2_000));
            world.later(wait, What::Dials { from, to });
        }
        for wait in world.scenario.cuts.clone() {
            let is_noticed = world.network.random.one_in(2);
            world.later(wait, What::Cut { is_noticed });
        }
        world
    }

    fn at(&mut self, time: Instant, what: What) {
        self.queue.push(Reverse((time, self.next)));
        self.happenings.insert(self.next, what);
        self.next += 1;
    }

    fn later(&mut self, wait: Duration, what: What) {
        self.at(self.now + wait, what);
    }

    /// An error says what was broken.
    pub(crate) fn run(mut self) -> Result<Figures, String> {
        let end = self.now + LIMIT;
        while !self.is_over() {
            let Some(Reverse((time, number))) = self.queue.pop() else {
                return Err(format!("nothing happens any more: {}", self.unfinished()));
            };
            if time > end {
                return Err(self.unfinished());
            }
            self.now = time;
            let what = self.happenings.remove(&number).unwrap();
            self.happens(what)?;
        }
        for (number, peer) in self.peers.iter().enumerate().filter(|(_, peer)| peer.is_honest()) {
            if peer.has_leaks() {
                return Err(format!("peer {number} keeps what is of no use: {:?}", peer.sessions));
            }
            let counts = &peer.counts;
            self.figures.add(&Figures {
                bad_pieces: counts.bad_pieces,
                violations: counts.violations,
                bans: counts.bans,
                stalls: counts.stalls,
                lost: counts.lost,
                losers: counts.losers,
                refused: counts.refused,
                idle: counts.idle,
                ..Figures::default()
            });
        }
        self.figures.simulated_seconds = (self.now - self.network.start).as_secs();
        Ok(self.figures)
    }

    fn honest(&self) -> impl Iterator<Item = (usize, &Peer)> {
        self.peers.iter().enumerate().filter(|(_, peer)| peer.is_honest())
    }

    /// Honest peers have everything and need each other no more.
    fn is_over(&self) -> bool {
        self.honest().all(|(_, peer)| {
            peer.download.is_complete()
                && peer.sessions.values().all(|session| !self.peers[session.remote].is_honest())
        })
    }

    fn unfinished(&self) -> String {
        let states = self.honest().map(|(number, peer)| {
            let remotes: Vec<usize> = peer.sessions.values().map(|session| session.remote).collect();
            format!("peer {number} misses {:?}, knows {remotes:?}", peer.download.missing())
        });
        format!("not done in {LIMIT:?}: {}", states.collect::<Vec<_>>().join("; "))
    }

    fn happens(&mut self, what: What) -> Result<(), String> {
        match what {
            What::Arrives { link, to, frame } => self.arrives(link, to, &frame),
            What::Timeout(peer) => {
                if self.wakes[peer] == Some(self.now) {
                    self.wakes[peer] = None;
                }
                self.peers[peer].timeout(self.now);
                self.settle(peer)
            }
            What::Noticed { link, by } => self.comes(link, by, &Frame::Closed),
            What::Dials { from, to } => self.dials(from, to),
            What::Cut { is_noticed } => {
                self.cut(is_noticed);
                Ok(())
            }
        }
    }

    fn arrives(&mut self, link: usize, to: usize, frame: &Frame) -> Result<(), String> {
        if self.links[link].is_cut {
            return Ok(());
        }
        self.comes(link, to, frame)
    }

    fn comes(&mut self, link: usize, to: usize, frame: &Frame) -> Result<(), String> {
        if !self.peers[to].sessions.contains_key(&link) {
            return Ok(());
        }
        let from = self.links[link].other(to);
        let (is_honest, is_from_honest) = (self.peers[to].is_honest(), self.peers[from].is_honest());
        if let Frame::Message(message) | Frame::Data { message, .. } = frame {
            self.figures.messages += 1;
            self.figures.pieces += u64::from(matches!(message, Message::Piece(_)));
            if is_honest {
                self.referee.received(to, link, message);
            }
        }
        let is_fine = self.peers[to].take(link, frame, self.now);
        if !is_fine && is_honest && is_from_honest {
            return Err(format!("peer {to} finds fault with {frame:?} of peer {from}, who is honest"));
        }
        if self.peers[to].keeps_wrong {
            return Err(format!("peer {to} keeps a wrong piece of {frame:?}"));
        }
        if matches!(frame, Frame::Closed) {
            self.gone(to, from, link);
        }
        self.settle(to)
    }

    /// This end of a link is no more. Who misses something comes again.
    fn gone(&mut self, peer: usize, remote: usize, link: usize) {
        self.referee.closed(peer, link);
        let wait = Duration::from_millis(1_000 + self.network.random.below(2_000));
        self.later(wait, What::Dials { from: peer, to: remote });
    }

    /// Sends what a peer wants to send, and sees to it that it is woken.
    fn settle(&mut self, peer: usize) -> Result<(), String> {
        for (link, frame) in std::mem::take(&mut self.peers[peer].out) {
            let to = self.links[link].other(peer);
            if let Some(Frame::Message(message) | Frame::Data { message, .. }) = &frame
                && self.peers[peer].is_honest()
            {
                self.referee.sent(peer, link, message, &self.peers[peer].pieces)?;
            }
            let closes = frame.is_none();
            self.transmit(peer, to, link, frame.unwrap_or(Frame::Closed));
            if closes {
                self.gone(peer, to, link);
            }
        }
        if let Some(time) = self.peers[peer].next_timeout().map(|time| time.max(self.now))
            && self.wakes[peer].is_none_or(|wake| time < wake)
        {
            self.wakes[peer] = Some(time);
            self.at(time, What::Timeout(peer));
        }
        Ok(())
    }

    fn transmit(&mut self, from: usize, to: usize, link: usize, frame: Frame) {
        let bytes = match &frame {
            Frame::Data { message: Message::Piece(range), .. } => range.length.min(1 << 20),
            _ => 0,
        };
        let (begin, end) = self.network.arrival(&mut self.links[link], from, bytes, self.now);
        let mut progress = begin + PROGRESS;
        while progress < end {
            self.at(progress, What::Arrives { link, to, frame: Frame::Progress });
            progress += PROGRESS;
        }
        self.at(end, What::Arrives { link, to, frame });
    }

    fn dials(&mut self, from: usize, to: usize) -> Result<(), String> {
        let is_first = self.links.iter().all(|link| link.ends != [from, to] && link.ends != [to, from]);
        let [dialer, other] = [from, to].map(|peer| &self.peers[peer]);
        let wants = is_first || (dialer.is_honest() && !dialer.download.is_complete());
        if !wants || dialer.is_connected_to(to) || dialer.refuses(to, self.now) {
            return Ok(());
        }
        if other.refuses(from, self.now) {
            let is_unfair = dialer.is_honest() && other.is_honest();
            return if is_unfair { Err(format!("peer {to} bans peer {from}")) } else { Ok(()) };
        }
        // The other has not noticed yet that the old connection is gone, or can't be reached.
        if other.is_connected_to(from) || self.network.parted_until([from, to], self.now).is_some() {
            self.later(Duration::from_secs(3), What::Dials { from, to });
            return Ok(());
        }
        self.figures.dials += 1;
        let link = self.links.len();
        self.links.push(Link::new(from, to, self.now));
        let both_members = [from, to].iter().all(|peer| self.scenario.members >> peer & 1 == 1);
        for (peer, remote) in [(from, to), (to, from)] {
            self.referee.opened(peer, link, !both_members);
            self.peers[peer].open(link, remote, !both_members, self.now);
        }
        self.settle(from)?;
        self.settle(to)
    }

    /// Some connection is no more, which its ends notice soon, or by their timers alone.
    fn cut(&mut self, is_noticed: bool) {
        let open: Vec<usize> = (0..self.links.len()).filter(|link| !self.links[*link].is_cut).collect();
        if open.is_empty() {
            return;
        }
        let link = self.network.random.pick(&open);
        self.links[link].is_cut = true;
        if is_noticed {
            for end in self.links[link].ends {
                let wait = Duration::from_millis(self.network.random.below(2_000));
                self.later(wait, What::Noticed { link, by: end });
            }
        }
    }
}
