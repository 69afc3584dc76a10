//! Which addresses are those of the pods of this cache. Whoever knows the members keeps it up to date.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use parking_lot::RwLock;

/// Where a member runs, seen from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Zone {
    Same,
    Other,
    #[default]
    Unknown,
}

/// A pod of this cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SwarmMember {
    pub(crate) name: Arc<str>,
    /// Its swarm listener.
    pub(crate) address: SocketAddr,
    pub(crate) zone: Zone,
}

/// What an address says about who comes from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberStanding {
    /// `None` = several members have this address.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) zone: Zone,
}

/// The members by address.
#[derive(Debug, Default)]
pub(crate) struct Members(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Where they come from.
    addresses: HashMap<IpAddr, MemberStanding>,
    /// Where they listen.
    listeners: HashMap<SocketAddr, MemberStanding>,
}

impl Members {
    /// These are all from now on. Connections that are open stay what they were.
    pub(crate) fn replace(&self, members: impl IntoIterator<Item = SwarmMember>) {
        let mut known = Known::default();
        for member in members {
            let address = member.address.ip().to_canonical();
            let standing = MemberStanding { name: Some(member.name), zone: member.zone };
            known.listeners.insert(SocketAddr::new(address, member.address.port()), standing.clone());
            known
                .addresses
                .entry(address)
                .and_modify(|other| {
                    other.name = None;
                    if other.zone != standing.zone {
                        other.zone = Zone::Unknown;
                    }
                })
                .or_insert(standing);
        }
        *self.0.write() = known;
    }

    /// `None` = no member has this address.
    pub(super) fn at(&self, address: IpAddr) -> Option<MemberStanding> {
        self.0.read().addresses.get(&address.to_canonical()).cloned()
    }

    /// The member that listens there; `None` = none is known to.
    pub(super) fn listening_at(&self, listener: SocketAddr) -> Option<MemberStanding> {
        let listener = SocketAddr::new(listener.ip().to_canonical(), listener.port());
        self.0.read().listeners.get(&listener).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, address: &str, zone: Zone) -> SwarmMember {
        SwarmMember { name: name.into(), address: address.parse().unwrap(), zone }
    }

    #[test]
    fn an_address_that_several_members_have_names_none_of_them() {
        let members = Members::default();
        members.replace([
            member("a", "192.0.2.1:7680", Zone::Same),
            member("b", "192.0.2.2:7680", Zone::Other),
            member("c", "192.0.2.2:7681", Zone::Same),
        ]);
        let at = |address: &str| members.at(address.parse().unwrap());
        let alone = Some(MemberStanding { name: Some("a".into()), zone: Zone::Same });
        assert_eq!(at("192.0.2.1"), alone);
        assert_eq!(at("::ffff:192.0.2.1"), alone, "a listener of both families sees it so");
        assert_eq!(at("192.0.2.2"), Some(MemberStanding { name: None, zone: Zone::Unknown }));
        assert_eq!(at("192.0.2.3"), None);
        let listening = members.listening_at("192.0.2.2:7681".parse().unwrap());
        assert_eq!(listening, Some(MemberStanding { name: Some("c".into()), zone: Zone::Same }));
        assert_eq!(members.listening_at("192.0.2.2:7682".parse().unwrap()), None);
        members.replace([]);
        assert_eq!(at("192.0.2.1"), None);
    }
}
