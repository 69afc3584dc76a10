//! Links between peers. Each direction keeps its order, as TCP does; different links overtake each other.

use std::time::{Duration, Instant};

use connected_cache_wire::swarm::Message;

use crate::random::Random;
use crate::scenario::Partition;

/// A message and what is behind it.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    /// Any but data.
    Message(Message),
    /// Data of a piece and whether it is right.
    Data { message: Message, is_right: bool },
    /// A part of the data that follows.
    Progress,
    /// The other end has closed.
    Closed,
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Who opened it, and to whom.
    pub(crate) ends: [usize; 2],
    /// When the last frame of each end arrives.
    last_arrival: [Instant; 2],
    /// Nothing arrives any more.
    pub(crate) is_cut: bool,
}

/// How links behave.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) start: Instant,
    pub(crate) delay: Duration,
    pub(crate) bytes_per_second: u64,
    pub(crate) holds: u64,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) quiet: Instant,
    pub(crate) random: Random,
}

impl Link {
    pub(crate) const fn new(from: usize, to: usize, now: Instant) -> Self {
        Self { ends: [from, to], last_arrival: [now; 2], is_cut: false }
    }

    /// The other end.
    pub(crate) fn other(&self, end: usize) -> usize {
        self.ends[usize::from(self.ends[0] == end)]
    }
}

impl Network {
    /// Until when these two don't reach each other.
    pub(crate) fn parted_until(&self, ends: [usize; 2], now: Instant) -> Option<Instant> {
        let now = now - self.start;
        let parted = self.partitions.iter().filter(|partition| {
            let [one, other] = ends.map(|peer| partition.side >> peer & 1);
            one != other && (partition.from..partition.to).contains(&now)
        });
        parted.map(|partition| self.start + partition.to).max()
    }

    /// When a frame of so many bytes begins and ends to arrive.
    pub(crate) fn arrival(
        &mut self,
        link: &mut Link,
        from: usize,
        bytes: u32,
        now: Instant,
    ) -> (Instant, Instant) {
        let direction = usize::from(link.ends[0] != from);
        let jitter = Duration::from_nanos(self.random.below(u64::try_from(self.delay.as_nanos()).unwrap()));
        let mut begin = (now + self.delay + jitter).max(link.last_arrival[direction]);
        if self.holds > 0 && now < self.quiet && self.random.one_in(self.holds) {
            begin += Duration::from_millis(self.random.below(6_000));
        }
        if let Some(end) = self.parted_until(link.ends, now) {
            begin = begin.max(end);
        }
        let end = begin + Duration::from_micros(u64::from(bytes) * 1_000_000 / self.bytes_per_second);
        link.last_arrival[direction] = end;
        (begin, end)
    }
}
