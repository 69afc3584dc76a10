//! `GET /control-plane`: what the services said last. It names addresses inside and outside of the network, so it is for those who
//! may purge.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json,
    extract::{ConnectInfo, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use connected_cache_config::ControlPlaneMode;
use serde_json::json;

use super::objects::{Objects, Refused};

/// `{"mode": "None"}` when it is off.
pub(super) async fn control_plane(
    State(objects): State<Arc<Objects>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    objects.authorize(peer, &headers, "only who may purge sees this, because it names addresses").await?;
    Ok(match &objects.control_plane {
        Some(control_plane) => Json(control_plane.status()).into_response(),
        None => Json(json!({"mode": ControlPlaneMode::None})).into_response(),
    })
}
