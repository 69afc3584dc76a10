//! One client connection: request after request until either side has had enough.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::answer::{Answer, answer, injected};
use super::services::Arrival;
use super::transfer::send;
use super::{Shared, own, services};
use crate::config::RESERVED_PREFIX;
use crate::control_plane::{Route, route};
use crate::fault::Fault;
use crate::http1::{Head, HeadError, decode_path, read_head};
use crate::request_log::RequestRecord;

/// Time a connection may be idle, and time for a head to arrive.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// Longest request body (a fault list).
const REQUEST_BODY_LIMIT_BYTES: usize = 1 << 20;
/// Bytes of further requests that are read ahead while an answer waits.
const READ_AHEAD_LIMIT_BYTES: usize = 64 << 10;

/// A connection with what was read ahead of it.
pub(super) struct Client<S> {
    pub(super) stream: S,
    pub(super) received: BytesMut,
}

/// Whether the connection can carry another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    KeepAlive,
    Close,
    /// Close at once, without the farewell of TLS.
    Cut,
}

/// A request as the answering code needs it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    /// Decoded, without query. Empty when the target is not readable as a path.
    pub(super) path: String,
    pub(super) head: Head,
    pub(super) body: Bytes,
    keep_alive: bool,
}

pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, arrival: Arrival, shared: &Shared) {
    let peer = arrival.peer;
    let mut client = Client { stream, received: BytesMut::with_capacity(4096) };
    loop {
        let head = tokio::select! {
            biased;
            head = timeout(IDLE_LIMIT, read_head(&mut client.stream, &mut client.received)) => head,
            () = shared.stopping.cancelled() => break,
        };
        let next = match head {
            Ok(Ok(Some(head))) => exchange(&mut client, head, arrival, shared).await,
            Ok(Ok(None)) | Err(_) => Ok(Next::Close),
            Ok(Err(HeadError::Io(error))) => Err(error),
            Ok(Err(error)) => refuse(&mut client, 400, &error.to_string(), peer, shared).await,
        };
        match next {
            Ok(Next::KeepAlive) => {}
            Ok(Next::Close) => break,
            Ok(Next::Cut) => return,
            Err(error) => {
                tracing::debug!(%peer, %error, "connection ended early");
                return;
            }
        }
    }
    if let Err(error) = client.stream.shutdown().await {
        tracing::debug!(%peer, %error, "unable to close a connection properly");
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    head: Head,
    arrival: Arrival,
    shared: &Shared,
) -> io::Result<Next> {
    let peer = arrival.peer;
    let mut request = match Request::new(head) {
        Ok(request) => request,
        Err(reason) => return refuse(client, 400, reason, peer, shared).await,
    };
    match read_body(client, &request.head).await? {
        Ok(body) => request.body = body,
        Err((status, reason)) => return refuse(client, status, reason, peer, shared).await,
    }
    if request.path.starts_with(RESERVED_PREFIX) {
        let answer = own::answer(&request, shared).await;
        return send(client, &request, answer, &Fault::default(), None, None, shared).await;
    }
    let route = route_of(&request, shared).await;
    let service = route.as_ref().map(Route::service);
    let record = shared.log.begin(RequestRecord { service, ..request.record(peer) });
    let (fault, replaced) = shared.faults.take(&request.path, service);
    let asked = Asked { request: &request, route: route.as_ref(), arrival };
    let result = respond(client, asked, &fault, replaced, &record, shared).await;
    shared.log.finish(&record).await;
    result
}

/// The service that the request is for. An object of the mock wins over a piece hash file that would be made.
async fn route_of(request: &Request, shared: &Shared) -> Option<Route> {
    shared.services.as_ref()?;
    let route = route(request.encoded_path())?;
    if matches!(route, Route::PieceHashFile { .. }) {
        let (catalogue, path) = (Arc::clone(&shared.catalogue), request.path.clone());
        let exists = tokio::task::spawn_blocking(move || catalogue.open(&path).is_ok()).await;
        return (!exists.unwrap_or(false)).then_some(route);
    }
    Some(route)
}

/// A request with what is known about it from outside of its bytes.
#[derive(Clone, Copy)]
struct Asked<'a> {
    request: &'a Request,
    route: Option<&'a Route>,
    arrival: Arrival,
}

async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    asked: Asked<'_>,
    fault: &Fault,
    replaced: tokio::sync::watch::Receiver<u64>,
    record: &crate::request_log::OpenRequest,
    shared: &Shared,
) -> io::Result<Next> {
    if fault.delay_milliseconds > 0 {
        let delay = Duration::from_millis(fault.delay_milliseconds);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = client.left() => return Ok(Next::Close),
            () = shared.stopping.cancelled() => return Ok(Next::Close),
        }
    }
    let Asked { request, route, arrival } = asked;
    let answer = match (injected(fault), route, &shared.services) {
        (Some(answer), _, _) => answer,
        (None, Some(route), Some(running)) => {
            let (answer, refusal) = services::answer(request, route, arrival, fault, running).await;
            record.lock().refusal = refusal;
            answer
        }
        _ => answer(request, fault, shared).await,
    };
    // A piece hash file already has the wrong hash in it.
    let fault = Fault { corrupt_piece: fault.corrupt_piece.filter(|_| route.is_none()), ..fault.clone() };
    send(client, request, answer, &fault, Some(replaced), Some(record), shared).await
}

