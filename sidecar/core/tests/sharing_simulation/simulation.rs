//! Runs the hour. A question is followed to its end when it is asked, as its answer depends on nothing later but a crash; what is on
//! its way is known as such until it is there, so that those who ask meanwhile wait for it as they do in the sidecar.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use connected_cache_core::{Candidate, GroupHash, ObjectKey, Role};

use crate::figures::Figures;
use crate::pod::{Fill, Pod, name};
use crate::random::Random;
use crate::scenario::{Deed, HOUR, Reader, Scenario, ZONES};

/// Milliseconds.
const ROUND_TRIP: u64 = 1;
const ROUND_TRIP_BETWEEN_ZONES: u64 = 3;
/// A group from a pod, at some 2 Gbit/s.
const FROM_POD: u64 = 35;
/// A group from the origin, at some 100 Mbit/s.
const FROM_ORIGIN: u64 = 700;
/// `sharing.homeDeadlineMilliseconds`.
const DEADLINE: u64 = 500;
/// `swarm.peerStallMilliseconds`.
const STALL: u64 = 1_000;
/// From saying that it leaves to leaving (`shutdown.drainSeconds`).
const DRAIN: u64 = 5_000;
/// Until the cluster notices a crash.
const NOTICED: u64 = 15_000;
/// Until a change has come to all pods that can learn of it.
const LEARNED: u64 = 2_000;

#[derive(Clone, Copy, Debug)]
enum What {
    Read { content: usize, group: u64, pace: u64, pod: usize },
    There { pod: usize, group: u64 },
    Do(Deed),
    Ready { pod: usize, is_ready: bool },
    Stop(usize),
    Start(usize),
    Learn(usize),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Simulation {
    pods: Vec<Pod>,
    /// Number of the first group of each content; groups are numbered through.
    firsts: Vec<u64>,
    hashes: Vec<GroupHash>,
    contents_of: Vec<usize>,
    readers: Vec<Reader>,
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    happenings: Vec<What>,
    now: u64,
    /// Next to be restarted.
    turn: usize,
    random: Random,
    fetched: HashSet<u64>,
    figures: Figures,
}

impl Simulation {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let Scenario { pods, contents, readers, deeds, random } = scenario;
        let (mut firsts, mut hashes, mut contents_of) = (Vec::new(), Vec::new(), Vec::new());
        for (content, groups) in contents.iter().enumerate() {
            firsts.push(hashes.len() as u64);
            let key = key(content);
            hashes.extend((0..*groups).map(|number| GroupHash::numbered(&key, number)));
            contents_of.resize(hashes.len(), content);
        }
        let mut simulation = Self {
            pods: (0..pods).map(|pod| Pod::new(pod % ZONES)).collect(),
            firsts,
            hashes,
            contents_of,
            readers,
            queue: BinaryHeap::new(),
            happenings: Vec::new(),
            now: 0,
            turn: 0,
            random,
            fetched: HashSet::new(),
            figures: Figures { pods: pods as u64, ..Figures::default() },
        };
        for pod in 0..pods {
            simulation.learn(pod);
        }
        for Reader { at, content, pace } in simulation.readers.clone() {
            let pod = simulation.some_pod();
            let group = simulation.firsts[content];
            simulation.at(at, What::Read { content, group, pace, pod });
        }
        for (at, deed) in deeds {
            simulation.at(at, What::Do(deed));
        }
        simulation
    }

    fn at(&mut self, time: u64, what: What) {
        self.queue.push(Reverse((time, self.happenings.len())));
        self.happenings.push(what);
    }

    pub(crate) fn run(mut self) -> Figures {
        while let Some(Reverse((time, number))) = self.queue.pop() {
            self.now = time;
            match self.happenings[number] {
                What::Read { content, group, pace, pod } => self.read(content, group, pace, pod),
                What::There { pod, group } => self.there(pod, group),
                What::Do(deed) => self.do_it(deed),
                What::Ready { pod, is_ready } => {
                    self.pods[pod].is_ready = is_ready;
                    self.changed();
                }
                What::Stop(pod) => self.stop(pod),
                What::Start(pod) => {
                    self.pods[pod].is_up = true;
                    self.learn(pod);
                    self.at(self.now + LEARNED, What::Ready { pod, is_ready: true });
                }
                What::Learn(pod) => self.learn(pod),
            }
        }
        let figures = &mut self.figures;
        figures.groups = self.fetched.len() as u64;
        for pod in &self.pods {
            figures.most_connections = figures.most_connections.max(pod.most_connections);
            figures.most_links = figures.most_links.max(pod.most_links);
            figures.most_left_alone = figures.most_left_alone.max(pod.most_left_alone);
            figures.most_offers = figures.most_offers.max(pod.most_offers);
            figures.most_given = figures.most_given.max(pod.given);
            figures.given += pod.given;
            figures.most_given_of_a_group = figures.most_given_of_a_group.max(pod.most_given_of_a_group);
        }
        self.figures
    }

