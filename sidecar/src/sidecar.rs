//! The whole: binds, starts, drains, ends.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use connected_cache_config::{Config, ConfigError};
use connected_cache_core::{AllowList, OriginPatternError};
use connected_cache_store::{Policy, Store, StoreError, Watcher};
use http::HeaderValue;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access_log::AccessLog,
    admin::{self, AdminState, Authority, Objects, Reporter, TokenError},
    bandwidth::Bandwidth,
    catalog::{Catalog, CatalogParts, now_seconds},
    content::{ContentState, Via},
    control_plane::{ControlPlane, ControlPlaneError},
    header_names,
    metrics::{Counters, Metrics, MetricsError, Source},
    server::Server,
    settings::{self, RulesByClass},
    sharing::{
        answer::Answerer,
        start::{self, Listeners, Parts, Running, SharingError},
    },
    socket::SocketLimits,
    tasks::Tasks,
    tls::{Certificates, TlsError},
    upkeep::Upkeep,
    upstream::Upstream,
};

/// How long fetches may still run when the last client is gone.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// Why a sidecar did not start; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Rules of the configuration are broken.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An origin pattern can't be used.
    #[error(transparent)]
    Origin(#[from] OriginPatternError),
    /// A volume can't be used.
    #[error(transparent)]
    Volume(#[from] StoreError),
    /// The volumes could not be opened at all.
    #[error("opening the volumes was interrupted: {reason}")]
    Interrupted {
        /// Why.
        reason: String,
    },
    /// A schedule can't be followed.
    #[error("bandwidth.schedules can't be followed, check their times and time zones: {0}")]
    Schedule(#[from] jiff::Error),
    /// A certificate can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token of the admin listener can't be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A listener can't be opened.
    #[error(
        "failed to listen on {address} (listen.{name}), choose an address of this host that is free: {source}"
    )]
    Listen {
        /// Last part of the key.
        name: &'static str,
        /// What was configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The node id can't be sent in a header.
    #[error("node.id `{id}` can't be sent in a header, use letters, digits and hyphens")]
    NodeId {
        /// The id.
        id: String,
    },
    /// The control plane can't be asked.
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    /// Nothing can be shared with other pods.
    #[error(transparent)]
    Sharing(#[from] SharingError),
    /// Metrics can't be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// A running sidecar. Dropping it without [`Sidecar::shutdown`] leaves its tasks to the runtime.
#[derive(Debug)]
pub struct Sidecar {
    http_address: Option<SocketAddr>,
    https_address: Option<SocketAddr>,
    admin_address: Option<SocketAddr>,
    ready: Arc<AtomicBool>,
    counters: Arc<Counters>,
    store: Arc<Store>,
    leaving: CancellationToken,
    stop_accepting: CancellationToken,
    finish: CancellationToken,
    abort: CancellationToken,
    connections: TaskTracker,
    fetches: Tasks,
    services: Tasks,
    end_admin: CancellationToken,
    /// `None` = this pod is a cache of its own.
    sharing: Option<Running>,
    end_peers: CancellationToken,
    drain: Duration,
    grace: Duration,
}

impl Sidecar {
    /// Opens the volumes, binds the listeners and begins to serve. Port 0 picks a free port.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Opened::open(&config).await?.begin(&config).await
    }

    /// Lets clients in by the listeners of HTTP and HTTPS.
    fn serve(
        &self,
        server: &Arc<Server>,
        (http, https): (Option<TcpListener>, Option<TcpListener>),
        certificates: Option<Arc<Certificates>>,
    ) {
        if let (Some(listener), Some(certificates)) = (https, certificates) {
            self.services.spawn(certificates.clone().follow());
            self.connections.spawn(server.clone().run(listener, Some(certificates)));
        }
        if let Some(listener) = http {
            self.connections.spawn(server.clone().run(listener, None));
        }
    }

    /// Background work that goes on until the end.
    fn keep_up(&self, upkeep: Upkeep, reporter: &Arc<Reporter>, bandwidth: Option<Arc<Bandwidth>>) {
        if let Some(bandwidth) = bandwidth {
            self.services.spawn(bandwidth.follow());
        }
        self.services.spawn(upkeep.clone().remove_leftovers());
        self.services.spawn(upkeep.clone().scrub());
        self.services.spawn(upkeep.expire());
        self.services.spawn(reporter.clone().run());
    }

    fn say_where(&self, node: &str) {
        let shown =
            |address: Option<SocketAddr>| address.map_or("off".to_owned(), |address| address.to_string());
        let (http, https) = (shown(self.http_address), shown(self.https_address));
        tracing::info!(node, http, https, admin = shown(self.admin_address), "serving");
    }

    /// Where content is served; `None` = that listener is off.
    #[must_use]
    pub const fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// Where content is served over TLS; `None` = that listener is off.
    #[must_use]
    pub const fn https_address(&self) -> Option<SocketAddr> {
        self.https_address
    }

    /// Where health, metrics and summary are served; `None` = that listener is off.
    #[must_use]
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Body bytes written to clients so far, by where they came from.
    #[must_use]
    pub fn served_bytes(&self, source: Source) -> u64 {
        self.counters.served(source)
    }

    /// Body bytes fetched from origins so far.
    #[must_use]
    pub fn origin_bytes(&self) -> u64 {
        self.counters.origin_bytes.load(Ordering::Relaxed)
    }

    /// Pieces that were found to be those of an authenticated piece hash file so far.
    #[must_use]
    pub fn pieces_verified(&self) -> u64 {
        self.counters.pieces_verified.load(Ordering::Relaxed)
    }

    /// Readiness falls and every reply asks its client for another connection; listeners keep accepting for
    /// `shutdown.drainSeconds` so that load balancers can notice, then
    /// no connection is accepted and running transfers have `shutdown.graceSeconds` to end. The admin listener stays.
    pub async fn drain(&self) {
        self.ready.store(false, Ordering::Release);
        self.leaving.cancel();
        tracing::info!(drain_seconds = self.drain.as_secs(), "draining");
        // Meanwhile other pods are answered as before.
        let handing_over = async {
            if let Some(sharing) = &self.sharing {
                sharing.hand_over_if_scaled_away(self.store.clone()).await;
            }
        };
        tokio::join!(tokio::time::sleep(self.drain), handing_over);
        self.finish_transfers().await;
    }

    /// Ends without waiting for load balancers: accepts no more, lets running transfers end within
    /// `shutdown.graceSeconds`, and returns when nothing of this sidecar runs any more.
    pub async fn shutdown(self) {
        self.ready.store(false, Ordering::Release);
        self.finish_transfers().await;
        self.abort.cancel();
        self.connections.wait().await;
        // What has just arrived is stored before the end.
        self.fetches.end(LAST_WRITES).await;
        self.end_peers.cancel();
        self.end_admin.cancel();
        self.services.end(Duration::ZERO).await;
        let store = self.store;
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
        tracing::info!("ended");
    }

    async fn finish_transfers(&self) {
        // Who is answered from now on is answered once.
        self.leaving.cancel();
        self.stop_accepting.cancel();
        self.finish.cancel();
        self.connections.close();
        if tokio::time::timeout(self.grace, self.connections.wait()).await.is_err() {
            tracing::warn!(
                grace_seconds = self.grace.as_secs(),
                "transfers are cut, shutdown.graceSeconds is over"
            );
            self.abort.cancel();
        }
    }
}

/// What a start can fail on, done.
struct Opened {
    node_name: String,
    id: String,
    node_id: HeaderValue,
    allow_list: Arc<AllowList>,
    certificates: Option<Arc<Certificates>>,
    authority: Authority,
    counters: Arc<Counters>,
    store: Arc<Store>,
    http: Option<TcpListener>,
    https: Option<TcpListener>,
    admin: Option<TcpListener>,
    for_pods: Option<Listeners>,
}

impl Opened {
    /// Volumes, listeners and whatever is read from files.
    async fn open(config: &Config) -> Result<Self, StartError> {
        config.validate()?;
        warn_of_idle_keys(config);
        let node_name = settings::node_name(&config.node);
        let id = config.node.id.clone().unwrap_or_else(|| node_name.clone());
        let node_id = HeaderValue::try_from(&id).map_err(|_| StartError::NodeId { id: id.clone() })?;
        let allow_list = Arc::new(settings::allow_list(&config.content)?);
        let certificates = config.listen.https.map(|_| Certificates::read(&config.tls)).transpose()?;
        let authority = Authority::read(&config.admin)?;
        let counters = Arc::new(Counters::default());
        let store = open_store(config, counters.clone()).await?;
        let http = listen("http", config.listen.http).await?;
        let https = listen("https", config.listen.https).await?;
        let admin = listen("admin", config.listen.admin).await?;
        let for_pods = listen_for_pods(config).await?;
        Ok(Self {
            node_name,
            id,
            node_id,
            allow_list,
            certificates,
            authority,
            counters,
            store,
            http,
            https,
            admin,
            for_pods,
        })
    }

    /// Begins to serve.
    async fn begin(self, config: &Config) -> Result<Sidecar, StartError> {
        let Self { id, allow_list, certificates, counters, store, http, https, admin, .. } = self;
        let bandwidth = Bandwidth::new(settings::bandwidth_plan(&config.bandwidth)?, counters.clone());
        let (fetches, services, end_peers) = (Tasks::default(), Tasks::default(), CancellationToken::new());
        let upstream = Upstream::new(config, allow_list.clone(), bandwidth.clone(), counters.clone());
        let first_byte = upstream.first_byte_budget();
        let rules = RulesByClass::new(&config.content);
        let control_plane = control_plane_of(config, &allow_list, &upstream, &counters, &services)?;
        let sharing = self
            .for_pods
            .map(|listeners| Parts::new(config, listeners, control_plane.as_ref(), &counters, &services));
        let sharing = sharing.transpose()?;
        let identity = sharing.as_ref().map(Parts::identity);
        let metrics = Metrics::new(&counters, &store, bandwidth.as_ref(), certificates.as_ref(), identity)?;
        let catalog = Catalog::new(CatalogParts {
            store: store.clone(),
            upstream,
            counters: counters.clone(),
            tasks: fetches.clone(),
            inquiries: services.clone(),
            rules,
            control_plane: control_plane.clone(),
            sharing: sharing.as_ref().map(|parts| parts.sharing.clone()),
            memory_bytes: settings::memory_bytes(&config.storage),
        });
        let upkeep = Upkeep::new(store.clone(), counters.clone(), config);
        let query_rule = settings::query_rule(&config.content);
        let via = Via::new(&id);
        let sharing = sharing.map(|parts| {
            let answerer = Answerer {
                catalog: catalog.clone(),
                counters: counters.clone(),
                allow_list: allow_list.clone(),
                query_rule,
                via: via.clone(),
            };
            parts.run(answerer, &services, end_peers.clone())
        });
        let content = Arc::new(ContentState {
            catalog: catalog.clone(),
            counters: counters.clone(),
            allow_list: allow_list.clone(),
            query_rule,
            rules,
            first_byte,
            node_id: self.node_id,
            test_objects: config.content.test_objects,
            forwarded_for: config.upstream.forwarded_for,
            serves_plain: config.listen.http.is_some(),
            client_errors: config.upstream.client_errors,
            access_log: AccessLog::new(config.log.access.clone()),
            via,
        });
        let server = server_of(config, content, counters.clone(), bandwidth.clone()).await;
        let reporter = AdminState::reporter(&id, counters.clone(), store.clone());
        let ready = Arc::new(AtomicBool::new(true));
        let sidecar = Sidecar {
            http_address: address_of(http.as_ref()),
            https_address: address_of(https.as_ref()),
            admin_address: address_of(admin.as_ref()),
            ready: ready.clone(),
            counters,
            store: store.clone(),
            leaving: server.leaving.clone(),
            stop_accepting: server.stop_accepting.clone(),
            finish: server.finish.clone(),
            abort: server.abort.clone(),
            connections: server.connections.clone(),
            fetches,
            services,
            end_admin: CancellationToken::new(),
            sharing: sharing.clone(),
            end_peers,
            drain: Duration::from_secs(config.shutdown.drain_seconds),
            grace: Duration::from_secs(config.shutdown.grace_seconds),
        };
        sidecar.serve(&Arc::new(server), (http, https), certificates);
        sidecar.keep_up(upkeep, &reporter, bandwidth);
        if let Some(listener) = admin {
            let shares = settings::shares(&config.content);
            let objects = Objects {
                catalog,
                store: store.clone(),
                allow_list,
                query_rule,
                shares,
                authority: self.authority,
                control_plane,
                sharing,
                counters: sidecar.counters.clone(),
                checking: Arc::default(),
                least_shared_bytes: config.sharing.array_join.min_content_size.bytes(),
            };
            let router = admin::router(AdminState { ready, metrics, store, reporter }, objects);
            sidecar.services.spawn(admin::serve(listener, router, sidecar.end_admin.clone()));
        }
        sidecar.say_where(&self.node_name);
        Ok(sidecar)
    }
}

fn warn_of_idle_keys(config: &Config) {
    for key in config.not_in_effect() {
        tracing::warn!(key, "this key is set but has no effect in this release");
    }
}

/// The client of the control plane by configuration; `None` = it is off.
fn control_plane_of(
    config: &Config,
    allow_list: &Arc<AllowList>,
    upstream: &Upstream,
    counters: &Arc<Counters>,
    tasks: &Tasks,
) -> Result<Option<ControlPlane>, ControlPlaneError> {
    let kept = settings::control_plane_file(&config.storage);
    ControlPlane::start(config, allow_list.clone(), upstream.clone(), counters.clone(), kept, tasks.clone())
}

/// What every content connection shares, by configuration.
async fn server_of(
    config: &Config,
    content: Arc<ContentState>,
    counters: Arc<Counters>,
    bandwidth: Option<Arc<Bandwidth>>,
) -> Server {
    Server {
        content,
        counters,
        bandwidth,
        limits: SocketLimits {
            header: Duration::from_secs(config.limits.header_seconds),
            idle: Duration::from_secs(config.limits.idle_seconds),
        },
        header_bytes: usize::try_from(config.limits.header_bytes.bytes()).unwrap_or(usize::MAX),
        places: Arc::new(Semaphore::new(settings::connections(&config.limits).min(Semaphore::MAX_PERMITS))),
        spellings: header_names::spellings().await,
        leaving: CancellationToken::new(),
        stop_accepting: CancellationToken::new(),
        finish: CancellationToken::new(),
        abort: CancellationToken::new(),
        connections: TaskTracker::new(),
    }
}

async fn open_store(config: &Config, counters: Arc<Counters>) -> Result<Arc<Store>, StartError> {
    let volumes = settings::volumes(&config.storage);
    let watcher: Watcher = Arc::new(move |evicted| {
        let age = Duration::from_secs(now_seconds().saturating_sub(evicted.last_used));
        counters.evicted_ages.add(evicted.pieces, age);
    });
    let policy = Policy { watcher: Some(watcher), ..settings::policy(config)? };
    let opened = tokio::task::spawn_blocking(move || Store::open_with(&volumes, policy)).await;
    let store = opened.map_err(|error| StartError::Interrupted { reason: error.to_string() })??;
    Ok(Arc::new(store))
}

async fn listen(name: &'static str, address: Option<SocketAddr>) -> Result<Option<TcpListener>, StartError> {
    match address {
        None => Ok(None),
        Some(address) => match TcpListener::bind(address).await {
            Ok(listener) => Ok(Some(listener)),
            Err(source) => Err(StartError::Listen { name, address, source }),
        },
    }
}

/// `None` = this pod is a cache of its own.
async fn listen_for_pods(config: &Config) -> Result<Option<Listeners>, StartError> {
    let is_shared = start::is_wanted(config);
    let swarm = listen("swarm", config.listen.swarm.filter(|_| is_shared)).await?;
    let peers = listen("peers", config.listen.peers.filter(|_| is_shared)).await?;
    Ok(swarm.zip(peers).map(|(swarm, peers)| Listeners { swarm, peers }))
}

fn address_of(listener: Option<&TcpListener>) -> Option<SocketAddr> {
    listener?.local_addr().ok()
}
