//! Requests to the services of the control plane: what a request must be before a service sees it, and what a fault
//! makes of the answer.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use connected_cache_wire::delivery_optimization::PieceHashFile;
use serde_json::json;

use super::answer::{Answer, Body, describe};
use super::connection::Request;
use crate::content::Object;
use crate::control_plane::{
    Call, Fields, Refusal, Reply, Route, Services, WrongAnswer, encode_piece_hash_file,
    with_wrong_hash_of_hashes, with_wrong_types,
};
use crate::fault::Fault;

/// `Last-Modified` of every piece hash file; its tag tells its states apart. 2024-01-01T00:00:00Z.
const PIECE_HASH_FILE_MODIFIED: Duration = Duration::from_hours(473_352);

/// How a request arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) peer: SocketAddr,
    pub(super) secure: bool,
}

/// The answer, and why it is a refusal if it is one.
pub(super) async fn answer(
    request: &Request,
    route: &Route,
    arrival: Arrival,
    fault: &Fault,
    services: &Services,
) -> (Answer, Option<String>) {
    let answer = match route {
        Route::PieceHashFile { object } => {
            piece_hash_file(request, route, object, arrival, fault, services).await
        }
        _ => ask(request, route, arrival, services).await.map(|reply| written(&reply, fault)),
    };
    match answer {
        Ok(answer) => (answer, None),
        Err(refusal) => {
            let mut answer =
                typed(refusal.status, "text/json", json!({ "error": refusal.reason }).to_string());
            if refusal.status == 405 {
                answer.headers.push(("Allow", route.method().to_owned()));
            }
            (answer, Some(refusal.reason))
        }
    }
}

async fn ask(
    request: &Request,
    route: &Route,
    arrival: Arrival,
    services: &Services,
) -> Result<Reply, Refusal> {
    let call = call(request, route, arrival)?;
    services.answer(&call).await
}

/// Piece hash files are content like any other: over both kinds of connection, in ranges, with validators.
async fn piece_hash_file(
    request: &Request,
    route: &Route,
    object: &str,
    arrival: Arrival,
    fault: &Fault,
    services: &Services,
) -> Result<Answer, Refusal> {
    if request.method != "GET" && !request.is_head() {
        return Err(Refusal::new(405, format!("PieceHashFile is asked by GET, not by {}", request.method)));
    }
    services.expected(&Call {
        route,
        path: &request.path,
        fields: Fields::default(),
        source: arrival.peer.ip().to_canonical(),
        asked: String::new(),
    })?;
    let file = services.content().piece_hash_file(object).await?;
    let text = encode_piece_hash_file(&file, fault);
    let made = Object::memory(Bytes::from(text), UNIX_EPOCH + PIECE_HASH_FILE_MODIFIED);
    let wrong = fault.answer == Some(WrongAnswer::WrongContentType);
    let content_type = if wrong { "text/html" } else { PieceHashFile::MEDIA_TYPE };
    Ok(describe(made, &request.head, content_type, request.is_head(), fault.status == Some(200)))
}

fn call<'a>(request: &'a Request, route: &'a Route, arrival: Arrival) -> Result<Call<'a>, Refusal> {
    let service = route.service();
    if !arrival.secure {
        return Err(Refusal::new(403, format!("{service} is served over HTTPS only")));
    }
    if request.method != route.method() {
        let reason = format!("{service} is asked by {}, not by {}", route.method(), request.method);
        return Err(Refusal::new(405, reason));
    }
    let host = request.head.header("host").ok_or_else(|| Refusal::new(400, "the Host header is missing"))?;
    let fields = if matches!(route, Route::Join { .. }) {
        let content_type = request.head.header("content-type").unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let reason = format!("{service}: Content-Type is {content_type:?}, expected application/json");
            return Err(Refusal::new(400, reason));
        }
        Fields::from_json(&request.body)?
    } else {
        Fields::from_query(request.query())?
    };
    Ok(Call {
        route,
        path: &request.path,
        fields,
        source: arrival.peer.ip().to_canonical(),
        asked: format!("https://{host}"),
    })
}

fn written(reply: &Reply, fault: &Fault) -> Answer {
    let (json, content_type) = match fault.answer {
        Some(WrongAnswer::EmptyJson) => (json!({}), "text/json"),
        Some(WrongAnswer::WrongJsonTypes) => (with_wrong_types(&reply.json), "text/json"),
        Some(WrongAnswer::WrongHashOfHashes) => (with_wrong_hash_of_hashes(&reply.json), "text/json"),
        Some(WrongAnswer::WrongContentType) => (reply.json.clone(), "text/html"),
        _ => (reply.json.clone(), "text/json"),
    };
    let mut text = json.to_string();
    if fault.answer == Some(WrongAnswer::Truncated) {
        text.truncate(text.floor_char_boundary(text.len() / 2));
    }
    let mut answer = typed(reply.status, content_type, text);
    if let Some(seconds) = reply.max_age_seconds {
        answer.headers.push(("Cache-Control", format!("max-age={seconds}")));
    }
    answer
}

fn typed(status: u16, content_type: &str, text: String) -> Answer {
    Answer {
        status,
        headers: vec![("Content-Type", content_type.to_owned())],
        body: Body::Memory(Bytes::from(text)),
    }
}
