//! Rules of a node's packet filter that go when they are dropped.

use anyhow::{Context, Result};
use connected_cache_cluster::Node;
use rand::RngExt;

use super::run;
use crate::cache_pod::CachePod;

/// One rule at the top of a chain.
#[derive(Debug)]
pub struct Rule {
    node: Node,
    table: &'static str,
    chain: &'static str,
    /// A name of its own, to find its counters by.
    name: String,
    /// Everything behind the chain's name.
    specification: Vec<String>,
}

impl Rule {
    /// Puts a rule before all others of a chain. `specification` is what iptables takes, in words.
    pub fn insert(
        node: &Node,
        table: &'static str,
        chain: &'static str,
        specification: &str,
    ) -> Result<Self> {
        let name = format!("case-{:08x}", rand::rng().random_range(0..=u32::MAX));
        let words = ["-m", "comment", "--comment", &name].into_iter().chain(specification.split_whitespace());
        let specification = words.map(str::to_owned).collect();
        let rule = Self { node: node.clone(), table, chain, name, specification };
        rule.change("-I")?;
        Ok(rule)
    }

    /// How many packets it has met.
    pub fn packets(&self) -> Result<u64> {
        let arguments = ["-w", "-t", self.table, "-L", self.chain, "-v", "-x", "-n"].map(str::to_owned);
        let listed = run(&self.node, "iptables", &arguments)?;
        let line = listed.lines().find(|line| line.contains(&self.name));
        let line = line.with_context(|| format!("the rule {} is gone from {}", self.name, self.chain))?;
        let count = line.split_whitespace().next().unwrap_or_default();
        count.parse().with_context(|| format!("no number of packets in {line:?}"))
    }

    fn change(&self, action: &str) -> Result<()> {
        let mut arguments = ["-w", "-t", self.table, action, self.chain].map(str::to_owned).to_vec();
        arguments.extend(self.specification.iter().cloned());
        run(&self.node, "iptables", &arguments).map(drop)
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        if let Err(error) = self.change("-D") {
            eprintln!("a rule can't be removed: {error:#}");
        }
    }
}

/// One packet in twenty between two pods is lost, in both directions.
#[derive(Debug)]
pub struct Loss {
    rules: [Rule; 2],
}

impl Loss {
    /// On the node of the first, which is not that of the second.
    pub fn between(node: &Node, one: &CachePod, other: &CachePod) -> Result<Self> {
        let lose = |from: &CachePod, to: &CachePod| {
            let rule = format!(
                "-s {} -d {} -m statistic --mode random --probability 0.05 -j DROP",
                from.address, to.address
            );
            Rule::insert(node, "filter", "FORWARD", &rule)
        };
        Ok(Self { rules: [lose(one, other)?, lose(other, one)?] })
    }

    /// How many packets were lost.
    pub fn packets(&self) -> Result<u64> {
        Ok(self.rules[0].packets()? + self.rules[1].packets()?)
    }
}
