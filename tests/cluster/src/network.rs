//! Namespaces, links, routes: one namespace is the wire (a bridge), one is each node, and one link leads to the host.
//!
//! All addresses live in namespaces made here, apart from the host's end of that one link and the routes through it. Nodes
//! have no default route: whatever is not of the cluster is unreachable at once, and nothing ever leaves the machine.

use std::{fmt::Write, net::Ipv4Addr, path::PathBuf};

use serde::Deserialize;

use crate::{
    command,
    error::{Error, Result},
};

/// The namespace that holds the bridge.
pub(crate) const FABRIC: &str = "cc-fabric";
/// Every namespace of a cluster begins so.
pub(crate) const NAMESPACE_PREFIX: &str = "cc-";
/// The host's end of its link.
pub(crate) const HOST_LINK: &str = "cc-host0";
/// Addresses of Services.
pub(crate) const SERVICE_SUBNET: &str = "10.96.0.0/16";
/// The API server's Service.
pub(crate) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The Service of cluster DNS.
pub(crate) const DNS_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// Addresses of all pods; node i has the i-th /24.
pub(crate) const POD_SUBNET: &str = "10.244.0.0/16";
/// Where `ip netns` keeps the names.
pub(crate) const NAMESPACE_FOLDER: &str = "/run/netns";
/// More nodes than this have no address.
pub(crate) const MOST_NODES: usize = 100;

/// The addresses of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) nodes: usize,
    /// First three numbers of the nodes' /24.
    pub(crate) prefix: String,
}

impl Layout {
    /// The address through which nodes and pods reach the host.
    pub(crate) fn host_address(&self) -> String {
        format!("{}.1", self.prefix)
    }

    pub(crate) fn node_address(&self, index: usize) -> String {
        format!("{}.{}", self.prefix, 10 + index)
    }

    pub(crate) fn node_address_number(&self, index: usize) -> Option<Ipv4Addr> {
        self.node_address(index).parse().ok()
    }

    /// Makes namespaces, links, addresses, routes and the settings of each namespace.
    pub(crate) fn create(&self) -> Result<()> {
        self.check_free()?;
        let batch = |namespace: Option<&str>, lines: &str| {
            let mut arguments = namespace.map_or_else(Vec::new, |name| vec!["-n", name]);
            arguments.extend(["-batch", "-"]);
            command::run_with_input("ip", &arguments, lines)
        };
        batch(None, &self.namespaces())?;
        for index in 0..self.nodes {
            batch(Some(&namespace_name(index)), &self.node_links(index))?;
        }
        batch(None, &self.host_links())?;
        batch(Some(FABRIC), &self.fabric_links())?;
        for index in 0..self.nodes {
            batch(Some(&namespace_name(index)), &self.node_routes(index))?;
            settings(index)?;
        }
        batch(None, &self.host_routes()).map(drop)
    }

    /// Refuses when the host has a route into one of our subnets.
    fn check_free(&self) -> Result<()> {
        let text = command::run("ip", ["-4", "-json", "route", "show", "table", "all"])?;
        let routes: Vec<Route> = serde_json::from_str(&text).unwrap_or_default();
        let ours = [format!("{}.0/24", self.prefix), POD_SUBNET.to_owned(), SERVICE_SUBNET.to_owned()];
        for subnet in &ours {
            if let Some(route) = routes.iter().find(|route| lies_within(&route.dst, subnet)) {
                return Err(Error::Unsuitable {
                    problem: format!(
                        "this host has a route to {} by {}, inside {subnet} which the cluster uses",
                        route.dst,
                        route.dev.as_deref().unwrap_or("no device")
                    ),
                    advice: "remove that network while the cluster is up".to_owned(),
                });
            }
        }
        Ok(())
    }

    fn namespaces(&self) -> String {
        let mut lines = format!("netns add {FABRIC}\n");
        for index in 0..self.nodes {
            let _ = writeln!(lines, "netns add {}", namespace_name(index));
        }
        lines
    }

    fn host_links(&self) -> String {
        format!(
            "link add {HOST_LINK} type veth peer name host0 netns {FABRIC}
addr add {}/24 dev {HOST_LINK}
link set {HOST_LINK} up
",
            self.host_address()
        )
    }

    fn node_links(&self, index: usize) -> String {
        format!(
            "link set lo up
link add eth0 type veth peer name {} netns {FABRIC}
addr add {}/24 dev eth0
link set eth0 up
",
            fabric_port(index),
            self.node_address(index)
        )
    }

