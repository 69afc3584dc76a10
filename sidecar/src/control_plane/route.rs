//! The addresses that we have towards the outside. Nothing is sent to find them: connecting a UDP socket only asks the kernel
//! for a route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses of the documentation (RFC 5737, RFC 3849), so the default route leads there.
const FAR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 443);
const FAR_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 443);
/// The kernel's table of routes for IPv4.
const ROUTES: &str = "/proc/net/route";

/// Where packets to the outside come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Loopback where there is no way out.
    pub(super) address: IpAddr,
    /// Of the network that the IPv4 address lies in; `None` = not known.
    pub(super) mask: Option<Ipv4Addr>,
    pub(super) ipv6: Option<Ipv6Addr>,
}

impl Route {
    /// As it is now.
    pub(super) fn find() -> Self {
        let address = Self::address();
        let ipv6 = match towards(FAR_V6) {
            Some(IpAddr::V6(address)) => Some(address),
            _ => None,
        };
        let mask = match address {
            IpAddr::V4(address) => {
                std::fs::read_to_string(ROUTES).ok().and_then(|routes| mask_in(&routes, address))
            }
            IpAddr::V6(_) => None,
        };
        Self { address, mask, ipv6 }
    }

    /// The address alone.
    pub(super) fn address() -> IpAddr {
        towards(FAR).or_else(|| towards(FAR_V6)).unwrap_or(Ipv4Addr::LOCALHOST.into())
    }

    /// The mask, if it is the one of this address.
    pub(super) fn mask_of(&self, address: IpAddr) -> Option<Ipv4Addr> {
        self.mask.filter(|_| address == self.address)
    }
}

fn towards(far: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if far.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(far).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_unspecified())
}

/// The mask of the smallest directly connected network that holds the address. Numbers of the table are in hexadecimal, their
/// bytes in the order of the machine's memory.
fn mask_in(routes: &str, address: Ipv4Addr) -> Option<Ipv4Addr> {
    let number = |text: &str| {
        u32::from_str_radix(text, 16).ok().map(|number| u32::from_be_bytes(number.to_ne_bytes()))
    };
    let connected = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (network, gateway, mask) =
            (number(fields.get(1)?)?, number(fields.get(2)?)?, number(fields.get(7)?)?);
        (gateway == 0 && mask != 0 && address.to_bits() & mask == network).then_some(mask)
    });
    connected.max().map(Ipv4Addr::from_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn the_mask_is_that_of_the_network_that_holds_the_address() {
        // As proc(5) shows it: default by 192.168.1.1, then 192.168.1.0/24 and 172.16.0.0/12 without a gateway.
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                      eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                      eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                      eth1\t000010AC\t00000000\t0001\t0\t0\t0\t0000F0FF\t0\t0\t0\n";
        let mask = |address: &str| mask_in(routes, address.parse().unwrap()).map(|mask| mask.to_string());
        assert_eq!(mask("192.168.1.8").as_deref(), Some("255.255.255.0"));
        assert_eq!(mask("172.31.0.1").as_deref(), Some("255.240.0.0"));
        assert_eq!(mask("10.0.0.1"), None);
        assert_eq!(mask_in("broken\nlines x\n", Ipv4Addr::LOCALHOST), None);
    }

    #[test]
    fn a_route_always_has_an_address() {
        let route = Route::find();
        assert!(!route.address.is_unspecified());
        assert_eq!(route.address, Route::address());
    }
}
