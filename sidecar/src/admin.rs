//! The admin listener: `/livez`, `/readyz`, `/metrics` and `/summary` (dossier delivery-optimization 1.9), `/classes`,
//! `/objects`, `/control-plane`, `/sharing` and `/peers`. Never reachable through the content port.

mod authority;
mod check;
mod control_plane;
mod objects;
mod selectors;
mod sharing;
mod summary;
mod verification;

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use connected_cache_store::{Health, Store};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Counters, Metrics};

pub(crate) use authority::Authority;
pub use authority::TokenError;
pub(crate) use objects::Objects;
pub(crate) use summary::Reporter;

/// What the admin endpoint shows.
pub(crate) struct AdminState {
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) metrics: Metrics,
    pub(crate) store: Arc<Store>,
    pub(crate) reporter: Arc<Reporter>,
}

impl AdminState {
    pub(crate) fn reporter(node_id: &str, counters: Arc<Counters>, store: Arc<Store>) -> Arc<Reporter> {
        Arc::new(Reporter::new(node_id, counters, store))
    }
}

pub(crate) fn router(state: AdminState, objects: Objects) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/summary", get(summary))
        .with_state(Arc::new(state))
        .merge(objects::router(objects))
}

/// Failing volumes don't make a pod unready: clients are served without them. They are named all the same.
async fn readyz(State(state): State<Arc<AdminState>>) -> (StatusCode, String) {
    if !state.ready.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    let mut text = "ok\n".to_owned();
    for (path, health, _) in state.store.volumes() {
        if let Health::Failed(reason) = health {
            // Writing to a string can't fail.
            let _ = writeln!(text, "volume {} fails and is passed by: {reason}", path.display());
        }
    }
    (StatusCode::OK, text)
}

async fn metrics(State(state): State<Arc<AdminState>>) -> Response {
    match state.metrics.render() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn summary(State(state): State<Arc<AdminState>>) -> Response {
    Json(state.reporter.current()).into_response()
}

/// Serves until the end.
pub(crate) async fn serve(listener: tokio::net::TcpListener, router: Router, end: CancellationToken) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let served =
        axum::serve(listener, service).with_graceful_shutdown(async move { end.cancelled().await }).await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin listener ended");
    }
}
