//! From the members of a cache to whom a pod asks for a group of pieces.
//!
//! With zones there are two steps: a pod asks the home of its own zone, and that one asks the home of all, so that each zone gets its
//! bytes once over what lies between the zones. Nobody forwards more than that, whatever the pods believe of each other: who
//! is asked as [`Role::Home`] asks the origin itself.

use std::cmp::Reverse;

use super::{GroupHash, MemberHash};

/// A member as the placement needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name, the same at every pod.
    pub name: String,
    /// Where it runs, if that is known.
    pub zone: Option<String>,
    /// Whether it can be a home: it is ready and not about to leave.
    pub is_ready: bool,
}

/// As what a member is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// As the home of the group: what it has not got, it fetches from the origin.
    Home,
    /// As the home of the zone: what it has not got, it asks the home of all for.
    ZoneHome,
}

/// Whom a pod asks for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// The member with this index, in this role.
    Member(usize, Role),
    /// The origin: the pod is the home itself, or there is nobody else.
    Origin,
}

/// The members as one pod sees them.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    members: Vec<Placed>,
    /// Index of the pod itself, if it is among them.
    me: Option<usize>,
    /// Whether our zone is known and others are in another one.
    has_zones: bool,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    hash: MemberHash,
    is_in_my_zone: bool,
    is_ready: bool,
}

impl Placement {
    /// A pod always counts itself as ready: it can fetch for itself whatever others think of it.
    #[must_use]
    pub fn new(me: &str, candidates: &[Candidate]) -> Self {
        let my_index = candidates.iter().position(|candidate| candidate.name == me);
        let my_zone = my_index.and_then(|index| candidates[index].zone.as_deref());
        let placed = |(index, candidate): (usize, &Candidate)| Placed {
            hash: MemberHash::of(&candidate.name),
            is_in_my_zone: my_zone.is_some() && candidate.zone.as_deref() == my_zone,
            is_ready: candidate.is_ready || Some(index) == my_index,
        };
        let members: Vec<Placed> = candidates.iter().enumerate().map(placed).collect();
        let has_zones = my_zone.is_some() && members.iter().any(|member| !member.is_in_my_zone);
        Self { members, me: my_index, has_zones }
    }

    /// Whom to ask for a group. `asked_as` = in which role this pod was asked by another; `None` = by a client.
    /// `is_left_alone` = members that failed a moment ago: the next one in rank is the home meanwhile.
    #[must_use]
    pub fn route(
        &self,
        group: GroupHash,
        asked_as: Option<Role>,
        is_left_alone: impl Fn(usize) -> bool,
    ) -> Route {
        let Some(me) = self.me.filter(|_| asked_as != Some(Role::Home)) else { return Route::Origin };
        let usable =
            |index: &usize| *index == me || (self.members[*index].is_ready && !is_left_alone(*index));
        let heaviest = |index: &usize| self.weight(*index, group);
        let Some(home) = (0..self.members.len()).filter(usable).max_by_key(heaviest) else {
            return Route::Origin;
        };
        if home == me {
            return Route::Origin;
        }
        if asked_as.is_none() && self.has_zones && !self.members[home].is_in_my_zone {
            let zone_home = (0..self.members.len())
                .filter(|index| self.members[*index].is_in_my_zone)
                .filter(usable)
                .max_by_key(heaviest);
            if let Some(zone_home) = zone_home.filter(|zone_home| *zone_home != me) {
                return Route::Member(zone_home, Role::ZoneHome);
            }
        }
        Route::Member(home, Role::Home)
    }

    /// The other members that are there, by their rank for a group. The first ones may have been its home before the members changed,
    /// and become it when the home leaves.
    #[must_use]
    pub fn ranked(&self, group: GroupHash) -> Vec<usize> {
        let others = (0..self.members.len()).filter(|index| Some(*index) != self.me);
        let mut ranked: Vec<usize> = others.filter(|index| self.members[*index].is_ready).collect();
        ranked.sort_by_key(|index| Reverse(self.weight(*index, group)));
        ranked
    }

    /// Whether the member runs in our zone; `None` = there are no zones to tell.
    #[must_use]
    pub fn is_in_my_zone(&self, index: usize) -> Option<bool> {
        self.members.get(index).filter(|_| self.has_zones).map(|member| member.is_in_my_zone)
    }

    /// Weights can be equal only of members of one name; the index decides then.
    fn weight(&self, index: usize, group: GroupHash) -> (u64, Reverse<usize>) {
        (self.members[index].hash.weight(group), Reverse(index))
    }
}

#[cfg(test)]
mod tests;
