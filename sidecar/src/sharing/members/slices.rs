//! From the EndpointSlices of a Service to members. What a slice lacks costs the entry that lacks it and nothing else.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use super::Member;

/// Names of the ports of the headless Service.
const SWARM: &str = "swarm";
const PEERS: &str = "peers";

/// The members that these slices name, each once, by name.
///
/// A pod may stand in several slices: one for each family of addresses, and for a moment in two of one family, as itself and
/// as the pod of the same name before it. The one that stays wins over the one that leaves, the ready one over the other, and
/// the family in which `me` stands first (by age of the slice) over the other family.
///
/// The Service publishes addresses that are not ready, so that pods find each other early, and the condition `ready` is
/// always true; `serving` says whether the pod answers.
pub fn members_of_slices<'a>(slices: impl IntoIterator<Item = &'a EndpointSlice>, me: &str) -> Vec<Member> {
    let mut slices: Vec<&EndpointSlice> = slices.into_iter().collect();
    // The order in which slices arrive means nothing, and all pods must see the same.
    slices.sort_by_key(|slice| (slice.metadata.creation_timestamp.clone(), slice.metadata.name.clone()));
    let found = || {
        slices.iter().flat_map(|slice| {
            let ports = Ports::of(slice);
            slice.endpoints.iter().filter_map(move |endpoint| ports.member(endpoint))
        })
    };
    let prefers_ipv4 = found().find(|member| member.name == me).is_none_or(|mine| mine.swarm.is_ipv4());
    let rank = |member: &Member| {
        Reverse((!member.is_leaving, member.is_ready, member.swarm.is_ipv4() == prefers_ipv4))
    };
    let mut best: BTreeMap<String, Member> = BTreeMap::new();
    for member in found() {
        match best.get(&member.name) {
            Some(other) if rank(other) <= rank(&member) => {}
            _ => {
                best.insert(member.name.clone(), member);
            }
        }
    }
    best.into_values().collect()
}

/// The ports of one slice.
#[derive(Clone, Copy)]
struct Ports {
    swarm: Option<u16>,
    peers: Option<u16>,
}

impl Ports {
    fn of(slice: &EndpointSlice) -> Self {
        let named = |name: &str| {
            let ports = slice.ports.iter().flatten();
            ports.filter(|port| port.name.as_deref() == Some(name)).find_map(number)
        };
        Self { swarm: named(SWARM), peers: named(PEERS) }
    }

    /// `None` = it can't be reached, or is no pod with a name.
    fn member(self, endpoint: &Endpoint) -> Option<Member> {
        let name = endpoint.target_ref.as_ref()?.name.clone().filter(|name| !name.is_empty())?;
        // Kubernetes allows several and asks for the first to be used; names are no addresses.
        let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        Some(Member {
            name,
            zone: endpoint.zone.clone().filter(|zone| !zone.is_empty()),
            swarm: SocketAddr::new(address, self.swarm?),
            peers: self.peers.map(|port| SocketAddr::new(address, port)),
            is_ready: conditions.serving.or(conditions.ready).unwrap_or(true),
            is_leaving: conditions.terminating.unwrap_or(false),
        })
    }
}

