//! Our requests on one connection: those that wait, those that were sent, and those whose answer we no longer want but may
//! still get. Each range is in at most one of the first two.

use std::collections::VecDeque;
use std::time::Instant;

use connected_cache_wire::swarm::PieceRange;

use super::Expectation;
use super::timers::Timers;

/// Requests that were taken back and whose data may be on its way. Far more than socket buffers hold; the oldest goes.
const MAX_FORGOTTEN: usize = 256;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    max_in_flight: usize,
    max_waiting: usize,
    waiting: VecDeque<Waiting>,
    in_flight: Vec<InFlight>,
    forgotten: VecDeque<Forgotten>,
    cancels: VecDeque<PieceRange>,
    /// Number of the next request that is sent.
    next_number: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    range: PieceRange,
    since: Instant,
    is_stalled: bool,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    range: PieceRange,
    since: Instant,
    is_stalled: bool,
    number: u64,
}

#[derive(Clone, Copy, Debug)]
struct Forgotten {
    range: PieceRange,
    number: u64,
    /// The first request that was sent afterwards.
    before: u64,
}

/// What came.
#[derive(Debug)]
pub(super) enum Arrival {
    /// Asked for; `overtaken` = requests that they seem to have left out.
    Wanted { overtaken: Vec<PieceRange> },
    /// Asked for and taken back.
    Forgotten { overtaken: Vec<PieceRange> },
    /// Never asked for.
    Unrequested,
}

impl Requests {
    pub(super) const fn new(max_in_flight: usize, max_waiting: usize) -> Self {
        Self {
            max_in_flight,
            max_waiting,
            waiting: VecDeque::new(),
            in_flight: Vec::new(),
            forgotten: VecDeque::new(),
            cancels: VecDeque::new(),
            next_number: 0,
        }
    }

    /// False if it is asked for already or too many wait.
    pub(super) fn add(&mut self, range: PieceRange, now: Instant) -> bool {
        let is_known = self.waiting.iter().any(|waiting| waiting.range == range)
            || self.in_flight.iter().any(|sent| sent.range == range);
        if is_known || self.waiting.len() >= self.max_waiting {
            return false;
        }
        self.waiting.push_back(Waiting { range, since: now, is_stalled: false });
        true
    }

    pub(super) fn cancel(&mut self, range: PieceRange) {
        self.waiting.retain(|waiting| waiting.range != range);
        if let Some(at) = self.in_flight.iter().position(|sent| sent.range == range) {
            let InFlight { number, .. } = self.in_flight.remove(at);
            self.forget(range, number);
            self.cancels.push_back(range);
        }
    }

    /// They choke: no request is answered any more. Gives those that were sent, oldest first.
    pub(super) fn lose_all(&mut self) -> Vec<PieceRange> {
        self.cancels.clear();
        let lost = std::mem::take(&mut self.in_flight);
        for InFlight { range, number, .. } in &lost {
            self.forget(*range, *number);
        }
        lost.into_iter().map(|sent| sent.range).collect()
    }

    fn forget(&mut self, range: PieceRange, number: u64) {
        if self.forgotten.len() == MAX_FORGOTTEN {
            self.forgotten.pop_front();
        }
        self.forgotten.push_back(Forgotten { range, number, before: self.next_number });
    }

    pub(super) fn next_cancel(&mut self) -> Option<PieceRange> {
        self.cancels.pop_front()
    }

    /// The next one, if there is room in flight.
    pub(super) fn next_to_send(&mut self, now: Instant) -> Option<PieceRange> {
        if self.in_flight.len() >= self.max_in_flight {
            return None;
        }
        let Waiting { range, .. } = self.waiting.pop_front()?;
        self.in_flight.push(InFlight { range, since: now, is_stalled: false, number: self.next_number });
        self.next_number += 1;
        Some(range)
    }

    pub(super) fn expectation(&self, range: PieceRange) -> Expectation {
        if self.in_flight.iter().any(|sent| sent.range == range) {
            Expectation::Wanted
        } else if self.forgotten.iter().any(|forgotten| forgotten.range == range) {
            Expectation::Forgotten
        } else {
            Expectation::Unrequested
        }
    }

    /// All data of this range came. If it was taken back and asked for again, twice the same may come: the first is taken, and
    /// is the answer to what was taken back.
    pub(super) fn arrived(&mut self, range: PieceRange) -> Arrival {
        let forgotten = self.forgotten.iter().position(|forgotten| forgotten.range == range);
        let forgotten = forgotten.and_then(|at| self.forgotten.remove(at));
        let sent = self.in_flight.iter().position(|sent| sent.range == range);
        let sent = sent.map(|at| self.in_flight.remove(at));
        match (sent, forgotten) {
            (Some(sent), None) => Arrival::Wanted { overtaken: self.answered(sent.number) },
            (Some(sent), Some(forgotten)) => {
                self.forget(range, sent.number);
                Arrival::Wanted { overtaken: self.answered(forgotten.number) }
            }
            (None, Some(forgotten)) => Arrival::Forgotten { overtaken: self.answered(forgotten.number) },
            (None, None) => Arrival::Unrequested,
        }
    }

    /// Peers answer in order, more or less. What was taken back a whole window of requests before this one won't come any more,
    /// and what was sent so long before was left out.
    fn answered(&mut self, number: u64) -> Vec<PieceRange> {
        let window = self.max_in_flight as u64;
        self.forgotten.retain(|forgotten| forgotten.before + window > number);
        let left_out = self.in_flight.iter_mut().filter(|sent| sent.number + window <= number);
        left_out
            .filter_map(|sent| (!std::mem::replace(&mut sent.is_stalled, true)).then_some(sent.range))
            .collect()
    }

    /// When the next request counts as stalled if nothing comes.
    pub(super) fn next_stall(&self, timers: &Timers) -> Option<Instant> {
        let waiting = self.waiting.iter().filter(|waiting| !waiting.is_stalled).map(|waiting| waiting.since);
        let sent = self.in_flight.iter().filter(|sent| !sent.is_stalled).map(|sent| sent.since);
        waiting.chain(sent).min().map(|since| timers.stalls_at(since))
    }

    /// Those that are stalled and were not before, oldest first.
    pub(super) fn stalled(&mut self, timers: &Timers) -> Vec<PieceRange> {
        let sent = self.in_flight.iter_mut().map(|sent| (sent.range, sent.since, &mut sent.is_stalled));
        let waiting =
            self.waiting.iter_mut().map(|waiting| (waiting.range, waiting.since, &mut waiting.is_stalled));
        sent.chain(waiting)
            .filter(|(_, since, _)| timers.stalls_at(*since) <= timers.now())
            .filter_map(|(range, _, is_stalled)| (!std::mem::replace(is_stalled, true)).then_some(range))
            .collect()
    }

    /// None waits and none is unanswered.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty() && self.cancels.is_empty()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many that were taken back are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.forgotten.len()
    }
}
