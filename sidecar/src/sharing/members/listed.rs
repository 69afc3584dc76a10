//! Members of the configuration. Their addresses may be names, which are resolved again every now and then, and soon when
//! somebody doubts them.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use connected_cache_config as config;
use futures::{StreamExt, stream};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{Member, Publisher};

/// How long a resolved name is believed.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// However often they are doubted, names are not resolved more often.
const RESOLVE_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// How long one name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Names that are resolved at once.
const RESOLVED_AT_ONCE: usize = 16;

#[derive(Debug)]
pub(super) struct Listed {
    entries: Vec<config::Member>,
    doubt: Arc<Notify>,
}

impl Listed {
    pub(super) const fn new(entries: Vec<config::Member>, doubt: Arc<Notify>) -> Self {
        Self { entries, doubt }
    }

    /// Those whose addresses need no resolving.
    pub(super) fn literal(&self) -> Vec<Member> {
        let known = HashMap::new();
        self.entries.iter().filter_map(|entry| member(entry, &known)).collect()
    }

    pub(super) async fn run(self, publisher: &Publisher) {
        let names = self.names();
        if names.is_empty() {
            return std::future::pending().await;
        }
        let mut known = HashMap::new();
        loop {
            resolve(&names, &mut known).await;
            publisher.publish(self.entries.iter().filter_map(|entry| member(entry, &known)).collect());
            sleep(RESOLVE_AT_MOST_EVERY).await;
            // A name that leads nowhere yet, as at the start of all pods at once, is tried again at once.
            if names.iter().all(|name| known.contains_key(*name)) {
                let _ = timeout(RESOLVE_EVERY, self.doubt.notified()).await;
            }
        }
    }

    /// Addresses that have to be resolved.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .entries
            .iter()
            .flat_map(|entry| [Some(entry.swarm.as_str()), entry.peers.as_deref()])
            .flatten()
            .filter(|address| address.parse::<SocketAddr>().is_err())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Asks for all names at once. One that can't be resolved stays what it was.
async fn resolve(names: &[&str], known: &mut HashMap<String, SocketAddr>) {
    let look_up = |name: String| async move {
        let found = timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(&name)).await;
        let addresses =
            found.map_or_else(|_| Vec::new(), |found| found.map_or_else(|_| Vec::new(), Iterator::collect));
        (name, addresses)
    };
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut answers = stream::iter(names.into_iter().map(look_up)).buffer_unordered(RESOLVED_AT_ONCE);
    while let Some((name, addresses)) = answers.next().await {
        let Some(first) = addresses.first() else {
            tracing::debug!(
                name,
                "unable to resolve the name of a member, check sharing.members and the DNS"
            );
            continue;
        };
        // Servers turn the order of addresses; one that is still there is not left.
        let present = known.get(&name).filter(|present| addresses.contains(present));
        let chosen = *present.unwrap_or(first);
        known.insert(name, chosen);
    }
}

/// `None` = an address that it needs is not known.
fn member(entry: &config::Member, known: &HashMap<String, SocketAddr>) -> Option<Member> {
    let address = |text: &str| text.parse().ok().or_else(|| known.get(text).copied());
    let peers = match &entry.peers {
        Some(peers) => Some(address(peers)?),
        None => None,
    };
    Some(Member {
        name: entry.name.clone(),
        zone: entry.zone.clone(),
        swarm: address(&entry.swarm)?,
        peers,
        is_ready: true,
        is_leaving: false,
    })
}
