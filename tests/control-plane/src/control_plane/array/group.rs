//! Who may meet whom: peers of the same download mode behind one address, in one group, or anywhere.

use std::net::{IpAddr, Ipv4Addr};

use super::join::Join;
use crate::config::Restriction;

/// What the members of a peer group have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PeerGroup {
    /// Scope 1: one external address.
    Lan(IpAddr),
    /// Scope 2: one group id, in lower case and without braces.
    Group(String),
    /// Scope 3: nothing.
    Internet,
}

impl PeerGroup {
    /// `Type` of the peers of this group.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Lan(_) => "Lan",
            Self::Group(_) => "Group",
            Self::Internet => "Internet",
        }
    }
}

impl std::fmt::Display for PeerGroup {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lan(external) => write!(formatter, "Lan {external}"),
            Self::Group(id) => write!(formatter, "Group {id}"),
            Self::Internet => formatter.write_str("Internet"),
        }
    }
}

/// Whether the restriction lets the two meet. A mask is a notion of IPv4; without one, nobody is near.
pub(super) fn same_network(restriction: Restriction, caller: &Join, other: &Join) -> bool {
    match restriction {
        Restriction::None => true,
        Restriction::Subnet => match (caller.reported_ip, other.reported_ip, caller.subnet_mask) {
            (IpAddr::V4(caller), IpAddr::V4(other), Some(mask)) => {
                masked(caller, mask) == masked(other, mask)
            }
            _ => false,
        },
    }
}

fn masked(address: Ipv4Addr, mask: Ipv4Addr) -> u32 {
    address.to_bits() & mask.to_bits()
}
