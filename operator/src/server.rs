//! Probes and scrapes over HTTP.

use std::{io, net::SocketAddr};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{health::Health, metrics::Metrics};

/// Answers /livez and /readyz. The process is alive as long as it answers at all: what is outside of it, such as the API
/// server, never makes it restart.
pub fn health_router(health: Health) -> Router {
    Router::new().route("/livez", get(|| async { "ok" })).route("/readyz", get(readyz)).with_state(health)
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    let phase = health.phase();
    let status = if phase.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, phase.as_str())
}

/// Answers /metrics.
pub fn metrics_router(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(metrics)
}

async fn scrape(State(metrics): State<Metrics>) -> impl IntoResponse {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    match metrics.text() {
        Ok(text) => (StatusCode::OK, content_type, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, content_type, error.to_string()),
    }
}

/// A listener that is being served in the background, until it is dropped.
#[derive(Debug)]
pub struct Serving {
    /// Where it listens; the port is a real one even when 0 was asked for.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

/// Binds and serves.
pub async fn serve(address: SocketAddr, router: Router) -> io::Result<Serving> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%address, %error, "failed to serve");
        }
    });
    Ok(Serving { address, task })
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}
