//! The pods of a cache as one cache: who they are, whom of them to ask, and what they are given.
//!
//! A pod that misses pieces asks their home over the peer API, an HTTP/2 connection with certificates on both sides. The home fetches
//! what it has not got, and says of each piece when it is whole and checked, and its SHA-256. The bytes come by the swarm
//! protocol and are used once they were found to have that SHA-256. Whatever fails, the origin is asked: sharing saves bytes of the
//! internet link and is never in the way of one.

pub(crate) mod answer;
pub(crate) mod handover;
pub(crate) mod link;
pub(crate) mod listener;
pub mod members;
pub(crate) mod message;
pub(crate) mod offers;
pub(crate) mod scaled_away;
pub(crate) mod shelf;
pub(crate) mod sockets;
pub(crate) mod standing;
pub(crate) mod start;
pub(crate) mod status;

use std::{sync::Arc, time::Duration};

use connected_cache_core::{Candidate, GroupHash, Placement, Role, Route};
use parking_lot::Mutex;

use link::Link;
use members::{Member, Members, View};
use offers::Offers;
use standing::Standing;

/// Other pods that are asked whether they have a piece before its home asks the origin: those that were its home before a pod came.
const HOLDERS: usize = 2;

/// The pods of a cache.
#[derive(Debug)]
pub(crate) struct Sharing {
    members: Members,
    pub(crate) standing: Standing,
    pub(crate) offers: Arc<Offers>,
    pub(crate) link: Arc<dyn Link>,
    pub(crate) patience: Patience,
    /// The placement of the view with this generation.
    placed: Mutex<Option<(Arc<View>, Arc<Placement>)>>,
}

/// How long other pods are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without a sign of life (`sharing.homeDeadlineMilliseconds`).
    pub(crate) sign: Duration,
    /// Without progress (`swarm.peerStallMilliseconds`), and until the origin is asked as well.
    pub(crate) progress: Duration,
}

/// Whom to ask.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// This member, in this role; if it fails, the origin.
    Member(Member, Role),
    /// This pod is to ask the origin, unless one of these has what is missing.
    Holders(Vec<Member>),
}

impl Sharing {
    pub(crate) fn new(
        members: Members,
        link: Arc<dyn Link>,
        offers: Arc<Offers>,
        patience: Patience,
    ) -> Self {
        Self { members, standing: Standing::default(), offers, link, patience, placed: Mutex::default() }
    }

    /// Whom to ask for a group of pieces. `asked_as` = in which role this pod was asked itself.
    pub(crate) fn way(&self, group: GroupHash, asked_as: Option<Role>) -> Way {
        let (view, placement) = self.placement();
        let is_left_alone = |index: usize| {
            let member = &view.members[index];
            member.peers.is_none() || self.standing.is_left_alone(&member.name)
        };
        if let Route::Member(index, role) = placement.route(group, asked_as, is_left_alone) {
            return Way::Member(view.members[index].clone(), role);
        }
        let ranked = placement.ranked(group).into_iter().filter(|index| !is_left_alone(*index));
        Way::Holders(ranked.take(HOLDERS).map(|index| view.members[index].clone()).collect())
    }

    /// Whether this pod is the home of a group.
    pub(crate) fn is_home(&self, group: GroupHash) -> bool {
        self.placement().1.route(group, None, |_| false) == Route::Origin
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.members.view()
    }

    fn placement(&self) -> (Arc<View>, Arc<Placement>) {
        let view = self.members.view();
        let mut placed = self.placed.lock();
        if let Some((of, placement)) = placed.as_ref().filter(|(of, _)| Arc::ptr_eq(of, &view)) {
            return (of.clone(), placement.clone());
        }
        let candidates: Vec<Candidate> = view
            .members
            .iter()
            .map(|member| Candidate {
                name: member.name.clone(),
                zone: member.zone.clone(),
                is_ready: member.is_ready && !member.is_leaving,
            })
            .collect();
        let placement = Arc::new(Placement::new(&view.me, &candidates));
        *placed = Some((view.clone(), placement.clone()));
        (view, placement)
    }
}