    fn fabric_links(&self) -> String {
        let mut lines = "link set lo up\nlink add br0 type bridge\nlink set br0 up\n".to_owned();
        for port in std::iter::once("host0".to_owned()).chain((0..self.nodes).map(fabric_port)) {
            let _ = writeln!(lines, "link set {port} master br0\nlink set {port} up");
        }
        lines
    }

    fn node_routes(&self, index: usize) -> String {
        // Services are translated before a packet leaves, but the kernel wants a route before it translates.
        let mut lines = format!("route add {SERVICE_SUBNET} dev eth0\n");
        for other in (0..self.nodes).filter(|other| *other != index) {
            let _ = writeln!(lines, "route add {} via {}", pod_subnet(other), self.node_address(other));
        }
        lines
    }

    fn host_routes(&self) -> String {
        let mut lines = format!("route add {SERVICE_SUBNET} via {}\n", self.node_address(0));
        for index in 0..self.nodes {
            let _ = writeln!(lines, "route add {} via {}", pod_subnet(index), self.node_address(index));
        }
        lines
    }
}

/// The network namespace of a node.
pub(crate) fn namespace_name(index: usize) -> String {
    format!("{NAMESPACE_PREFIX}node{index}")
}

pub(crate) fn namespace_path(index: usize) -> PathBuf {
    PathBuf::from(NAMESPACE_FOLDER).join(namespace_name(index))
}

/// The bridge's end of a node's link.
pub(crate) fn fabric_port(index: usize) -> String {
    format!("node{index}")
}

pub(crate) fn pod_subnet(index: usize) -> String {
    format!("10.244.{index}.0/24")
}

/// Forwarding, and Services also for pods that share a bridge.
fn settings(index: usize) -> Result<()> {
    if !std::path::Path::new("/proc/sys/net/bridge").exists() {
        command::run("modprobe", ["br_netfilter"]).map_err(|error| Error::Unsuitable {
            problem: format!("the kernel has no bridge netfilter ({error})"),
            advice: "load the kernel module br_netfilter".to_owned(),
        })?;
    }
    let script =
        "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables";
    let namespace = format!("--net={}", namespace_path(index).display());
    command::run("nsenter", [namespace.as_str(), "sh", "-c", script]).map(drop)
}

#[derive(Debug, Deserialize)]
struct Route {
    dst: String,
    dev: Option<String>,
}

/// Whether `inner` (an address or a subnet) is a part of `outer`, or the same.
fn lies_within(inner: &str, outer: &str) -> bool {
    let parse = |text: &str| -> Option<(u32, u32)> {
        let (address, length) = text.split_once('/').unwrap_or((text, "32"));
        Some((address.parse::<Ipv4Addr>().ok()?.into(), length.parse().ok().filter(|length| *length <= 32)?))
    };
    let (Some((inner, inner_length)), Some((outer, outer_length))) = (parse(inner), parse(outer)) else {
        return false;
    };
    let mask = u32::MAX.checked_shl(32 - outer_length).unwrap_or(0);
    inner_length >= outer_length && inner & mask == outer & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout { nodes: 3, prefix: "10.1.2".to_owned() }
    }

    #[test]
    fn a_node_reaches_the_pods_of_the_others_and_not_its_own_by_a_gateway() {
        let routes = layout().node_routes(1);
        assert!(routes.contains("10.244.0.0/24 via 10.1.2.10"), "{routes}");
        assert!(routes.contains("10.244.2.0/24 via 10.1.2.12"), "{routes}");
        assert!(!routes.contains("10.244.1.0/24"), "{routes}");
        assert!(!routes.contains("default"), "{routes}");
    }

    #[test]
    fn the_host_reaches_services_by_the_first_node() {
        assert!(layout().host_routes().contains("10.96.0.0/16 via 10.1.2.10"));
    }

    #[test]
    fn link_names_fit_the_kernel() {
        for name in [HOST_LINK.to_owned(), fabric_port(MOST_NODES - 1)] {
            assert!(name.len() <= 15, "{name}");
        }
    }

    #[test]
    fn only_routes_inside_a_subnet_are_in_the_way() {
        assert!(lies_within("10.96.1.0/24", "10.96.0.0/16"));
        assert!(lies_within("10.96.0.0/16", "10.96.0.0/16"));
        assert!(lies_within("10.96.3.4", "10.96.0.0/16"));
        assert!(!lies_within("10.0.0.0/8", "10.96.0.0/16"));
        assert!(!lies_within("default", "10.96.0.0/16"));
        assert!(!lies_within("10.97.0.0/24", "10.96.0.0/16"));
    }
}
