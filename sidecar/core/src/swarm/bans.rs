//! Who is refused for a while, and why (dossier delivery-optimization 4.3). Peers are known by their id and by their address and
//! port; what is counted against one counts against both, and either is enough to be refused.
//!
//! Bounded: each of the three lists keeps [`MAX_BANS`] entries, together a few megabytes at the most with the default rules; the entry that
//! was longest without news goes.

mod recent;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use connected_cache_wire::swarm::{PeerId, SwarmId};

use recent::Recent;

/// Entries of each list. A peer takes two of each list that it gets into.
pub const MAX_BANS: usize = 4096;

/// When somebody is banned, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanRules {
    /// So many bad pieces of one peer in one download ban. At least 1.
    pub bad_pieces: u32,
    /// So many violations within the window ban. At least 1; so many times are kept for each peer.
    pub violations: u32,
    /// See above.
    pub window: Duration,
    /// How long a ban lasts. In the download that it comes from it lasts to the end in any case.
    pub ban: Duration,
}

/// Why somebody is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BanReason {
    /// Pieces that failed their check.
    BadPieces,
    /// Messages against the protocol.
    Violations,
}

impl BanReason {
    /// For metrics and the admin endpoint.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadPieces => "bad_pieces",
            Self::Violations => "violations",
        }
    }
}

/// A ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// From then on it is over, but for a download that still runs.
    pub until: Instant,
    /// What for.
    pub reason: BanReason,
}

/// By what somebody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// The id of its handshake.
    Peer(PeerId),
    /// Its end of the connection.
    Address(SocketAddr),
}

/// Who it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// `None` = before the handshake.
    pub peer: Option<PeerId>,
    /// Its end of the connection.
    pub address: SocketAddr,
}

impl Suspect {
    fn marks(self) -> impl Iterator<Item = Mark> {
        self.peer.map(Mark::Peer).into_iter().chain([Mark::Address(self.address)])
    }
}

/// What a bad piece leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPiece {
    /// Thrown away; the peer may go on.
    Tolerated,
    /// It was one too many.
    Banned(Ban),
}

impl BadPiece {
    /// The service's code for it (dossier 4.4).
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Tolerated => 0x80D0_6806,
            Self::Banned(_) => 0x80D0_680D,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Bans {
    rules: BanRules,
    banned: Recent<Mark, Ban>,
    /// By download. What has reached the limit is banned there.
    bad_pieces: Recent<(SwarmId, Mark), u32>,
    /// The latest within the window, oldest first.
    violations: Recent<Mark, VecDeque<Instant>>,
}

impl Bans {
    /// Nobody is banned.
    #[must_use]
    pub fn new(rules: BanRules) -> Self {
        Self {
            rules,
            banned: Recent::new(MAX_BANS),
            bad_pieces: Recent::new(MAX_BANS),
            violations: Recent::new(MAX_BANS),
        }
    }

    /// A piece of theirs failed its check.
    pub fn bad_piece(&mut self, who: Suspect, download: SwarmId, now: Instant) -> BadPiece {
        let mut worst = 0;
        for mark in who.marks() {
            let count = self.bad_pieces.entry((download, mark));
            *count = count.saturating_add(1);
            worst = worst.max(*count);
        }
        if worst < self.rules.bad_pieces {
            return BadPiece::Tolerated;
        }
        BadPiece::Banned(self.ban(who, Some(download), BanReason::BadPieces, now))
    }

    /// They broke the protocol, in this download if the handshake got so far. Gives the ban that follows, if one does.
    pub fn violation(&mut self, who: Suspect, download: Option<SwarmId>, now: Instant) -> Option<Ban> {
        let limit = self.rules.violations as usize;
        let mut worst = 0;
        for mark in who.marks() {
            let times = self.violations.entry(mark);
            times.push_back(now);
            let window = self.rules.window;
            times.retain(|time| now.saturating_duration_since(*time) < window);
            if times.len() > limit {
                times.pop_front();
            }
            worst = worst.max(times.len());
        }
        (worst >= limit).then(|| self.ban(who, download, BanReason::Violations, now))
    }

    fn ban(&mut self, who: Suspect, download: Option<SwarmId>, reason: BanReason, now: Instant) -> Ban {
        let ban = Ban { until: now + self.rules.ban, reason };
        for mark in who.marks() {
            self.banned.set(mark, ban);
            if let Some(download) = download {
                self.bad_pieces.set((download, mark), u32::MAX);
            }
        }
        ban
    }

    /// They are refused: everywhere as long as the ban lasts, in a download that they were banned from until it ends.
    #[must_use]
    pub fn is_banned(&self, who: Suspect, download: Option<SwarmId>, now: Instant) -> bool {
        who.marks().any(|mark| {
            self.banned.get(&mark).is_some_and(|ban| now < ban.until)
                || download.is_some_and(|download| {
                    self.bad_pieces
                        .get(&(download, mark))
                        .is_some_and(|count| *count >= self.rules.bad_pieces)
                })
        })
    }

    /// The download is over; a new one of the same content begins with a clean slate, but for bans that last.
    pub fn end_download(&mut self, download: SwarmId) {
        self.bad_pieces.retain(|(of, _), _| *of != download);
    }

    /// The bans that last, oldest first, for the admin endpoint.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Vec<(Mark, Ban)> {
        self.banned.iter().filter(|(_, ban)| now < ban.until).map(|(mark, ban)| (*mark, *ban)).collect()
    }
}

#[cfg(test)]
mod tests;
