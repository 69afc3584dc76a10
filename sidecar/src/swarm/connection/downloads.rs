//! Who waits for which data. Several callers may wait for the same.

use std::collections::HashMap;

use bytes::Bytes;
use connected_cache_wire::swarm::PieceRange;
use tokio::sync::oneshot;

use crate::swarm::SwarmError;

/// How a caller is answered.
pub(in crate::swarm) type Reply = oneshot::Sender<Result<Bytes, SwarmError>>;

/// See the module.
#[derive(Default)]
pub(super) struct Downloads(HashMap<PieceRange, Vec<Waiter>>);

struct Waiter {
    number: u64,
    reply: Reply,
}

impl Downloads {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Somebody waits for it.
    pub(super) fn wants(&self, range: PieceRange) -> bool {
        self.0.contains_key(&range)
    }

    /// One more waits for it. The number tells callers apart.
    pub(super) fn add(&mut self, number: u64, range: PieceRange, reply: Reply) {
        self.0.entry(range).or_default().push(Waiter { number, reply });
    }

    /// A caller has left. True if it was the last that waited for it.
    pub(super) fn forget(&mut self, number: u64, range: PieceRange) -> bool {
        let Some(waiters) = self.0.get_mut(&range) else { return false };
        waiters.retain(|waiter| waiter.number != number);
        let was_last = waiters.is_empty();
        if was_last {
            self.0.remove(&range);
        }
        was_last
    }

    /// Answers all who wait for it. A caller that has left meanwhile is no matter.
    pub(super) fn answer(&mut self, range: PieceRange, answer: &Result<Bytes, SwarmError>) {
        for waiter in self.0.remove(&range).unwrap_or_default() {
            let _ = waiter.reply.send(answer.clone());
        }
    }

    /// Nobody gets anything any more.
    pub(super) fn fail_all(&mut self, error: SwarmError) {
        for waiter in self.0.drain().flat_map(|(_, waiters)| waiters) {
            let _ = waiter.reply.send(Err(error));
        }
    }
}
