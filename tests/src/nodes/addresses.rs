//! Addresses of a node that look like those of many machines.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use connected_cache_cluster::Node;

use super::run;

/// The last numbers of the addresses: the network of a node's pods, whose addresses are given out from the lowest on, ends with
/// these.
const LAST: std::ops::RangeInclusive<u8> = 205..=254;

/// Fifty addresses out of those of the node's pods; they go when this is dropped.
#[derive(Debug)]
pub struct Addresses {
    node: Node,
    list: Vec<IpAddr>,
}

impl Addresses {
    /// Gives them to a node.
    pub fn add(node: &Node) -> Result<Self> {
        let third = u8::try_from(node.index()).context("a node without a network of its pods")?;
        let list = LAST.map(|last| Ipv4Addr::new(10, 244, third, last).into()).collect();
        let addresses = Self { node: node.clone(), list };
        for address in &addresses.list {
            addresses.change("add", *address)?;
        }
        Ok(addresses)
    }

    /// Which they are.
    #[must_use]
    pub fn list(&self) -> &[IpAddr] {
        &self.list
    }

    fn change(&self, action: &str, address: IpAddr) -> Result<()> {
        let words = [
            "addr".to_owned(),
            action.to_owned(),
            format!("{address}/32"),
            "dev".to_owned(),
            "eth0".to_owned(),
        ];
        run(&self.node, "ip", &words).map(drop)
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        for address in &self.list {
            if let Err(error) = self.change("del", *address) {
                eprintln!("an address can't be removed: {error:#}");
            }
        }
    }
}
