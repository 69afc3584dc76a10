//! One pod: what it has, what it sees, whom it leaves alone.

use std::collections::{HashMap, HashSet};

use connected_cache_core::{Candidate, GroupHash, Placement, Role, Route};

/// A member that failed is left alone for so long.
const REST: u64 = 10_000;
/// A connection of the peer protocol is closed when it was not used for so long.
const UNUSED: u64 = 30_000;
/// And one that questions go over.
const UNASKED: u64 = 300_000;

/// A group that is on its way to a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub(crate) done: u64,
    /// The pod that gives it; `None` = the origin.
    pub(crate) from: Option<usize>,
}

/// The members as a pod sees them.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    placement: Placement,
    /// Which pod is the member with this index.
    pods: Vec<usize>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) zone: usize,
    pub(crate) is_up: bool,
    /// It is to be a home, as far as the cluster knows.
    pub(crate) is_ready: bool,
    /// It left for good.
    pub(crate) is_gone: bool,
    pub(crate) store: HashSet<u64>,
    /// What clients read of it: what it would have alone.
    pub(crate) read: HashSet<u64>,
    pub(crate) fills: HashMap<u64, Fill>,
    pub(crate) view: View,
    /// Changes reach it only then.
    pub(crate) learns_at: u64,
    resting: HashMap<usize, u64>,
    /// By other pod and content, when they were used last.
    connections: HashMap<(usize, usize), u64>,
    /// By other pod and who of both asks, when a question last went over it.
    links: HashMap<(usize, bool), u64>,
    offers: HashSet<usize>,
    pub(crate) given: u64,
    given_by_group: HashMap<u64, u32>,
    pub(crate) most_given_of_a_group: u32,
    pub(crate) most_connections: usize,
    pub(crate) most_links: usize,
    pub(crate) most_left_alone: usize,
    pub(crate) most_offers: usize,
}

pub(crate) fn name(pod: usize) -> String {
    format!("cache-{pod}")
}

impl Pod {
    pub(crate) fn new(zone: usize) -> Self {
        Self {
            zone,
            is_up: true,
            is_ready: true,
            is_gone: false,
            store: HashSet::new(),
            read: HashSet::new(),
            fills: HashMap::new(),
            view: View::default(),
            learns_at: 0,
            resting: HashMap::new(),
            connections: HashMap::new(),
            links: HashMap::new(),
            offers: HashSet::new(),
            given: 0,
            given_by_group: HashMap::new(),
            most_given_of_a_group: 0,
            most_connections: 0,
            most_links: 0,
            most_left_alone: 0,
            most_offers: 0,
        }
    }

    /// Learns who is there.
    pub(crate) fn learn(&mut self, me: usize, members: &[(usize, Candidate)]) {
        let candidates: Vec<Candidate> = members.iter().map(|(_, candidate)| candidate.clone()).collect();
        self.view.placement = Placement::new(&name(me), &candidates);
        self.view.pods = members.iter().map(|(pod, _)| *pod).collect();
    }

    pub(crate) fn member_count(&self) -> usize {
        self.view.pods.len()
    }

    /// The process is gone, with all that was in memory.
    pub(crate) fn stop(&mut self) {
        self.is_up = false;
        self.fills.clear();
        self.resting.clear();
        self.connections.clear();
        self.links.clear();
        self.offers.clear();
    }

    pub(crate) fn has(&self, group: u64) -> bool {
        self.store.contains(&group)
    }

    fn is_left_alone(&self, pod: usize, now: u64) -> bool {
        // Most of the time there is nobody.
        !self.resting.is_empty() && self.resting.get(&pod).is_some_and(|until| *until > now)
    }

    pub(crate) fn leave_alone(&mut self, pod: usize, now: u64) {
        self.resting.retain(|_, until| *until > now);
        self.resting.insert(pod, now + REST);
        self.most_left_alone = self.most_left_alone.max(self.resting.len());
    }

    /// Which pod is asked, and as what; `None` = the origin, unless a former home has it.
    pub(crate) fn route(&self, hash: GroupHash, asked_as: Option<Role>, now: u64) -> Option<(usize, Role)> {
        let View { placement, pods } = &self.view;
        match placement.route(hash, asked_as, |index| self.is_left_alone(pods[index], now)) {
            Route::Member(index, role) => Some((pods[index], role)),
            Route::Origin => None,
        }
    }

    /// The pods that were home before some came.
    pub(crate) fn former_homes(&self, hash: GroupHash, now: u64) -> Vec<usize> {
        let ranked = self.view.placement.ranked(hash).into_iter().map(|index| self.view.pods[index]);
        ranked.filter(|pod| !self.is_left_alone(*pod, now)).take(2).collect()
    }

    /// Asks a pod, or is asked by it.
    pub(crate) fn talked(&mut self, other: usize, asks: bool, now: u64) {
        self.links.retain(|_, used| *used + UNASKED > now);
        self.links.insert((other, asks), now);
        self.most_links = self.most_links.max(self.links.len());
    }

    /// Takes or gives data of a content.
    pub(crate) fn connected(&mut self, other: usize, content: usize, now: u64) {
        self.connections.retain(|_, used| *used + UNUSED > now);
        self.connections.insert((other, content), now);
        self.most_connections = self.most_connections.max(self.connections.len());
    }

    pub(crate) fn gave(&mut self, content: usize, group: u64) {
        self.given += 1;
        let times = self.given_by_group.entry(group).or_default();
        *times += 1;
        self.most_given_of_a_group = self.most_given_of_a_group.max(*times);
        self.offers.insert(content);
        self.most_offers = self.most_offers.max(self.offers.len());
    }
}