    /// One that clients are sent to.
    fn some_pod(&mut self) -> usize {
        let ready: Vec<usize> =
            (0..self.pods.len()).filter(|pod| self.pods[*pod].is_up && self.pods[*pod].is_ready).collect();
        self.random.pick(&ready)
    }

    fn read(&mut self, content: usize, group: u64, pace: u64, pod: usize) {
        // The client's connection is gone with the pod, and it goes on elsewhere.
        let pod = if self.pods[pod].is_up { pod } else { self.some_pod() };
        self.figures.reads += 1;
        self.figures.alone += u64::from(self.pods[pod].read.insert(group));
        let is_miss = !self.pods[pod].has(group) && !self.pods[pod].fills.contains_key(&group);
        let done = self.obtain(pod, group, None, self.now, 0);
        if is_miss {
            self.figures.client_misses += 1;
            self.figures.waited += done - self.now;
        }
        let next = group + 1;
        if self.contents_of.get(usize::try_from(next).unwrap()) == Some(&content) && self.now < HOUR {
            self.at(done + pace, What::Read { content, group: next, pace, pod });
        }
    }

    /// When the pod has the group.
    fn obtain(&mut self, pod: usize, group: u64, asked_as: Option<Role>, now: u64, hops: usize) -> u64 {
        if self.pods[pod].has(group) {
            return now;
        }
        if let Some(fill) = self.pods[pod].fills.get(&group) {
            return fill.done.max(now);
        }
        self.figures.misses += 1;
        self.figures.most_hops = self.figures.most_hops.max(hops);
        let hash = self.hashes[usize::try_from(group).unwrap()];
        let fill = match self.pods[pod].route(hash, asked_as, now) {
            Some((other, role)) => self.ask(pod, other, group, role, now, hops),
            None => self.ask_former_homes(pod, group, hash, now),
        };
        self.pods[pod].fills.insert(group, fill);
        self.at(fill.done, What::There { pod, group });
        fill.done
    }

    fn ask(&mut self, pod: usize, other: usize, group: u64, role: Role, now: u64, hops: usize) -> Fill {
        self.figures.questions += 1;
        if !self.pods[other].is_up {
            self.figures.unanswered += 1;
            self.pods[pod].leave_alone(other, now + DEADLINE);
            return self.fetch(group, now + DEADLINE);
        }
        self.figures.most_hops = self.figures.most_hops.max(hops + 1);
        self.talk(pod, other, now);
        let asked = now + self.round_trip(pod, other);
        let has_it = self.obtain(other, group, Some(role), asked, hops + 1);
        self.give(other, pod, group, has_it)
    }

    fn ask_former_homes(&mut self, pod: usize, group: u64, hash: GroupHash, now: u64) -> Fill {
        let mut answered = now;
        let mut holder = None;
        for other in self.pods[pod].former_homes(hash, now) {
            self.figures.questions += 1;
            if !self.pods[other].is_up {
                self.figures.unanswered += 1;
                self.pods[pod].leave_alone(other, now + DEADLINE);
                answered = answered.max(now + DEADLINE / 2);
                continue;
            }
            self.talk(pod, other, now);
            answered = answered.max(now + self.round_trip(pod, other));
            if self.pods[other].has(group) {
                holder = holder.or(Some(other));
            }
        }
        match holder {
            Some(other) => {
                self.figures.from_holders += 1;
                self.give(other, pod, group, now + self.round_trip(pod, other))
            }
            None => self.fetch(group, answered),
        }
    }

    fn talk(&mut self, from: usize, to: usize, now: u64) {
        self.pods[from].talked(to, true, now);
        self.pods[to].talked(from, false, now);
    }

    fn give(&mut self, from: usize, to: usize, group: u64, at: u64) -> Fill {
        let content = self.contents_of[usize::try_from(group).unwrap()];
        self.pods[from].connected(to, content, at);
        self.pods[to].connected(from, content, at);
        self.pods[from].gave(content, group);
        self.figures.between_zones += u64::from(self.pods[from].zone != self.pods[to].zone);
        Fill { done: at + FROM_POD, from: Some(from) }
    }

