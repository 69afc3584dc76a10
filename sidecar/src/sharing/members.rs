//! Who the other pods of this cache are: a list of the configuration, or the EndpointSlices of the cache's headless Service.
//!
//! A [`View`] is what is known at one moment; [`Members`] gives the present one and tells when it changes. A view never gets
//! worse because its source fails: without an API server or a DNS server the last one stays, and a pod starts and serves
//! without any.
//!
//! Every pod must see the same members, because they decide which pod is the home of a piece: the list is ordered by name
//! and the same pods are left out everywhere beyond [`MOST_MEMBERS`].

mod listed;
mod slices;
mod watched;

use std::{net::SocketAddr, sync::Arc};

use connected_cache_config::{Config, SharingMode};
use tokio::sync::{Notify, watch};

use crate::{metrics::Counters, settings};

pub use slices::members_of_slices;
pub use watched::ClientSource;
pub(crate) use watched::WatchError;

/// Most members that are used; of more, the first by name.
pub const MOST_MEMBERS: usize = 1000;

/// One pod of this cache.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its `node.name`, in its certificate a DNS name.
    pub name: String,
    /// Where it runs; `None` = no zone.
    pub zone: Option<String>,
    /// Its swarm listener.
    pub swarm: SocketAddr,
    /// Its mTLS listener; `None` = it has none.
    pub peers: Option<SocketAddr>,
    /// It answers requests.
    pub is_ready: bool,
    /// It is about to end: it may be asked for what it has, and is the home of nothing.
    pub is_leaving: bool,
}

/// The members at one moment, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Name of this pod.
    pub me: String,
    /// Every member once, ourselves included where the source names us, in the order of their names.
    pub members: Vec<Member>,
    /// Counts the changes since the start.
    pub generation: u64,
}

impl View {
    /// The member with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Member> {
        let found = self.members.binary_search_by(|member| member.name.as_str().cmp(name));
        found.ok().and_then(|index| self.members.get(index))
    }

    /// Ourselves; `None` = the source does not name us (yet).
    #[must_use]
    pub fn mine(&self) -> Option<&Member> {
        self.named(&self.me)
    }

    /// All but ourselves.
    pub fn others(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.name != self.me)
    }
}

/// Why there are no members to begin with.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// The list is not about this pod.
    #[error("sharing.members has no entry for this pod: add one with the name `{name}`, or set node.name")]
    NotListed {
        /// The name of this pod.
        name: String,
    },
    /// The Service can't be looked for.
    #[error("sharing.service `{service}` is not namespace/name of a Service")]
    Service {
        /// What stands there.
        service: String,
    },
}

/// The present members. Clones see the same.
#[derive(Clone, Debug)]
pub struct Members {
    view: watch::Receiver<Arc<View>>,
    doubt: Arc<Notify>,
}

impl Members {
    /// Members by configuration, and what keeps them up to date: its [`Source::run`] is to be spawned. Addresses that are no
    /// names are there at once. `sharing.mode` Off or Array has no members.
    pub fn new(config: &Config, counters: Arc<Counters>) -> Result<(Self, Source), MembersError> {
        Self::with_client(config, counters, ClientSource::InCluster)
    }

    /// As [`Self::new`], with another way to the API server.
    pub fn with_client(
        config: &Config,
        counters: Arc<Counters>,
        client: ClientSource,
    ) -> Result<(Self, Source), MembersError> {
        let me = settings::node_name(&config.node);
        let (sharing, doubt) = (&config.sharing, Arc::new(Notify::new()));
        let is_used = matches!(sharing.mode, SharingMode::Members | SharingMode::Auto);
        let publisher = Publisher::new(me.clone(), counters);
        let view = publisher.view.subscribe();
        let work = if !is_used {
            Work::Nothing
        } else if let Some(service) = &sharing.service {
            let watched = watched::Watched::new(service, client)
                .ok_or_else(|| MembersError::Service { service: service.clone() })?;
            Work::Watched(watched)
        } else if sharing.members.is_empty() {
            Work::Nothing
        } else if sharing.members.iter().any(|member| member.name == me) {
            let listed = listed::Listed::new(sharing.members.clone(), doubt.clone());
            publisher.publish(listed.literal());
            Work::Listed(listed)
        } else {
            return Err(MembersError::NotListed { name: me });
        };
        Ok((Self { view, doubt }, Source { publisher, work }))
    }

    /// Members that stay as they are.
    #[must_use]
    pub fn fixed(me: &str, members: Vec<Member>) -> Self {
        Self::movable(me, members).0
    }

    /// Members that whoever holds the other half changes.
    #[must_use]
    pub fn movable(me: &str, members: Vec<Member>) -> (Self, Publisher) {
        let publisher = Publisher::new(me.to_owned(), Arc::default());
        publisher.publish(members);
        (Self { view: publisher.view.subscribe(), doubt: Arc::default() }, publisher)
    }

    /// What is known now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// For waiting until it changes: `changed().await` is an error when the source has ended.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// A connection failed: names may lead elsewhere by now and are resolved again soon.
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }
}

/// What keeps members up to date.
#[derive(Debug)]
pub struct Source {
    publisher: Publisher,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Nothing,
    Listed(listed::Listed),
    Watched(watched::Watched),
}

impl Source {
    /// Goes on for as long as the sidecar runs.
    pub async fn run(self) {
        match self.work {
            // The publisher is kept: members that never change have not ended.
            Work::Nothing => std::future::pending().await,
            Work::Listed(listed) => listed.run(&self.publisher).await,
            Work::Watched(watched) => watched.run(&self.publisher).await,
        }
    }
}

/// Where views come from.
#[derive(Debug)]
pub struct Publisher {
    view: watch::Sender<Arc<View>>,
    counters: Arc<Counters>,
}

impl Publisher {
    fn new(me: String, counters: Arc<Counters>) -> Self {
        Self { view: watch::Sender::new(Arc::new(View { me, ..View::default() })), counters }
    }

    /// Replaces the members; nobody is woken when they are the same. Of members with one name the first counts.
    pub fn publish(&self, mut members: Vec<Member>) {
        let me = self.view.borrow().me.clone();
        members.sort_by(|one, other| one.name.cmp(&other.name));
        members.dedup_by(|later, first| later.name == first.name);
        let too_many = members.len().saturating_sub(MOST_MEMBERS);
        members.truncate(MOST_MEMBERS);
        self.counters.members.set(&members);
        self.view.send_if_modified(|view| {
            if view.members == members {
                return false;
            }
            if too_many > 0 {
                tracing::warn!(
                    left_out = too_many,
                    "more members than are used: the last by name take no part"
                );
            }
            tracing::info!(members = members.len(), "the members of this cache have changed");
            *view = Arc::new(View { me, members, generation: view.generation + 1 });
            true
        });
    }
}
