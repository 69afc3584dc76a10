//! An origin of hyper on a real socket: content by formula, faults by path, and a log of what it was asked.

use std::{
    collections::BTreeMap, convert::Infallible, net::SocketAddr, ops::Range, sync::Arc, time::Instant,
};

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

/// One object: byte i is a function of the seed and i.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) length: u64,
    pub(crate) seed: u64,
    pub(crate) etag: Option<&'static str>,
    pub(crate) last_modified: Option<&'static str>,
    /// More headers; one of the usual names replaces that.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

impl Content {
    pub(crate) const fn new(length: u64, seed: u64) -> Self {
        Self {
            length,
            seed,
            etag: Some("\"one\""),
            last_modified: Some("Mon, 05 Jan 2026 00:00:00 GMT"),
            headers: &[],
        }
    }

    /// The right bytes.
    pub(crate) fn bytes(&self, range: Range<u64>) -> Vec<u8> {
        // Neighbouring bytes, pages and pieces all differ, so that a wrong offset shows.
        let byte =
            |index: u64| ((index ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).to_le_bytes()[0];
        range.map(byte).collect()
    }

    pub(crate) fn whole(&self) -> Vec<u8> {
        self.bytes(0..self.length)
    }
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answers this status, with a text.
    Status(u16),
    /// Answers HEAD by this status.
    HeadStatus(u16),
    /// Says of any range that it lies outside of so many bytes.
    Outside(u64),
    /// Refuses whoever does not have this in its query, by a 403 that comes when the gate is open.
    SignedBy(&'static str),
    /// Ignores ranges.
    NoRanges,
    /// Ends the connection after so many body bytes of the announced ones.
    CutAfter(usize),
    /// Announces the whole and sends nothing at all.
    Silence,
    /// Sends chunked, without a length, and ignores ranges.
    Chunked,
    /// Redirects, by 302.
    Redirect(String),
    /// Redirects by this status.
    RedirectBy(u16, String),
    /// Waits for [`Origin::open_gate`] before it answers, with what it had when it was asked.
    GateHead,
    /// Sends so many body bytes, then waits for [`Origin::open_gate`].
    GateAfter(usize),
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: http::HeaderMap,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

#[derive(Default)]
struct State {
    contents: BTreeMap<String, Content>,
    faults: BTreeMap<String, Fault>,
    seen: Vec<Seen>,
}

pub(crate) struct Origin {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    gate: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Body = BoxBody<Bytes, std::io::Error>;

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, gate) = (Arc::new(Mutex::new(State::default())), Arc::new(Semaphore::new(0)));
        let task = tokio::spawn(accept(listener, state.clone(), gate.clone()));
        Self { address, state, gate, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn put(&self, path: &str, content: &Content) {
        self.state.lock().contents.insert(path.to_owned(), content.clone());
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.lock().contents.remove(path);
    }

    pub(crate) fn set_fault(&self, path: &str, fault: Option<Fault>) {
        let mut state = self.state.lock();
        match fault {
            Some(fault) => state.faults.insert(path.to_owned(), fault),
            None => state.faults.remove(path),
        };
    }

    pub(crate) fn open_gate(&self) {
        self.gate.close();
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().seen.clone()
    }

    /// The `Range` fields so far, sorted.
    pub(crate) fn ranges(&self) -> Vec<String> {
        let mut ranges: Vec<String> =
            self.seen().iter().map(|seen| seen.header("range").unwrap_or("none").to_owned()).collect();
        ranges.sort();
        ranges
    }

    pub(crate) fn forget(&self) {
        self.state.lock().seen.clear();
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>, gate: Arc<Semaphore>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (state, gate) = (state.clone(), gate.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &state, &gate);
                async { Ok::<_, Infallible>(response.await) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    state: &Mutex<State>,
    gate: &Arc<Semaphore>,
) -> impl Future<Output = Response<Body>> + use<> {
    let target = request.uri().to_string();
    let path = request.uri().path().to_owned();
    let mut state = state.lock();
    let method = request.method().clone();
    let is_head = method == Method::HEAD;
    state.seen.push(Seen { at: Instant::now(), method, target, headers: request.headers().clone() });
    let (content, fault) = (state.contents.get(&path).cloned(), state.faults.get(&path).cloned());
    drop(state);
    let range = request.headers().get(header::RANGE).map(|value| value.to_str().unwrap().to_owned());
    let text = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let conditions = Conditions { tag: text(header::IF_NONE_MATCH), date: text(header::IF_MODIFIED_SINCE) };
    let gate = gate.clone();
    let query = request.uri().query().unwrap_or_default().to_owned();
    async move {
        if let Some(Fault::HeadStatus(status)) = fault
            && is_head
        {
            return respond(None, &conditions, None, Some(Fault::Status(status)), gate);
        }
        if let Some(Fault::SignedBy(signature)) = fault
            && !query.contains(signature)
        {
            let _ = gate.acquire().await;
            return respond(None, &conditions, None, Some(Fault::Status(403)), gate);
        }
        if matches!(fault, Some(Fault::Silence)) {
            std::future::pending::<()>().await;
        }
        if matches!(fault, Some(Fault::GateHead)) {
            // Closed = open: whoever waits goes on.
            let _ = gate.acquire().await;
        }
        respond(content.as_ref(), &conditions, range.as_deref(), fault, gate)
    }
}

/// What the client has, by tag or by date.
struct Conditions {
    tag: Option<String>,
    date: Option<String>,
}

impl Conditions {
    fn hold(&self, content: &Content) -> bool {
        match (&self.tag, &self.date) {
            (Some(tag), _) => Some(tag.as_str()) == content.etag,
            (None, Some(date)) => Some(date.as_str()) == content.last_modified,
            (None, None) => false,
        }
    }
}

fn respond(
    content: Option<&Content>,
    conditions: &Conditions,
    range: Option<&str>,
    fault: Option<Fault>,
    gate: Arc<Semaphore>,
) -> Response<Body> {
    let plain = |status: u16| {
        let mut response = Response::new(full(b"the origin's own words".to_vec()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    };
    match fault {
        Some(Fault::Status(status)) => return plain(status),
        Some(Fault::Outside(total)) => {
            let mut response = plain(416);
            let value = HeaderValue::try_from(format!("bytes */{total}")).unwrap();
            response.headers_mut().insert(header::CONTENT_RANGE, value);
            return response;
        }
        Some(Fault::Redirect(location)) => {
            return respond(content, conditions, range, Some(Fault::RedirectBy(302, location)), gate);
        }
        Some(Fault::RedirectBy(status, location)) => {
            let mut response = plain(status);
            response.headers_mut().insert(header::LOCATION, HeaderValue::try_from(location).unwrap());
            return response;
        }
        _ => {}
    }
    let Some(content) = content else { return plain(404) };
    if conditions.hold(content) {
        let mut response = plain(304);
        *response.body_mut() = full(Vec::new());
        add(response.headers_mut(), content);
        return response;
    }
    let ignore_range = matches!(fault, Some(Fault::NoRanges | Fault::Chunked));
    let asked = range.filter(|_| !ignore_range).map(|value| parse(value, content.length));
    let mut response = Response::new(full(Vec::new()));
    let bytes = match asked {
        Some(None) => {
            let value = HeaderValue::try_from(format!("bytes */{}", content.length)).unwrap();
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            response.headers_mut().insert(header::CONTENT_RANGE, value);
            return response;
        }
        Some(Some((first, last))) => {
            let value = HeaderValue::try_from(format!("bytes {first}-{last}/{}", content.length)).unwrap();
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response.headers_mut().insert(header::CONTENT_RANGE, value);
            content.bytes(first..last + 1)
        }
        None => content.whole(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"f.cab\""));
    headers.insert("x-private", HeaderValue::from_static("not for clients"));
    add(headers, content);
    if !matches!(fault, Some(Fault::Chunked)) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    *response.body_mut() = match fault {
        Some(Fault::CutAfter(count)) => cut(bytes, count),
        Some(Fault::GateAfter(count)) => gated(bytes, count, gate),
        Some(Fault::Chunked) => stream(vec![Ok(bytes)]),
        _ => full(bytes),
    };
    response
}

/// Validators and the headers that the content brings.
fn add(headers: &mut http::HeaderMap, content: &Content) {
    for (name, value) in [(header::ETAG, content.etag), (header::LAST_MODIFIED, content.last_modified)] {
        if let Some(value) = value {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    for (name, value) in content.headers {
        headers.insert(*name, HeaderValue::from_static(value));
    }
}

/// First and last byte of `bytes=a-b`, `bytes=a-` or `bytes=-n`; `None` = outside the content.
fn parse(value: &str, length: u64) -> Option<(u64, u64)> {
    let number = |text: &str| text.parse::<u64>().unwrap();
    let (first, last) = match value.strip_prefix("bytes=").unwrap().split_once('-').unwrap() {
        ("", suffix) => (length.saturating_sub(number(suffix)), u64::MAX),
        (first, "") => (number(first), u64::MAX),
        (first, last) => (number(first), number(last)),
    };
    (first < length).then(|| (first, last.min(length - 1)))
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()
}

fn stream(parts: Vec<Result<Vec<u8>, std::io::Error>>) -> Body {
    let frames = parts.into_iter().map(|part| part.map(|bytes| Frame::data(Bytes::from(bytes))));
    BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)))
}

fn cut(mut bytes: Vec<u8>, count: usize) -> Body {
    bytes.truncate(count);
    // The pause lets hyper send what it has before it sees the error.
    let first = futures::stream::iter([Ok(Frame::data(Bytes::from(bytes)))]);
    let then = futures::stream::once(async {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        Err(std::io::Error::other("cut"))
    });
    BodyExt::boxed(StreamBody::new(first.chain(then)))
}

fn gated(mut bytes: Vec<u8>, count: usize, gate: Arc<Semaphore>) -> Body {
    let rest = bytes.split_off(count.min(bytes.len()));
    let first = futures::stream::iter([Ok(Frame::data(Bytes::from(bytes)))]);
    let then = futures::stream::once(async move {
        // Closed = open: whoever waits goes on.
        let _ = gate.acquire().await;
        Ok(Frame::data(Bytes::from(rest)))
    });
    BodyExt::boxed(StreamBody::new(first.chain(then)))
}
