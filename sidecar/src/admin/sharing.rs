//! What is shared with other pods, and with peers.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

use super::objects::{Objects, Refused};
use crate::sharing::{start::Running, status::SharingStatus};

/// Why not everybody may see this.
const WHY: &str = "only who may purge sees this, because it names addresses";

/// The other pods and how they do.
pub(super) async fn sharing(
    State(objects): State<Arc<Objects>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    objects.authorize(client, &headers, WHY).await?;
    let running = running(&objects)?;
    Ok(Json(SharingStatus::of(&running.sharing, &objects.counters)).into_response())
}

/// Connections of the swarm protocol, and bans.
pub(super) async fn peers(
    State(objects): State<Arc<Objects>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    objects.authorize(client, &headers, WHY).await?;
    Ok(Json(running(&objects)?.swarm.status()).into_response())
}

/// Hands over what is stored, as before a pod is scaled away.
pub(super) async fn hand_over(
    State(objects): State<Arc<Objects>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    objects.authorize(client, &headers, "only who may purge moves content between pods").await?;
    let running = running(&objects)?;
    let outcome = running.sharing.hand_over(objects.store.clone(), running.handover).await;
    Ok(Json(outcome).into_response())
}

fn running(objects: &Objects) -> Result<&Running, Refused> {
    let none = || {
        let reason = "this pod shares with no others: set sharing.members or sharing.service, and listen.swarm and listen.peers\n";
        (StatusCode::NOT_FOUND, reason.to_owned())
    };
    objects.sharing.as_ref().ok_or_else(none)
}
