//! The scripted client against the mock: right content passes, and each kind of wrong content is found.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod common;

use std::time::Duration;

use common::{BIG, BIG_LENGTH, mock};
use connected_cache_mock_control_plane::client::{self, CacheAddress, Mode, Plan, Report};
use connected_cache_mock_control_plane::{Fault, MockControlPlane};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

async fn plan(mock: &MockControlPlane, mode: Mode) -> Plan {
    let address = mock.http_address().unwrap();
    let manifest = client::manifest(&format!("http://{address}/_manifest")).await.unwrap();
    let plan = Plan::new(address.into(), "dl.delivery.mp.microsoft.com", manifest);
    Plan { mode, ..plan }
}

async fn fetch_with(faults: Vec<Fault>, mode: Mode) -> Report {
    let (mock, _) = mock(Vec::new()).await;
    // Only where silence is expected: a busy machine must not look like a silent cache.
    let silent = faults.iter().any(|fault| fault.stall_after_bytes.is_some() || fault.delay_milliseconds > 0);
    let silence_limit = if silent { Duration::from_millis(500) } else { common::PATIENCE };
    let plan = Plan { silence_limit, ..plan(&mock, mode).await };
    mock.set_faults(faults).unwrap();
    let report = client::fetch(&plan, |_| {}).await;
    mock.shutdown().await;
    report
}

fn fault() -> Fault {
    Fault { path: BIG.to_owned(), ..Fault::default() }
}

#[tokio::test]
async fn it_asks_as_windows_does() {
    let (mock, _) = mock(Vec::new()).await;
    let report = client::fetch(&plan(&mock, Mode::Ranges).await, |_| {}).await;
    assert!(report.is_right(), "{:?}", report.errors().collect::<Vec<_>>());
    let requests = mock.requests().requests;
    let ranges: Vec<_> = requests.iter().map(|request| request.range.clone().unwrap_or_default()).collect();
    assert_eq!(
        ranges,
        [
            "bytes=0-1",
            "bytes=0-1048575",
            "bytes=1048576-2097151",
            "bytes=2097152-3145727",
            "bytes=3145728-3145744"
        ]
    );
    for request in &requests {
        assert_eq!(request.target, "/formula/big?cacheHostOrigin=dl.delivery.mp.microsoft.com");
        assert_eq!(request.headers["user-agent"], "Microsoft-Delivery-Optimization/10.1");
        assert!(request.headers["ms-cv"].contains('.'), "{:?}", request.headers);
        assert_eq!(request.host, mock.http_address().unwrap().to_string());
        assert_eq!(request.peer, requests[0].peer, "not one kept connection");
    }
    mock.shutdown().await;
}

#[tokio::test]
async fn parallel_ranges_and_repetitions_hash_in_order() {
    let (mock, _) = mock(Vec::new()).await;
    let plan = Plan { parallel: 4, repeat: 3, ..plan(&mock, Mode::Ranges).await };
    let mut rounds = Vec::new();
    let report = client::fetch(&plan, |object| rounds.push(object.round)).await;
    assert!(report.is_right(), "{:?}", report.errors().collect::<Vec<_>>());
    assert_eq!(rounds, [1, 2, 3]);
    assert_eq!(report.totals.bytes, 3 * (BIG_LENGTH + 2));
    assert_eq!(mock.requests().totals.body_bytes, report.totals.bytes);
    assert_eq!((report.totals.hits, report.totals.misses), (0, 0), "an origin is no cache");
    mock.shutdown().await;
}

#[tokio::test]
async fn each_fault_is_found_and_described() {
    for (name, fault, expected) in [
        ("status", Fault { status: Some(503), ..fault() }, "status 503"),
        ("cut", Fault { cut_after_bytes: Some(1000), ..fault() }, "closed after 1000 body bytes"),
        ("corrupt", Fault { corrupt_byte: Some(2_000_000), ..fault() }, "sha256 "),
        ("stall", Fault { stall_after_bytes: Some(1000), ..fault() }, "silence for 0.5 s"),
    ] {
        for mode in [Mode::Whole, Mode::Ranges] {
            let report = fetch_with(vec![fault.clone()], mode).await;
            let errors: Vec<String> = report.errors().map(|(_, error)| error.to_string()).collect();
            // The probe of two bytes is over before byte 1000.
            assert_eq!(errors.len(), 1, "{name} {mode:?}: {errors:?}");
            assert!(errors[0].contains(expected), "{name} {mode:?}: {errors:?}");
            assert_eq!(report.totals.errors, 1);
        }
    }
    let report = fetch_with(vec![Fault { status: Some(200), ..fault() }], Mode::Ranges).await;
    let (_, error) = report.errors().next().expect("a 200 for a range passed");
    assert_eq!((error.expected.as_str(), error.received.as_str()), ("status 206", "status 200"));
    let report = fetch_with(vec![Fault { delay_milliseconds: 20_000, ..fault() }], Mode::Whole).await;
    assert!(!report.is_right(), "a late answer passed");
}

/// Answers every connection with the same bytes; for what the mock itself never does.
async fn scripted(answer: &'static str) -> Report {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            while stream.read(&mut request).await.is_ok_and(|count| count > 0) {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    });
    let manifest = serde_json::from_str(
        // SHA-256 of the three bytes abc, FIPS 180-2 appendix B.1.
        r#"[{"path": "/a?P1=1", "length": 3, "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}]"#,
    )
    .unwrap();
    let report = client::fetch(&Plan::new(address.into(), "h", manifest), |_| {}).await;
    server.abort();
    report
}

#[tokio::test]
async fn heads_that_would_harm_real_clients_are_found() {
    let report = scripted(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Cache: HIT\r\nCache-Status: connectedcache; hit; detail=disk\r\n\r\nabc",
    )
    .await;
    assert!(report.is_right(), "{:?}", report.errors().collect::<Vec<_>>());
    assert_eq!((report.totals.hits, report.totals.misses), (1, 0));

    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", "header spelled content-length"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd", "Content-Length: 4"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", "1 bytes more"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Cache: HIT\r\nCache-Status: c; fwd=miss\r\n\r\nabc",
            "X-Cache: HIT",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabd",
            "sha256 a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9",
        ),
        ("HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", "status 302"),
        ("nonsense\r\n\r\n", "nonsense"),
    ] {
        let report = scripted(answer).await;
        let errors: Vec<String> = report.errors().map(|(_, error)| error.to_string()).collect();
        assert!(errors.iter().any(|error| error.contains(expected)), "{answer:?}: {errors:?}");
    }
}

#[tokio::test]
async fn a_cache_that_begins_to_listen_late_is_reached_and_one_that_never_does_is_not() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let cache: CacheAddress = format!("http://{address}").parse().unwrap();
    let none = client::reachable(&cache, Duration::from_millis(120)).await;
    assert!(none.is_err_and(|error| error.to_string().contains("refused")));
    let waiting = tokio::spawn(async move { client::reachable(&cache, Duration::from_secs(30)).await });
    let _listener = tokio::net::TcpListener::bind(address).await.unwrap();
    waiting.await.unwrap().unwrap();
}
