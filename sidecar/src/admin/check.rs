//! `POST /objects/check`: the final check of one object.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json,
    extract::{ConnectInfo, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    objects::{Objects, Refused, bad_request, unavailable},
    selectors::WholeCheck,
};
use crate::catalog::Whole;
use connected_cache_store::WholeError;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// In bytes.
    length: u64,
    /// 64 hex digits.
    sha256: String,
    pieces: usize,
    authenticated_pieces: usize,
    /// It was not the expected content.
    removed: bool,
}

/// Checks one object at a time: it reads all of it.
pub(super) async fn check(
    State(objects): State<Arc<Objects>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let what = "only who may purge may check, because what is wrong is removed";
    objects.authorize(peer, &headers, what).await?;
    let WholeCheck { key, sha256 } =
        WholeCheck::parse(&query.unwrap_or_default(), objects.rules()).map_err(bad_request)?;
    let turn = objects.checking.clone().lock_owned().await;
    let whole = objects.catalog.check_whole(key, sha256, turn).await;
    match whole.ok_or_else(|| unavailable("the check was interrupted, ask again".to_owned()))? {
        Whole::Unknown => Err((StatusCode::NOT_FOUND, "nothing is stored of this object\n".to_owned())),
        Whole::Unfinished(error @ WholeError::Incomplete(_)) => {
            Err((StatusCode::CONFLICT, format!("{error}, download all of it first\n")))
        }
        Whole::Unfinished(error) => Err(unavailable(format!("{error}, ask again"))),
        Whole::Found { length_bytes, sha256, pieces, authenticated_pieces, removed } => {
            let report = Report {
                length: length_bytes,
                sha256: hex::encode(sha256),
                pieces,
                authenticated_pieces,
                removed,
            };
            let status = if removed { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
            Ok((status, Json(report)).into_response())
        }
    }
}