fn number(port: &EndpointPort) -> Option<u16> {
    let is_tcp = port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    u16::try_from(port.port?).ok().filter(|number| *number != 0 && is_tcp)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slices(values: &[Value]) -> Vec<EndpointSlice> {
        values.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect()
    }

    fn slice(name: &str, created: &str, ports: &Value, endpoints: &[Value]) -> Value {
        json!({"addressType": "IPv4", "metadata": {"name": name, "creationTimestamp": created},
            "ports": ports, "endpoints": endpoints})
    }

    fn both() -> Value {
        json!([{"name": "swarm", "port": 7680}, {"name": "peers", "port": 7681, "protocol": "TCP"}])
    }

    fn pod(name: &str, address: &str, conditions: &Value) -> Value {
        json!({"addresses": [address], "targetRef": {"kind": "Pod", "name": name}, "conditions": conditions,
            "zone": "east"})
    }

    /// Name, swarm address, whether it is ready, whether it is leaving.
    fn seen(slices: &[EndpointSlice], me: &str) -> Vec<(String, String, bool, bool)> {
        let members = members_of_slices(slices, me);
        let row =
            |member: Member| (member.name, member.swarm.to_string(), member.is_ready, member.is_leaving);
        members.into_iter().map(row).collect()
    }

    fn row(name: &str, swarm: &str, is_ready: bool, is_leaving: bool) -> (String, String, bool, bool) {
        (name.to_owned(), swarm.to_owned(), is_ready, is_leaving)
    }

    const EARLY: &str = "2026-01-01T00:00:00Z";
    const LATE: &str = "2026-01-02T00:00:00Z";

    #[test]
    fn conditions_decide_and_not_whether_an_address_is_published() {
        let cases = [
            ("a", json!({"ready": true, "serving": true, "terminating": false}), true, false),
            ("b", json!({"ready": true, "serving": false, "terminating": false}), false, false),
            ("c", json!({"ready": true, "serving": true, "terminating": true}), true, true),
            ("d", json!({"ready": false}), false, false),
            ("e", json!({}), true, false),
            ("f", Value::Null, true, false),
        ];
        let pods: Vec<Value> =
            cases.iter().map(|(name, conditions, ..)| pod(name, "10.0.0.1", conditions)).collect();
        let found = seen(&slices(&[slice("s", EARLY, &both(), &pods)]), "a");
        let expected: Vec<_> = cases
            .iter()
            .map(|(name, _, is_ready, is_leaving)| row(name, "10.0.0.1:7680", *is_ready, *is_leaving))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_member_has_zone_and_both_addresses() {
        let one = slices(&[slice("s", EARLY, &both(), &[pod("a", "fd00::1", &json!({}))])]);
        let expected = Member {
            name: "a".to_owned(),
            zone: Some("east".to_owned()),
            swarm: "[fd00::1]:7680".parse().unwrap(),
            peers: Some("[fd00::1]:7681".parse().unwrap()),
            is_ready: true,
            is_leaving: false,
        };
        assert_eq!(members_of_slices(&one, "a"), [expected]);
        let swarm = json!([{"name": "swarm", "port": 1}]);
        let without_peers = slices(&[slice("s", EARLY, &swarm, &[pod("a", "10.0.0.1", &json!({}))])]);
        assert_eq!(members_of_slices(&without_peers, "a")[0].peers, None);
    }

    #[test]
    fn of_two_families_the_one_that_names_this_pod_first_is_used_and_the_other_where_it_must_be() {
        let older = |first: &str, second: &str, of_c: &str| {
            slices(&[
                slice("z", LATE, &both(), &[pod("a", second, &json!({})), pod("c", of_c, &json!({}))]),
                slice("y", EARLY, &both(), &[pod("a", first, &json!({})), pod("b", first, &json!({}))]),
                slice("x", LATE, &both(), &[pod("b", second, &json!({}))]),
            ])
        };
        let (four, six) = ("10.0.0.1", "fd00::1");
        let rows = |of_a: &str, of_c: &str| {
            vec![row("a", of_a, true, false), row("b", of_a, true, false), row("c", of_c, true, false)]
        };
        let (at_four, at_six) = ("10.0.0.1:7680", "[fd00::1]:7680");
        assert_eq!(seen(&older(four, six, six), "a"), rows(at_four, at_six));
        assert_eq!(seen(&older(six, four, four), "a"), rows(at_six, at_four));
        // Who is not named (yet) takes IPv4.
        assert_eq!(seen(&older(six, four, six), "nobody"), rows(at_four, at_six));
    }

    #[test]
    fn the_pod_that_stays_wins_over_the_one_of_its_name_that_leaves_in_any_order() {
        let leaving = pod("a", "10.0.0.1", &json!({"serving": true, "terminating": true}));
        let starting = pod("a", "10.0.0.2", &json!({"serving": false, "terminating": false}));
        let ready = pod("a", "10.0.0.3", &json!({"serving": true}));
        for pods in [[&leaving, &starting], [&starting, &leaving]] {
            let found = slices(&[slice("s", EARLY, &both(), &pods.map(Value::clone))]);
            assert_eq!(seen(&found, "b"), [row("a", "10.0.0.2:7680", false, false)]);
        }
        for pods in [[&ready, &starting], [&starting, &ready]] {
            let found = slices(&[slice("s", EARLY, &both(), &pods.map(Value::clone))]);
            assert_eq!(seen(&found, "b"), [row("a", "10.0.0.3:7680", true, false)]);
        }
    }

    #[test]
    fn an_entry_that_lacks_something_is_left_out_alone() {
        let good = pod("good", "10.0.0.1", &json!({}));
        let odd = [
            json!({"addresses": ["10.0.0.2"]}),
            json!({"addresses": ["10.0.0.2"], "targetRef": {"kind": "Pod"}}),
            json!({"addresses": ["10.0.0.2"], "targetRef": {"kind": "Pod", "name": ""}}),
            json!({"addresses": [], "targetRef": {"kind": "Pod", "name": "b"}}),
            json!({"addresses": null, "targetRef": {"kind": "Pod", "name": "b"}}),
            json!({"addresses": ["pod.example"], "targetRef": {"kind": "Pod", "name": "b"}}),
            json!({"addresses": [""], "targetRef": {"kind": "Pod", "name": "b"}}),
            good.clone(),
        ];
        let ports = [
            Value::Null,
            json!([]),
            json!([{"port": 7680}]),
            json!([{"name": "swarm"}]),
            json!([{"name": "swarm", "port": 0}]),
            json!([{"name": "swarm", "port": -1}]),
            json!([{"name": "swarm", "port": 65536}]),
            json!([{"name": "swarm", "port": 7680, "protocol": "UDP"}]),
        ];
        let mut all: Vec<Value> =
            ports.iter().map(|ports| slice("p", EARLY, ports, std::slice::from_ref(&good))).collect();
        assert_eq!(seen(&slices(&all), "good"), []);
        all.push(slice("s", EARLY, &both(), &odd));
        all.push(json!({"addressType": "FQDN", "metadata": {}, "endpoints": null}));
        assert_eq!(seen(&slices(&all), "good"), [row("good", "10.0.0.1:7680", true, false)]);
    }
}