    fn fetch(&mut self, group: u64, at: u64) -> Fill {
        self.figures.origin += 1;
        self.fetched.insert(group);
        Fill { done: at + FROM_ORIGIN, from: None }
    }

    fn round_trip(&self, one: usize, other: usize) -> u64 {
        if self.pods[one].zone == self.pods[other].zone { ROUND_TRIP } else { ROUND_TRIP_BETWEEN_ZONES }
    }

    /// It is there now, unless the pod or its source went meanwhile.
    fn there(&mut self, pod: usize, group: u64) {
        let now = self.now;
        let pod = &mut self.pods[pod];
        if pod.fills.get(&group).is_some_and(|fill| fill.done <= now) {
            pod.fills.remove(&group);
            pod.store.insert(group);
        }
    }

    fn do_it(&mut self, deed: Deed) {
        if let Deed::OldViews { lasts } = deed {
            for pod in 0..self.pods.len() {
                if self.random.one_in(3) {
                    self.pods[pod].learns_at = self.now + lasts;
                }
            }
            return;
        }
        let Some(pod) = self.next_in_turn() else { return };
        match deed {
            Deed::Restart { down_for } => {
                self.figures.restarts += 1;
                self.leave(pod);
                self.at(self.now + DRAIN + down_for, What::Start(pod));
            }
            Deed::Crash { down_for } => {
                self.stop(pod);
                self.at(self.now + NOTICED, What::Ready { pod, is_ready: false });
                self.at(self.now + NOTICED + down_for, What::Start(pod));
            }
            Deed::Replace => {
                self.figures.replacements += 1;
                self.leave(pod);
                self.pods[pod].is_gone = true;
                let zone = self.pods[pod].zone;
                let mut new = Pod::new(zone);
                (new.is_up, new.is_ready) = (false, false);
                self.pods.push(new);
                self.at(self.now + DRAIN, What::Start(self.pods.len() - 1));
            }
            Deed::OldViews { .. } => {}
        }
    }

    fn next_in_turn(&mut self) -> Option<usize> {
        let count = self.pods.len();
        let next = (0..count)
            .map(|step| (self.turn + step) % count)
            .find(|pod| self.pods[*pod].is_up && self.pods[*pod].is_ready)?;
        self.turn = next + 1;
        Some(next)
    }

    fn leave(&mut self, pod: usize) {
        self.pods[pod].is_ready = false;
        self.changed();
        self.at(self.now + DRAIN, What::Stop(pod));
    }

    /// The process ends. Who was getting something of it asks the origin.
    fn stop(&mut self, pod: usize) {
        self.pods[pod].stop();
        let now = self.now;
        for other in 0..self.pods.len() {
            let mut broken: Vec<u64> = self.pods[other]
                .fills
                .iter()
                .filter(|(_, fill)| fill.from == Some(pod) && fill.done > now)
                .map(|(group, _)| *group)
                .collect();
            broken.sort_unstable();
            for group in broken {
                self.figures.broken_off += 1;
                let fill = self.fetch(group, now + STALL);
                self.pods[other].fills.insert(group, fill);
                self.at(fill.done, What::There { pod: other, group });
            }
        }
    }

    /// The cluster knows something new; each pod learns it a little later.
    fn changed(&mut self) {
        for pod in 0..self.pods.len() {
            let soon = self.now + self.random.below(LEARNED);
            self.figures.old_views += u64::from(self.pods[pod].learns_at > soon);
            self.at(self.pods[pod].learns_at.max(soon), What::Learn(pod));
        }
    }

    /// What is true when it learns it.
    fn learn(&mut self, pod: usize) {
        let now = self.now;
        if self.pods[pod].learns_at > now || self.pods[pod].is_gone {
            return;
        }
        let there = self.pods.iter().enumerate().filter(|(_, pod)| !pod.is_gone);
        let members: Vec<(usize, Candidate)> = there
            .map(|(number, pod)| {
                let zone = Some(format!("zone-{}", pod.zone));
                (number, Candidate { name: name(number), zone, is_ready: pod.is_ready })
            })
            .collect();
        let pod_that_learns = &mut self.pods[pod];
        pod_that_learns.learn(pod, &members);
        self.figures.most_members = self.figures.most_members.max(pod_that_learns.member_count());
    }
}

fn key(content: usize) -> ObjectKey {
    ObjectKey::from_stored(format!("dl.delivery.mp.microsoft.com/filestreamingservice/files/{content}"))
}