/// Answers something that is no usable request; the connection can't go on because its next request can't be found.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    status: u16,
    reason: &str,
    peer: SocketAddr,
    shared: &Shared,
) -> io::Result<Next> {
    tracing::debug!(%peer, status, reason, "request refused");
    let mut answer = Answer::text(status, reason);
    answer.headers.push(("Connection", "close".to_owned()));
    let request = Request::unreadable();
    send(client, &request, answer, &Fault::default(), None, None, shared).await?;
    Ok(Next::Close)
}

/// The body of a request, or the status and reason to refuse it with.
async fn read_body<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    head: &Head,
) -> io::Result<Result<Bytes, (u16, &'static str)>> {
    if head.header("transfer-encoding").is_some() {
        return Ok(Err((411, "send the body with Content-Length")));
    }
    let Some(length) = head.header("content-length") else { return Ok(Ok(Bytes::new())) };
    let Ok(length) = length.parse::<usize>() else {
        return Ok(Err((400, "Content-Length is not a number")));
    };
    if length > REQUEST_BODY_LIMIT_BYTES {
        return Ok(Err((413, "the body is longer than 1 MiB")));
    }
    let waits = head.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
    if waits && client.received.len() < length {
        client.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        client.stream.flush().await?;
    }
    while client.received.len() < length {
        let count = timeout(IDLE_LIMIT, client.stream.read_buf(&mut client.received)).await??;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Ok(client.received.split_to(length).freeze()))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Completes when the client closes its side or the connection breaks. Safe to cancel.
    pub(super) async fn left(&mut self) {
        while self.received.len() < READ_AHEAD_LIMIT_BYTES {
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending::<()>().await;
    }
}

impl Request {
    fn new(head: Head) -> Result<Self, &'static str> {
        let mut parts = head.start_line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("the request line is not `METHOD target HTTP/1.1`");
        };
        let keep_alive = match version {
            "HTTP/1.1" => !connection_option(&head, "close"),
            "HTTP/1.0" => connection_option(&head, "keep-alive"),
            _ => return Err("only HTTP/1.1 is spoken here"),
        };
        let path = path_of(target).ok_or("the request target is no readable path")?;
        Ok(Self {
            method: method.to_owned(),
            target: target.to_owned(),
            path,
            keep_alive,
            body: Bytes::new(),
            head,
        })
    }

    /// Stands for what could not be read when the refusal is sent.
    fn unreadable() -> Self {
        let head = Head { start_line: String::new(), headers: Vec::new() };
        Self {
            method: String::new(),
            target: String::new(),
            path: String::new(),
            head,
            body: Bytes::new(),
            keep_alive: false,
        }
    }

    /// The path as it was sent, which tells an encoded slash from a separator.
    pub(super) fn encoded_path(&self) -> &str {
        path_and_query(&self.target).0
    }

    /// The query as it was sent; empty when there is none.
    pub(super) fn query(&self) -> &str {
        path_and_query(&self.target).1
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    pub(super) fn next(&self) -> Next {
        if self.keep_alive { Next::KeepAlive } else { Next::Close }
    }

    fn record(&self, peer: SocketAddr) -> RequestRecord {
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &self.head.headers {
            headers
                .entry(name.to_ascii_lowercase())
                .and_modify(|earlier| {
                    earlier.push_str(", ");
                    earlier.push_str(value);
                })
                .or_insert_with(|| value.clone());
        }
        RequestRecord {
            time: jiff::Timestamp::now().to_string(),
            method: self.method.clone(),
            target: self.target.clone(),
            host: self.head.header("host").unwrap_or_default().to_owned(),
            range: self.head.header("range").map(str::to_owned),
            headers,
            service: None,
            refusal: None,
            status: None,
            body_bytes: 0,
            peer: peer.to_string(),
            finished: false,
        }
    }
}

fn connection_option(head: &Head, option: &str) -> bool {
    head.header("connection")
        .is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(option)))
}

/// The decoded path of a request target.
fn path_of(target: &str) -> Option<String> {
    decode_path(path_and_query(target).0).filter(|path| path.starts_with('/'))
}

/// Path and query of a request target, which may be an absolute URL.
fn path_and_query(target: &str) -> (&str, &str) {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |start| &rest[start..]),
        _ => target,
    };
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    path.split_once('?').unwrap_or((path, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_every_form_have_their_path() {
        for (target, path) in [
            ("/a/b", Some("/a/b")),
            ("/a%20b?c=d/e", Some("/a b")),
            ("http://host:80/a?x=http://y/", Some("/a")),
            ("http://host", Some("/")),
            ("/go?to=http://x", Some("/go")),
            ("*", None),
            ("a", None),
            ("/%zz", None),
        ] {
            assert_eq!(path_of(target).as_deref(), path, "{target}");
        }
    }
}
