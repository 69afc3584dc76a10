//! Memory stays bounded: many slow clients in the middle of large objects that nobody has asked for before.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use connected_cache_config::ByteSize;
use futures::{StreamExt, stream};
use http::{Request, Response, StatusCode, header};
use http_body_util::StreamBody;
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::Barrier};

use crate::support::{Connection, HOST, MIB, Origin, Process, config};

const CLIENTS: usize = 1000;
const OBJECTS: usize = 20;
const LENGTH: u64 = 4096 * MIB;
/// What each client reads before it leaves.
const READ_BYTES: usize = 2 << 20;
/// `storage.memory`.
const MEMORY: u64 = 256 * MIB;
/// What the origin writes at once.
const BLOCK: &[u8] = &[0; 64 << 10];
/// For a connection: its state and what of a reply waits for it.
const EACH_CLIENT: u64 = 192 << 10;
/// For the process itself: code, index, threads, allocator.
const BASE: u64 = 128 * MIB;

/// An origin of objects that are all zeros, as fast as it goes.
async fn zeros() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                let range = request.headers()[header::RANGE].to_str().unwrap().to_owned();
                let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
                let length = last - first + 1;
                let blocks = (0..length.div_ceil(BLOCK.len() as u64)).map(move |number| {
                    let left =
                        usize::try_from(length).unwrap() - usize::try_from(number).unwrap() * BLOCK.len();
                    Ok::<_, Infallible>(Frame::data(Bytes::from_static(&BLOCK[..left.min(BLOCK.len())])))
                });
                let response = Response::builder()
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{LENGTH}"))
                    .header(header::CONTENT_LENGTH, length)
                    .header(header::ETAG, "\"zeros\"");
                Ok::<_, Infallible>(response.body(StreamBody::new(stream::iter(blocks))).unwrap())
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// Bytes of one line of `/proc/PID/status`.
fn status_bytes(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Each client is an open file here and one there.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    assert!(limit.maximum.is_none_or(|most| most > 4096), "the hard limit of open files is {limit:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_clients_of_cold_large_objects_fit_into_bounded_memory() {
    raise_file_limit();
    let (origin, folder, scratch) =
        (Origin::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config(&origin, folder.path());
    config.upstream.resolve.insert(HOST.into(), zeros().await);
    config.storage.memory = Some(ByteSize::from_bytes(MEMORY));
    let process = Process::start(&config, scratch.path());
    let (pid, http) = (process.id(), process.http);

    let largest = Arc::new(AtomicU64::new(0));
    let sampler = tokio::spawn({
        let largest = largest.clone();
        async move {
            loop {
                largest.fetch_max(status_bytes(pid, "RssAnon"), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let everybody = Arc::new(Barrier::new(CLIENTS));
    let (turned_away, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients = (0..CLIENTS).map(|number| {
        let (everybody, turned_away, cut) = (everybody.clone(), turned_away.clone(), cut.clone());
        async move {
            let offset = (number / OBJECTS) as u64 * 80 * MIB;
            let target = format!("/{}?cacheHostOrigin={HOST}", number % OBJECTS);
            let mut connection = Connection::open(http).await;
            connection.request("GET", &target, &[&format!("Range: bytes={offset}-")]).await;
            let (status, headers) = connection.head().await;
            if status == 206 {
                connection.body_up_to(1).await;
            }
            // All are in the middle of their reply now.
            everybody.wait().await;
            if status == 206 {
                let body = connection.body_up_to(READ_BYTES).await;
                assert!(body.iter().all(|byte| *byte == 0));
                cut.fetch_add(usize::from(body.len() < READ_BYTES), Ordering::Relaxed);
            } else {
                // More than fits at once: told to come again, by nothing that keeps it away.
                assert_eq!(status, 503);
                assert!(headers.iter().any(|(name, _)| name == "Retry-After"));
                turned_away.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    stream::iter(clients).for_each_concurrent(None, |client| client).await;
    sampler.abort();
    let (turned_away, cut) = (turned_away.load(Ordering::Relaxed), cut.load(Ordering::Relaxed));
    let largest = largest.load(Ordering::Relaxed);
    let most = MEMORY + CLIENTS as u64 * EACH_CLIENT + BASE;
    println!(
        "{CLIENTS} clients on {OBJECTS} cold objects of 4 GiB: at most {} MiB of {} MiB; {} MiB with mapped files; {turned_away} turned away, {cut} cut",
        largest >> 20,
        most >> 20,
        status_bytes(pid, "VmHWM") >> 20,
    );
    assert!(largest <= most, "{} MiB", largest >> 20);
    assert!(turned_away + cut < CLIENTS, "nobody was served");
}
