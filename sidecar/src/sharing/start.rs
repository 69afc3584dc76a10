//! Puts the parts of sharing together.

use std::{sync::Arc, time::Duration};

use connected_cache_config::{Config, SharingMode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Patience, Sharing,
    answer::Answerer,
    handover::HandedOver,
    listener::PeerApi,
    members::{ClientSource, Members, MembersError, Source},
    offers::Offers,
    scaled_away,
    shelf::Offered,
    sockets::Sockets,
};
use crate::{
    control_plane::{ControlPlane, peer_id_without},
    metrics::Counters,
    peers::{Identity, PeersClient, PeersServer},
    settings,
    swarm::{self, Swarm, SwarmMember, SwarmParts, Zone},
    tasks::Tasks,
    tls::TlsError,
};

/// Why pods can't share; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SharingError {
    /// The members can't be known.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// The certificate can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What shares with other pods, before there is anything to share.
pub(crate) struct Parts {
    pub(crate) sharing: Arc<Sharing>,
    pub(crate) swarm: Swarm,
    members: Members,
    source: Source,
    shelf: Arc<Offered>,
    identity: Arc<Identity>,
    swarm_members: Arc<swarm::Members>,
    /// Namespace of the Service whose endpoints the members are.
    namespace: Option<String>,
    handover: Duration,
    listeners: Listeners,
}

/// Where other pods are let in.
pub(crate) struct Listeners {
    pub(crate) swarm: TcpListener,
    pub(crate) peers: TcpListener,
}

/// What shares with other pods.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) sharing: Arc<Sharing>,
    pub(crate) swarm: Swarm,
    namespace: Option<String>,
    pub(crate) handover: Duration,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Running").field("sharing", &self.sharing).finish_non_exhaustive()
    }
}

/// Whether there may be other pods and both listeners for them.
pub(crate) fn is_wanted(config: &Config) -> bool {
    let sharing = &config.sharing;
    let has_members = sharing.service.is_some() || !sharing.members.is_empty();
    matches!(sharing.mode, SharingMode::Members | SharingMode::Auto)
        && has_members
        && config.listen.swarm.is_some()
        && config.listen.peers.is_some()
}

impl Parts {
    pub(crate) fn new(
        config: &Config,
        listeners: Listeners,
        control_plane: Option<&ControlPlane>,
        counters: &Arc<Counters>,
        tasks: &Tasks,
    ) -> Result<Self, SharingError> {
        let me = match control_plane {
            Some(control_plane) => control_plane.peer_id(),
            None => peer_id_without(settings::control_plane_file(&config.storage), tasks.clone()),
        };
        let identity = Identity::read(&config.tls.peers)?;
        let (members, source) = Members::new(config, counters.clone())?;
        let offers = Arc::new(Offers::new());
        let shelf = Arc::new(Offered::new(offers.clone()));
        let swarm_members = Arc::new(swarm::Members::default());
        let swarm = Swarm::new(SwarmParts {
            limits: config.swarm.clone(),
            me,
            source: config.listen.swarm.map(|address| address.ip()).filter(|ip| !ip.is_unspecified()),
            shelf: shelf.clone(),
            members: swarm_members.clone(),
            counters: counters.clone(),
            tasks: tasks.clone(),
        });
        let peers = PeersClient::new(identity.clone(), members.clone(), counters.clone());
        let patience = Patience {
            sign: Duration::from_millis(config.sharing.home_deadline_milliseconds),
            progress: Duration::from_millis(config.swarm.peer_stall_milliseconds),
        };
        let link = Arc::new(Sockets::new(peers, swarm.clone()));
        let sharing = Arc::new(Sharing::new(members.clone(), link, offers, patience));
        let service = config.sharing.service.as_deref();
        Ok(Self {
            sharing,
            swarm,
            members,
            source,
            shelf,
            identity,
            swarm_members,
            namespace: service.and_then(|service| Some(service.split_once('/')?.0.to_owned())),
            handover: Duration::from_secs(config.sharing.handover_seconds),
            listeners,
        })
    }

    /// Who this pod is for the others.
    pub(crate) const fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Lets other pods in. `leaving` ends the peer API when its last answer is given.
    pub(crate) fn run(self, answerer: Answerer, tasks: &Tasks, leaving: CancellationToken) -> Running {
        self.shelf.open(answerer.catalog.clone());
        let counters = answerer.counters.clone();
        let Listeners { swarm, peers } = self.listeners;
        let api = Arc::new(PeerApi { answerer, members: self.members.clone() });
        let server = PeersServer::new(self.identity.clone(), self.members.clone(), counters, api);
        self.swarm.serve(swarm);
        tasks.spawn(server.run(peers, leaving));
        tasks.spawn(self.source.run());
        tasks.spawn(self.identity.follow());
        tasks.spawn(follow_members(self.sharing.clone(), self.members, self.swarm_members));
        Running {
            sharing: self.sharing,
            swarm: self.swarm,
            namespace: self.namespace,
            handover: self.handover,
        }
    }
}

impl Running {
    /// Before this pod ends: hands over what it holds if it was scaled away.
    pub(crate) async fn hand_over_if_scaled_away(&self, store: Arc<connected_cache_store::Store>) {
        let Some(namespace) = &self.namespace else { return };
        let me = self.sharing.view().me.clone();
        if !scaled_away::is_scaled_away(&ClientSource::InCluster, namespace, &me).await {
            return;
        }
        let HandedOver { objects, pieces, bytes, failed, is_cut } =
            self.sharing.hand_over(store, self.handover).await;
        tracing::info!(objects, pieces, bytes, failed, is_cut, "handed over to the pods that stay");
    }
}

/// Keeps the swarm's picture of the members up to date.
async fn follow_members(sharing: Arc<Sharing>, members: Members, swarm: Arc<swarm::Members>) {
    let mut changed = members.changed();
    loop {
        // First: what is published from now on is seen by the next turn.
        changed.mark_unchanged();
        let (view, placement) = sharing.placement();
        let of_swarm = view.members.iter().enumerate().map(|(index, member)| SwarmMember {
            name: member.name.as_str().into(),
            address: member.swarm,
            zone: match placement.is_in_my_zone(index) {
                Some(true) => Zone::Same,
                Some(false) => Zone::Other,
                None => Zone::Unknown,
            },
        });
        swarm.replace(of_swarm);
        if changed.changed().await.is_err() {
            return;
        }
    }
}
