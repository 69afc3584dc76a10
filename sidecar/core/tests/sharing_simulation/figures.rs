//! What is counted.

use std::mem::size_of;

use connected_cache_core::{Candidate, swarm::Connection};

use crate::scenario::Trouble;

/// See the module. Groups are of 8 pieces of 1 MiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Groups that clients asked for, each counted once for every time.
    pub(crate) reads: u64,
    /// Different groups that anybody asked for.
    pub(crate) groups: u64,
    /// Groups that a pod did not have when it was asked, by a client or by a pod.
    pub(crate) misses: u64,
    /// Those of clients.
    pub(crate) client_misses: u64,
    /// What the origin would give to pods that don't share.
    pub(crate) alone: u64,
    /// Groups that the origin gave.
    pub(crate) origin: u64,
    /// Questions of pods to pods.
    pub(crate) questions: u64,
    /// The longest way of a question.
    pub(crate) most_hops: usize,
    /// Groups that came from a pod that was asked as a former home.
    pub(crate) from_holders: u64,
    /// Groups that went from zone to zone.
    pub(crate) between_zones: u64,
    /// Questions that nobody answered.
    pub(crate) unanswered: u64,
    /// Groups that were on their way when their source crashed.
    pub(crate) broken_off: u64,
    pub(crate) restarts: u64,
    pub(crate) replacements: u64,
    /// Changes that some pod learned late.
    pub(crate) old_views: u64,
    /// Milliseconds that clients waited for groups that a pod did not have, in all.
    pub(crate) waited: u64,
    /// Of one pod: members it knew, members it left alone, connections of the peer protocol in use at a time, contents it gave out.
    pub(crate) most_members: usize,
    pub(crate) most_left_alone: usize,
    pub(crate) most_connections: usize,
    /// Connections that questions go over.
    pub(crate) most_links: usize,
    pub(crate) most_offers: usize,
    /// Groups that the busiest pod gave to others, and that all gave.
    pub(crate) most_given: u64,
    pub(crate) given: u64,
    /// How often one pod gave one group.
    pub(crate) most_given_of_a_group: u32,
    pub(crate) pods: u64,
}

impl Figures {
    pub(crate) const HEADER: &str = "| what happens | origin copies per group | alone | questions per miss | longest way | \
         copies between zones per group | mean wait ms | busiest pod / mean | most of one group | swarm connections | peer API connections | state KiB |";

    /// Bytes of one pod at its worst, without sockets: the members and their places, those left alone, the connections of the peer
    /// protocol with what both sides have, and what is given out.
    pub(crate) fn state_bytes(&self) -> usize {
        // Two names of some 20 bytes with their allocations, and the place (its hash and two flags).
        let member = size_of::<Candidate>() + 2 * 32 + 16;
        let left_alone = 64;
        // Two bitfields of the largest content here, 192 pieces, and what a socket's task holds beside its buffers.
        let connection = size_of::<Connection>() + 2 * 24 + 1_024;
        // Swarm id, pointers, and the pieces in memory, of which a group is the most here.
        let offer = 32 + 64 + 8 * 32;
        self.most_members * member
            + self.most_left_alone * left_alone
            + self.most_connections * connection
            + self.most_offers * offer
    }

    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn row(&self, trouble: Trouble) -> String {
        let of = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        format!(
            "| {trouble} | {:.3} | {:.1} | {:.2} | {} | {:.2} | {:.0} | {:.1} | {} | {} | {} | {} |",
            of(self.origin, self.groups),
            of(self.alone, self.groups),
            of(self.questions, self.misses),
            self.most_hops,
            of(self.between_zones, self.groups),
            of(self.waited, self.client_misses),
            of(self.most_given * self.pods, self.given),
            self.most_given_of_a_group,
            self.most_connections,
            self.most_links,
            self.state_bytes() / 1024,
        )
    }
}
