//! What is stored: sizes by class, lists, and purges.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{ConnectInfo, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use connected_cache_core::{AllowList, ContentClass, QueryRule};
use connected_cache_store::{Entry, Page, Store};
use serde::Serialize;

use super::{
    Authority,
    check::check,
    control_plane::control_plane,
    selectors::{Listing, Rules, Selectors},
    sharing::{hand_over, peers, sharing},
    verification::VerificationReport,
};
use crate::{
    catalog::Catalog,
    control_plane::ControlPlane,
    metrics::{Counters, by_class},
    sharing::start::Running,
};

/// What lists and purges work with.
pub(crate) struct Objects {
    pub(crate) catalog: Catalog,
    pub(crate) store: Arc<Store>,
    pub(crate) allow_list: Arc<AllowList>,
    pub(crate) query_rule: QueryRule,
    /// Classes with a bound, in percent of each volume.
    pub(crate) shares: BTreeMap<ContentClass, u8>,
    pub(crate) authority: Authority,
    /// `None` = it is off.
    pub(crate) control_plane: Option<ControlPlane>,
    /// `None` = this pod is a cache of its own.
    pub(crate) sharing: Option<Running>,
    pub(crate) counters: Arc<Counters>,
    /// Content that is shorter, in bytes, has no peers.
    pub(crate) least_shared_bytes: u64,
    /// One final check at a time.
    pub(crate) checking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClassReport {
    class: &'static str,
    objects: u64,
    bytes: u64,
    max_percent: Option<u8>,
}

#[derive(Debug, Serialize)]
struct PageReport {
    objects: Vec<ObjectReport>,
    /// For `after` of the next page; null = this was the last.
    next: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectReport {
    /// Host, path and query, as the cache tells objects apart.
    key: String,
    class: &'static str,
    /// Of the whole content, in bytes.
    length: u64,
    stored_bytes: u64,
    stored_pieces: usize,
    pieces: usize,
    /// Seconds since 1970.
    last_used: u64,
    pinned: bool,
    volume: String,
    verification: VerificationReport,
}

#[derive(Debug, Serialize)]
struct PurgeReport {
    objects: u64,
    bytes: u64,
    /// Volumes on which something may be left or come back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<PurgeFailure>,
}

#[derive(Debug, Serialize)]
struct PurgeFailure {
    volume: String,
    reason: String,
}

/// A reply that is an error: a status and what to do.
pub(super) type Refused = (StatusCode, String);

pub(super) fn router(objects: Objects) -> Router {
    Router::new()
        .route("/classes", get(classes))
        .route("/objects", get(list).delete(purge))
        .route("/objects/check", post(check))
        .route("/control-plane", get(control_plane))
        .route("/sharing", get(sharing))
        .route("/sharing/handover", post(hand_over))
        .route("/peers", get(peers))
        .with_state(Arc::new(objects))
}

async fn classes(State(objects): State<Arc<Objects>>) -> Response {
    let report = |(class, usage): (ContentClass, connected_cache_store::ClassUsage)| ClassReport {
        class: class.name(),
        objects: usage.objects,
        bytes: usage.bytes,
        max_percent: objects.shares.get(&class).copied(),
    };
    Json(by_class(&objects.store).into_iter().map(report).collect::<Vec<_>>()).into_response()
}

async fn list(
    State(objects): State<Arc<Objects>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let listing =
        Listing::parse(query.as_deref().unwrap_or_default(), objects.rules()).map_err(bad_request)?;
    let sees_queries = objects.authority.admits(peer.ip(), &headers).await;
    if !sees_queries && listing.selectors.look_into_queries() {
        return Err(objects.forbidden("a prefix with a query needs the right to purge"));
    }
    let store = objects.store.clone();
    let Listing { selectors, limit, after } = listing;
    let page = tokio::task::spawn_blocking(move || store.list(&selectors.into_filter(), after, limit)).await;
    let page = page
        .map_err(|_| unavailable("the list was interrupted, ask again".to_owned()))?
        .map_err(|error| unavailable(error.to_string()))?;
    Ok(Json(objects.report(page, sees_queries)).into_response())
}

async fn purge(
    State(objects): State<Arc<Objects>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    objects.authorize(peer, &headers, "only who is allowed to may purge").await?;
    let query = query.unwrap_or_default();
    let selectors = Selectors::parse_purge(&query, objects.rules()).map_err(bad_request)?;
    let purged = objects.catalog.purge(selectors.into_filter()).await;
    let purged = purged.ok_or_else(|| unavailable("the purge was interrupted, purge again".to_owned()))?;
    // Without what was asked for: its query may be a signature.
    tracing::info!(
        objects = purged.objects,
        bytes = purged.bytes,
        failures = purged.survivors.len(),
        "purged"
    );
    let failures = purged.survivors.into_iter().map(|survivor| PurgeFailure {
        volume: survivor.volume.display().to_string(),
        reason: survivor.reason,
    });
    let report = PurgeReport { objects: purged.objects, bytes: purged.bytes, failures: failures.collect() };
    let status = if report.failures.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(report)).into_response())
}

impl Objects {
    pub(super) fn rules(&self) -> Rules<'_> {
        Rules { allow_list: &self.allow_list, query_rule: self.query_rule }
    }

    fn report(&self, page: Page, sees_queries: bool) -> PageReport {
        let report = |entry: Entry| {
            let verification = VerificationReport::of(&entry, &self.catalog, self.least_shared_bytes);
            object_report(entry, sees_queries, verification)
        };
        PageReport {
            objects: page.entries.into_iter().map(report).collect(),
            next: page.next.map(|next| next.to_string()),
        }
    }

    /// Refuses whoever may not purge; `what` says what that is needed for.
    pub(super) async fn authorize(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
        what: &str,
    ) -> Result<(), Refused> {
        if self.authority.admits(peer.ip(), headers).await { Ok(()) } else { Err(self.forbidden(what)) }
    }

    fn forbidden(&self, what: &str) -> Refused {
        (StatusCode::FORBIDDEN, format!("{what}: {}\n", self.authority.advice()))
    }
}

pub(super) fn bad_request(reason: String) -> Refused {
    (StatusCode::BAD_REQUEST, reason + "\n")
}

pub(super) fn unavailable(reason: String) -> Refused {
    (StatusCode::SERVICE_UNAVAILABLE, reason + "\n")
}

fn object_report(entry: Entry, sees_queries: bool, verification: VerificationReport) -> ObjectReport {
    ObjectReport {
        key: if sees_queries { entry.key } else { redacted(&entry.key) },
        class: ContentClass::of_number(entry.class).name(),
        length: entry.length,
        stored_bytes: entry.stored_bytes,
        stored_pieces: entry.stored_pieces,
        pieces: entry.pieces,
        last_used: entry.last_used,
        pinned: entry.pinned,
        volume: entry.volume.display().to_string(),
        verification,
    }
}

/// A key without what its query says.
fn redacted(key: &str) -> String {
    match key.split_once('?') {
        Some((before, _)) => format!("{before}?…"),
        None => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_query_is_not_shown_and_that_there_is_one_is() {
        assert_eq!(super::redacted("a.example/f?sig=1?2"), "a.example/f?…");
        assert_eq!(super::redacted("a.example/f"), "a.example/f");
    }
}
