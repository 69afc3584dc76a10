//! Their requests on one connection, and whether they are choked.

use std::collections::VecDeque;

use connected_cache_wire::swarm::PieceRange;

use crate::swarm::Violation;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Uploads {
    limit: usize,
    /// Our decision.
    allowed: bool,
    /// What they were told.
    told_unchoked: bool,
    waiting: VecDeque<PieceRange>,
    /// Given to the caller and not done.
    serving: Vec<Serving>,
    /// Some request was refused since they were last choked.
    refused: bool,
}

#[derive(Clone, Copy, Debug)]
struct Serving {
    range: PieceRange,
    is_cancelled: bool,
}

impl Uploads {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            limit,
            allowed: false,
            told_unchoked: false,
            waiting: VecDeque::new(),
            serving: Vec::new(),
            refused: false,
        }
    }

    pub(super) const fn is_allowed(&self) -> bool {
        self.allowed
    }

    pub(super) fn allow(&mut self, allowed: bool) {
        self.allowed = allowed;
        if !allowed {
            // If they are allowed again before the choke has gone, they have to learn of it nevertheless.
            self.refused |= !self.waiting.is_empty();
            self.waiting.clear();
        }
    }

    /// Keeps a request whose range was checked. While they are choked, or about to be, it is ignored.
    pub(super) fn requested(&mut self, range: PieceRange) -> Result<(), Violation> {
        if !self.allowed || !self.told_unchoked {
            return Ok(());
        }
        if self.unanswered() >= self.limit {
            return Err(Violation::TooManyRequests { limit: self.limit });
        }
        self.waiting.push_back(range);
        Ok(())
    }

    /// One request less, the oldest of this range. What is being sent is sent.
    pub(super) fn cancel(&mut self, range: PieceRange) {
        if let Some(serving) =
            self.serving.iter_mut().find(|serving| serving.range == range && !serving.is_cancelled)
        {
            serving.is_cancelled = true;
        } else if let Some(at) = self.waiting.iter().position(|waiting| *waiting == range) {
            self.waiting.remove(at);
        }
    }

    pub(super) fn next(&mut self) -> Option<PieceRange> {
        let range = self.waiting.pop_front()?;
        self.serving.push(Serving { range, is_cancelled: false });
        Some(range)
    }

    pub(super) fn is_wanted(&self, range: PieceRange) -> bool {
        self.serving.iter().any(|serving| serving.range == range && !serving.is_cancelled)
    }

    pub(super) fn done(&mut self, range: PieceRange) {
        self.end(range);
    }

    pub(super) fn refuse(&mut self, range: PieceRange) {
        self.refused |= self.end(range).is_some_and(|serving| !serving.is_cancelled);
    }

    fn end(&mut self, range: PieceRange) -> Option<Serving> {
        let at = self.serving.iter().position(|serving| serving.range == range)?;
        Some(self.serving.remove(at))
    }

    pub(super) fn unanswered(&self) -> usize {
        self.waiting.len() + self.serving.len()
    }

    /// What they are to be told: true = unchoke, false = choke. A choke waits for the data of what is being served, so that
    /// no data comes behind it.
    pub(super) fn poll_change(&mut self) -> Option<bool> {
        let takes_back = self.refused && self.waiting.is_empty();
        let is_choke = self.told_unchoked && (!self.allowed || takes_back);
        if is_choke && self.serving.is_empty() {
            self.told_unchoked = false;
            self.refused = false;
            return Some(false);
        }
        let is_unchoke = self.allowed && !self.told_unchoked;
        is_unchoke.then(|| {
            self.told_unchoked = true;
            true
        })
    }
}
