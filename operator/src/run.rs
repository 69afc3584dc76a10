//! `connected-cache-operator run`: the order in which the parts start and stop.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::ListParams};
use tokio::{sync::watch, time};

use connected_cache_api::ConnectedCache;

use crate::{
    arguments::RunArguments,
    controller::{self, Context},
    health::{Health, Phase},
    leader::{Candidate, LeaseLost, Settings},
    logging,
    metrics::{Metrics, MetricsError},
    server,
};

/// Between two looks for the CustomResourceDefinition.
const CRD_RETRY: Duration = Duration::from_secs(5);

/// Why the operator ended with a failure.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No cluster to be found.
    #[error("failed to find a cluster: {0}; run inside of one, or name one by KUBECONFIG")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A listener could not be opened.
    #[error("failed to listen on {address}: {source}; choose another address")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The metrics could not be registered.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Signals could not be caught.
    #[error("failed to catch SIGTERM: {0}")]
    Signal(#[source] io::Error),
    /// Leadership was lost; Kubernetes starts the process anew as a candidate.
    #[error("{0}; ending, to be started anew as a candidate")]
    LeaseLost(#[from] LeaseLost),
}

/// Runs until SIGTERM or Ctrl-C, which end in success, or until leadership is lost, which does not.
pub async fn run(arguments: RunArguments) -> Result<(), RunError> {
    logging::start(arguments.log_level, arguments.log_format);
    // Whoever installed a provider before us installed the same one: there is only one in this program.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let mut shutdown = shutdown_signal().map_err(RunError::Signal)?;
    let metrics = Metrics::new()?;
    let health = Health::default();
    let _metrics_server =
        listen(arguments.metrics_bind_address, server::metrics_router(metrics.clone())).await?;
    let _health_server =
        listen(arguments.health_probe_bind_address, server::health_router(health.clone())).await?;
    let client = Client::try_default().await.map_err(|error| RunError::Client(Box::new(error)))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), sidecar_image = %arguments.sidecar_image, "starting");

    tokio::select! {
        () = wait_for_definition(&client, namespace(&arguments)) => {}
        () = requested(&mut shutdown) => return Ok(()),
    }
    let instance = identity();
    let context = Context::new(client.clone(), arguments.sidecar_image.clone(), metrics.clone(), &instance);
    let work = Work { context: Arc::new(context), arguments: &arguments, health: &health, metrics: &metrics };
    let ended = if arguments.leader_elect {
        work.as_candidate(client, instance, shutdown).await
    } else {
        work.lead(shutdown).await;
        Ok(())
    };
    health.enter(Phase::Stopping);
    ended
}

struct Work<'a> {
    context: Arc<Context>,
    arguments: &'a RunArguments,
    health: &'a Health,
    metrics: &'a Metrics,
}

impl Work<'_> {
    async fn as_candidate(
        &self,
        client: Client,
        identity: String,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), RunError> {
        let lease_namespace = lease_namespace(self.arguments, &client);
        let leases: Api<Lease> = Api::namespaced(client, &lease_namespace);
        let mut candidate = Candidate::new(leases, Settings::new(&self.arguments.lease_name, identity));
        tokio::select! {
            () = candidate.acquire(|| self.health.enter(Phase::Standby)) => {}
            () = requested(&mut shutdown) => return Ok(()),
        }
        tracing::info!(lease_namespace, lease_name = self.arguments.lease_name, "leading");
        tokio::select! {
            () = self.lead(shutdown) => {}
            lost = candidate.hold() => return Err(lost.into()),
        }
        candidate.release().await;
        tracing::info!("stopped in good order, the lease is free");
        Ok(())
    }

    async fn lead(&self, mut shutdown: watch::Receiver<bool>) {
        self.health.enter(Phase::Leading);
        self.metrics.set_leader(true);
        let concurrency = self.arguments.concurrency;
        let stop = async move { requested(&mut shutdown).await };
        controller::run(self.context.clone(), namespace(self.arguments), concurrency, stop).await;
    }
}

async fn listen(address: SocketAddr, router: axum::Router) -> Result<server::Serving, RunError> {
    server::serve(address, router).await.map_err(|source| RunError::Listen { address, source })
}

/// The one namespace to watch; `None` = all.
fn namespace(arguments: &RunArguments) -> Option<&str> {
    Some(arguments.watch_namespace.as_str()).filter(|namespace| !namespace.is_empty())
}

fn lease_namespace(arguments: &RunArguments, client: &Client) -> String {
    arguments
        .lease_namespace
        .clone()
        .or_else(|| std::env::var("POD_NAMESPACE").ok())
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or_else(|| client.default_namespace().to_owned())
}

/// A name for this process alone: a pod that is started anew in place is another candidate than before.
fn identity() -> String {
    let host = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
    format!("{}_{:08x}", host.unwrap_or_else(|_| "operator".to_owned()), rand::random::<u32>())
}

/// Waits until caches can be listed; says why they can't.
async fn wait_for_definition(client: &Client, namespace: Option<&str>) {
    let caches: Api<ConnectedCache> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    loop {
        match caches.list(&ListParams::default().limit(1)).await {
            Ok(_) => return,
            Err(kube::Error::Api(answer)) if answer.is_not_found() => tracing::error!(
                "the kind ConnectedCache is not installed: install the chart with crds.install=true, or apply crds/ by hand"
            ),
            Err(error) => tracing::error!(%error, "unable to list caches, retrying"),
        }
        time::sleep(CRD_RETRY).await;
    }
}

/// Turns true on SIGTERM or Ctrl-C.
fn shutdown_signal() -> io::Result<watch::Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
        // Nobody listens any more when everything has ended by itself.
        let _ = sender.send(true);
    });
    Ok(receiver)
}

async fn requested(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which only happens after it has spoken.
    let _ = shutdown.wait_for(|requested| *requested).await;
}
