//! The running mock: listeners, and everything their connections share.

mod answer;
mod connection;
mod own;
mod services;
mod transfer;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::config::{Config, ConfigError};
use crate::content::Catalogue;
use crate::control_plane::{ArraySnapshot, Expectation, Services};
use crate::fault::{Fault, FaultTable};
use crate::request_log::{RequestLog, Requests};
use crate::tls::{Certificates, TlsError};
use services::Arrival;

/// Time for a TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Time that transfers in progress get after [`MockControlPlane::shutdown`] before they are cut off.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Pause after a failed accept: it fails when the process has no descriptors left, and those come back with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The mock could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address is not available.
    #[error("failed to listen on {address}, is it in use?: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The content folder is missing or unreadable.
    #[error("failed to open content.folder {path}, it must be an existing folder: {source}")]
    Folder {
        /// The folder asked for.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The request log can't be written.
    #[error("failed to open requestLog {path} for writing: {source}")]
    RequestLog {
        /// The file asked for.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Certificates are not usable.
    #[error("failed to prepare HTTPS: {0}")]
    Tls(#[from] TlsError),
}

/// What every connection needs.
#[derive(Debug)]
struct Shared {
    catalogue: Arc<Catalogue>,
    services: Option<Services>,
    faults: FaultTable,
    log: RequestLog,
    certificates: Option<Certificates>,
    /// Set when the mock stops: idle and stalled connections end, running transfers finish.
    stopping: CancellationToken,
    /// Set when the grace is over: everything ends.
    ended: CancellationToken,
}

/// The mock, running. Dropping it ends it without grace; [`Self::shutdown`] is the orderly way.
#[derive(Debug)]
pub struct MockControlPlane {
    shared: Arc<Shared>,
    http_address: Option<SocketAddr>,
    https_address: Option<SocketAddr>,
    connections: TaskTracker,
    log_writer: Mutex<Option<JoinHandle<()>>>,
    _end_on_drop: DropGuard,
}

impl MockControlPlane {
    /// Opens the listeners and serves in the background of the current tokio runtime.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.validate()?;
        let catalogue = Catalogue::new(&config.content).map_err(|source| StartError::Folder {
            path: config.content.folder.clone().unwrap_or_default(),
            source,
        })?;
        let http = listen(config.listen.http).await?;
        let https = listen(config.listen.https).await?;
        let certificates = https.is_some().then(|| Certificates::new(&config.tls)).transpose()?;
        let (log, log_writer) = RequestLog::new(config.request_log.as_deref()).map_err(|source| {
            StartError::RequestLog { path: config.request_log.clone().unwrap_or_default(), source }
        })?;
        let stopping = CancellationToken::new();
        let ended = CancellationToken::new();
        let catalogue = Arc::new(catalogue);
        let services = config.control_plane.map(|services| Services::new(services, Arc::clone(&catalogue)));
        let has_services = services.is_some();
        let shared = Arc::new(Shared {
            catalogue,
            services,
            faults: FaultTable::new(config.faults, has_services),
            log,
            certificates,
            stopping: stopping.clone(),
            ended: ended.clone(),
        });
        let connections = TaskTracker::new();
        let bound = |listener: &Option<TcpListener>| listener.as_ref().and_then(|it| it.local_addr().ok());
        let addresses = [bound(&http), bound(&https)];
        for (listener, secure) in [(http, false), (https, true)] {
            if let Some(listener) = listener {
                connections.spawn(accept(listener, secure, Arc::clone(&shared), connections.clone()));
            }
        }
        Ok(Self {
            shared,
            http_address: addresses[0],
            https_address: addresses[1],
            connections,
            log_writer: Mutex::new(log_writer),
            _end_on_drop: ended.drop_guard(),
        })
    }

    /// Where plain HTTP is served.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// Where HTTPS is served.
    #[must_use]
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.https_address
    }

    /// Certificate that signs the HTTPS certificates; `None` without HTTPS or with a given certificate.
    #[must_use]
    pub fn ca_pem(&self) -> Option<String> {
        self.shared.certificates.as_ref().and_then(Certificates::ca_pem)
    }

    /// The requests for content so far, also those still in progress.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.shared.log.snapshot()
    }

    /// Empties the request log.
    pub fn clear_requests(&self) {
        self.shared.log.clear();
    }

    /// Replaces the fault list; answers that a fault keeps waiting in the middle of the body go on.
    pub fn set_faults(&self, faults: Vec<Fault>) -> Result<(), ConfigError> {
        self.shared.faults.replace(faults)
    }

    /// The fault list with the remaining `times`.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.faults.current()
    }

    /// Joins of the arrays so far and their peers; empty without control plane.
    #[must_use]
    pub fn arrays(&self) -> ArraySnapshot {
        self.shared.services.as_ref().map(Services::snapshot).unwrap_or_default()
    }

    /// Moves the clock by which peers of arrays expire, so that a test has not to wait. Nothing else goes by it.
    pub fn advance_arrays(&self, by: Duration) {
        if let Some(services) = &self.shared.services {
            services.advance(by);
        }
    }

    /// Replaces the expectations: every call of a service that is not among them is refused. `None` expects anything.
    /// Fails without control plane.
    pub fn expect(&self, expectations: Option<Vec<Expectation>>) -> Result<(), ConfigError> {
        let off =
            || ConfigError { errors: vec!["expectations: there is no control plane to call".to_owned()] };
        self.shared.services.as_ref().ok_or_else(off)?.expect(expectations)
    }

    /// The expectations with the remaining `times`: 0 = all of these calls came.
    #[must_use]
    pub fn expectations(&self) -> Option<Vec<Expectation>> {
        self.shared.services.as_ref().and_then(Services::expectations)
    }

    /// Stops accepting, lets running transfers finish for up to five seconds, ends everything and flushes the log.
    pub async fn shutdown(self) {
        self.shared.stopping.cancel();
        self.connections.close();
        if timeout(SHUTDOWN_GRACE, self.connections.wait()).await.is_err() {
            self.shared.ended.cancel();
            self.connections.wait().await;
        }
        let log_writer = self.log_writer.lock().take();
        // Dropping the log closes the queue of its writer, which then ends.
        drop(self);
        if let Some(writer) = log_writer
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "failed to finish the request log");
        }
    }
}

async fn listen(address: Option<SocketAddr>) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let listener =
        TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
    Ok(Some(listener))
}

async fn accept(listener: TcpListener, secure: bool, shared: Arc<Shared>, connections: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stopping.cancelled() => return,
            () = shared.ended.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    tokio::select! {
                        () = converse(stream, peer, secure, &shared) => {}
                        () = shared.ended.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "unable to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, secure: bool, shared: &Shared) {
    // Without it, the short last segment of a reply may wait for an acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "unable to set TCP_NODELAY");
    }
    if !secure {
        connection::serve(stream, Arrival { peer, secure }, shared).await;
        return;
    }
    match timeout(HANDSHAKE_LIMIT, handshake(stream, shared)).await {
        Ok(Ok(stream)) => connection::serve(stream, Arrival { peer, secure }, shared).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
    }
}

async fn handshake(
    stream: TcpStream,
    shared: &Shared,
) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    let address = stream.local_addr()?.ip();
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let certificates = shared.certificates.as_ref().ok_or(io::ErrorKind::Unsupported)?;
    let config =
        certificates.for_client(start.client_hello().server_name(), address).map_err(io::Error::other)?;
    start.into_stream(config).await
}
