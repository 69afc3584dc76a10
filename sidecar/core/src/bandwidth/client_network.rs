//! Whom a cap per client counts as one.

use std::net::{IpAddr, Ipv6Addr};

/// One client: an IPv4 address, or a /64 network of IPv6, inside which a machine takes as many addresses as it likes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientNetwork(IpAddr);

impl ClientNetwork {
    /// The one that an address belongs to. IPv4 written as IPv6 is IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Addresses of clients are for no log.
impl std::fmt::Debug for ClientNetwork {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ClientNetwork")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(left: &str, right: &str) -> bool {
        let of = |text: &str| ClientNetwork::of(text.parse().unwrap());
        of(left) == of(right)
    }

    #[test]
    fn an_ipv4_address_is_one_client_however_it_is_written() {
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(!same("::ffff:192.0.2.1", "::ffff:192.0.2.2"));
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_client() {
        assert!(same("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert!(!same("2001:db8:0:1::1", "2001:db8:0:2::1"));
        assert!(!same("2001:db8:0:1::1", "2001:db9:0:1::1"));
    }
}
