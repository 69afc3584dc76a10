//! `X-Forwarded-For`: for whom an origin is asked, as far as `upstream.forwardedFor` tells. Some proxies block requests that have
//! it, and it discloses clients, so there is none unless it is wanted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use connected_cache_config::ClientAddress;
use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Addresses that are passed on, the nearest ones.
const MOST_ADDRESSES: usize = 8;

/// The field for a request that came from this client with these headers; `None` = there is none. What is no address in the
/// client's own field is left out: it could hold anything.
pub(super) fn forwarded_for(
    headers: &HeaderMap,
    client: Option<IpAddr>,
    how: ClientAddress,
) -> Option<HeaderValue> {
    if how == ClientAddress::None {
        return None;
    }
    let lines = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let named = lines.flat_map(|line| line.split(',')).filter_map(address_of);
    let addresses: Vec<String> = named.chain(client).map(|address| told(address, how).to_string()).collect();
    let nearest = addresses.len().saturating_sub(MOST_ADDRESSES);
    HeaderValue::try_from(addresses[nearest..].join(", ")).ok().filter(|value| !value.is_empty())
}

/// Some write a port behind the address, and brackets around one of IPv6.
fn address_of(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// The address, or the first one of its network.
fn told(address: IpAddr, how: ClientAddress) -> IpAddr {
    match (how, address.to_canonical()) {
        (ClientAddress::Truncated, IpAddr::V4(address)) => {
            let [first, second, third, _] = address.octets();
            IpAddr::from([first, second, third, 0])
        }
        (ClientAddress::Truncated, IpAddr::V6(address)) => {
            let [first, second, third, ..] = address.segments();
            Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0).into()
        }
        (ClientAddress::Full | ClientAddress::None, address) => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(own: &[&str], client: &str, how: ClientAddress) -> Option<String> {
        let own = own.iter().map(|value| (X_FORWARDED_FOR, HeaderValue::from_str(value).unwrap()));
        let field = forwarded_for(&own.collect(), client.parse().ok(), how);
        field.map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_client_is_told_behind_those_that_it_names() {
        let own = ["203.0.113.77, unknown, [2001:db8:1:2::3]:443", " 198.51.100.9:5000,[2001:db8::9]"];
        let client = "::ffff:10.1.2.3";
        assert_eq!(
            field(&own, client, ClientAddress::Full).as_deref(),
            Some("203.0.113.77, 2001:db8:1:2::3, 198.51.100.9, 2001:db8::9, 10.1.2.3")
        );
        assert_eq!(
            field(&own, client, ClientAddress::Truncated).as_deref(),
            Some("203.0.113.0, 2001:db8:1::, 198.51.100.0, 2001:db8::, 10.1.2.0")
        );
        assert_eq!(field(&own, client, ClientAddress::None), None);
        assert_eq!(field(&["x"], "nobody", ClientAddress::Full), None);
    }

    #[test]
    fn the_nearest_eight_are_told() {
        let many = (1..=9).map(|last| format!("192.0.2.{last}")).collect::<Vec<_>>().join(",");
        let told = field(&[&many], "10.0.0.1", ClientAddress::Full).unwrap();
        assert!(told.starts_with("192.0.2.3, ") && told.ends_with("192.0.2.9, 10.0.0.1"), "{told}");
    }

    proptest! {
        #[test]
        fn nothing_but_addresses_is_passed_on(own in "[ -~]{0,60}") {
            let told = field(&[&own], "10.0.0.1", ClientAddress::Full).unwrap();
            prop_assert!(told.split(", ").all(|address| address.parse::<IpAddr>().is_ok()), "{}", told);
        }
    }
}
