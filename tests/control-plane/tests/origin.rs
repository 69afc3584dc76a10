//! The mock as an origin: objects, ranges, conditions, its own paths, over real sockets.

mod common;

use common::{BIG, BIG_LENGTH, BIG_SEED, Wire, formula_bytes, get, mock};
use connected_cache_mock_control_plane::{Config, Content, ManifestEntry, MockControlPlane, Requests};
use sha2::{Digest as _, Sha256};

#[tokio::test]
async fn a_whole_object_has_exact_headers_and_bytes() {
    let (mock, address) = mock(Vec::new()).await;
    let answer = get(address, "/formula/big?P1=1&cacheHostOrigin=x", &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Content-Length"), Some(BIG_LENGTH.to_string().as_str()));
    assert_eq!(answer.header("Accept-Ranges"), Some("bytes"));
    assert_eq!(answer.header("Last-Modified"), Some("Mon, 01 Jan 2024 00:00:00 GMT"));
    assert!(answer.header("ETag").is_some_and(|tag| tag.starts_with('"')), "{}", answer.head);
    assert_eq!(answer.header("Transfer-Encoding"), None);
    assert!(answer.body == formula_bytes(BIG_SEED, 0, BIG_LENGTH), "wrong bytes");
    mock.shutdown().await;
}

#[tokio::test]
async fn ranges_on_one_kept_connection_are_exact() {
    let (mock, address) = mock(Vec::new()).await;
    let mut wire = Wire::open(address).await;
    let end = BIG_LENGTH;
    for (range, first, last) in [
        ("0-1", 0, 1),
        ("1048576-2097151", 1_048_576, 2_097_151),
        ("3145728-", 3_145_728, end - 1),
        ("-5", end - 5, end - 1),
        ("3145740-99999999", 3_145_740, end - 1),
        ("5-5", 5, 5),
    ] {
        let answer = wire.get(BIG, &[&format!("Range: bytes={range}")]).await;
        assert_eq!(answer.status, 206, "{range}: {}", answer.head);
        let content_range = format!("bytes {first}-{last}/{end}");
        assert_eq!(answer.header("Content-Range"), Some(content_range.as_str()), "{range}");
        assert!(answer.body == formula_bytes(BIG_SEED, first, last - first + 1), "{range}: wrong bytes");
    }
    let answer = wire.get(BIG, &[&format!("Range: bytes={end}-")]).await;
    assert_eq!((answer.status, answer.header("Content-Range")), (416, Some("bytes */3145745")));
    let answer = wire.get(BIG, &["Range: bytes=0-1,4-5"]).await;
    assert_eq!((answer.status, answer.body.len() as u64), (200, end));
    let answer = wire.ask("HEAD", BIG, &["Range: bytes=0-1"]).await;
    assert_eq!((answer.status, answer.header("Content-Length")), (200, Some("3145745")));
    let answer = wire.get("/missing", &[]).await;
    assert_eq!(answer.status, 404);
    let answer = wire.ask("POST", BIG, &["Content-Length: 0"]).await;
    assert_eq!((answer.status, answer.header("Allow")), (405, Some("GET, HEAD")));
    let peers: Vec<_> = mock.requests().requests.into_iter().map(|request| request.peer).collect();
    assert!(peers.len() == 11 && peers.iter().all(|peer| *peer == peers[0]), "not one connection: {peers:?}");
    mock.shutdown().await;
}

#[tokio::test]
async fn conditions_follow_the_validators() {
    let (mock, address) = mock(Vec::new()).await;
    let mut wire = Wire::open(address).await;
    let first = wire.ask("HEAD", BIG, &[]).await;
    let tag = first.header("ETag").expect("a tag").to_owned();
    let date = first.header("Last-Modified").expect("a date").to_owned();

    for (header, status) in [
        (format!("If-None-Match: {tag}"), 304),
        (format!("If-None-Match: \"other\", W/{tag}"), 304),
        ("If-None-Match: *".to_owned(), 304),
        ("If-None-Match: \"other\"".to_owned(), 206),
        (format!("If-Modified-Since: {date}"), 304),
        ("If-Modified-Since: Sun, 31 Dec 2023 23:59:59 GMT".to_owned(), 206),
        (format!("If-Range: {tag}"), 206),
        ("If-Range: \"other\"".to_owned(), 200),
        (format!("If-Range: W/{tag}"), 200),
        (format!("If-Range: {date}"), 206),
        ("If-Range: Sun, 31 Dec 2023 23:59:59 GMT".to_owned(), 200),
    ] {
        let answer = wire.get(BIG, &["Range: bytes=0-1", &header]).await;
        assert_eq!(answer.status, status, "{header}");
    }
    mock.shutdown().await;
}

#[tokio::test]
async fn a_folder_is_served_and_never_left() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let folder = outside.path().join("content");
    std::fs::create_dir_all(folder.join("sub dir")).unwrap();
    let bytes: Vec<u8> = (0..700_000_u32).map(|value| (value % 251) as u8).collect();
    std::fs::write(folder.join("sub dir/a+b.bin"), &bytes).unwrap();
    std::fs::write(folder.join("empty"), "").unwrap();
    std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
    let content = Content { folder: Some(folder.clone()), formulas: Vec::new() };
    let mock = MockControlPlane::start(Config { content, ..Config::default() }).await.unwrap();
    let mut wire = Wire::open(mock.http_address().unwrap()).await;

    let answer = wire.get("/sub%20dir/a+b.bin", &["Range: bytes=300000-"]).await;
    assert_eq!(answer.status, 206);
    assert!(answer.body == bytes[300_000..], "wrong bytes");
    let answer = wire.get("/empty", &[]).await;
    assert_eq!((answer.status, answer.header("Content-Length")), (200, Some("0")));
    for path in [
        "/link",
        "/../secret",
        "/sub%20dir/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/sub%20dir",
        "/",
    ] {
        let answer = wire.get(path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.body.starts_with(b"secret"), "{path}");
    }

    let tag = wire.ask("HEAD", "/empty", &[]).await.header("ETag").unwrap().to_owned();
    std::fs::write(folder.join("empty"), "no longer").unwrap();
    let answer = wire.get("/empty", &[&format!("If-None-Match: {tag}")]).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"no longer".as_slice()));

    let answer = wire.get("/_manifest", &[]).await;
    let manifest: Vec<ManifestEntry> = serde_json::from_slice(&answer.body).unwrap();
    let expected =
        [("/empty", b"no longer".as_slice()), ("/sub%20dir/a%2Bb.bin", &bytes)].map(|(path, bytes)| {
            let sha256 = hex::encode(Sha256::digest(bytes));
            ManifestEntry { path: path.to_owned(), length: bytes.len() as u64, sha256 }
        });
    assert_eq!(manifest, expected);
    std::fs::write(folder.join("empty"), "again!").unwrap();
    let answer = wire.get("/_manifest", &[]).await;
    let manifest: Vec<ManifestEntry> = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(manifest[0].sha256, hex::encode(Sha256::digest("again!")));
    mock.shutdown().await;
}

#[tokio::test]
async fn the_request_log_says_what_was_asked_and_sent() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("requests.jsonl");
    let formula = connected_cache_mock_control_plane::FormulaObject {
        path: BIG.to_owned(),
        length_bytes: BIG_LENGTH,
        seed: 1,
    };
    let mock = MockControlPlane::start(Config {
        content: Content { folder: None, formulas: vec![formula] },
        request_log: Some(file.clone()),
        ..Config::default()
    })
    .await
    .unwrap();
    let address = mock.http_address().unwrap();
    let mut wire = Wire::open(address).await;
    wire.get("/formula/big?a=b", &["Range: bytes=0-9", "MS-CV: x.1", "X-Two: 1", "x-two: 2"]).await;
    wire.ask("HEAD", BIG, &[]).await;
    wire.get("/_healthz", &[]).await;

    let answer = wire.get("/_requests", &[]).await;
    let log: Requests = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((log.totals.requests, log.totals.body_bytes), (2, 10));
    let first = &log.requests[0];
    assert_eq!(
        (first.method.as_str(), first.target.as_str(), first.host.as_str(), first.range.as_deref()),
        ("GET", "/formula/big?a=b", "origin.example", Some("bytes=0-9"))
    );
    assert_eq!((first.status, first.body_bytes, first.finished), (Some(206), 10, true));
    assert_eq!(first.headers["ms-cv"], "x.1");
    assert_eq!(first.headers["x-two"], "1, 2");
    assert_eq!((log.requests[1].method.as_str(), log.requests[1].body_bytes), ("HEAD", 0));

    assert_eq!(wire.ask("DELETE", "/_requests", &[]).await.status, 204);
    assert_eq!(mock.requests(), Requests::default());
    wire.get("/missing", &[]).await;
    assert_eq!(mock.requests().totals.requests, 1);
    mock.shutdown().await;

    let lines = std::fs::read_to_string(file).unwrap();
    let statuses: Vec<u64> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [206, 200, 404]);
}

#[tokio::test]
async fn requests_that_are_none_get_an_answer_and_the_end() {
    let (mock, address) = mock(Vec::new()).await;
    for (request, status) in [
        ("nonsense\r\n\r\n", 400),
        ("GET /formula/big HTTP/2\r\n\r\n", 400),
        ("GET /%zz HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nbroken\r\n\r\n", 400),
        ("PUT /_faults HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        ("PUT /_faults HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", 413),
        ("GET /_nothing HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
    ] {
        let mut wire = Wire::open(address).await;
        wire.send(request).await;
        let answer = wire.answer(false).await;
        assert_eq!(answer.status, status, "{request:?}");
        assert_eq!(answer.header("Connection"), Some("close"), "{request:?}");
        assert!(!wire.more().await, "{request:?}: the connection stayed open");
    }
    mock.shutdown().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (mock, address) = mock(Vec::new()).await;
    let mut wire = Wire::open(address).await;
    let request = |range| format!("GET {BIG} HTTP/1.1\r\nRange: bytes={range}\r\n\r\n");
    wire.send(&[request("0-2"), request("3-5"), request("6-8")].concat()).await;
    let mut bytes = Vec::new();
    for _ in 0..3 {
        bytes.extend(wire.answer(false).await.body);
    }
    assert_eq!(bytes, formula_bytes(BIG_SEED, 0, 9));
    mock.shutdown().await;
}

#[tokio::test]
async fn shutdown_finishes_a_running_transfer_and_closes_the_port() {
    let (mock, address) = mock(Vec::new()).await;
    let mut idle = Wire::open(address).await;
    assert_eq!(idle.get("/_healthz", &[]).await.body, b"ok\n");
    let mut running = Wire::open(address).await;
    running.send(&format!("GET {BIG} HTTP/1.1\r\n\r\n")).await;
    let head = running.head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (answer_length, ()) = tokio::join!(
        async {
            while running.more().await {}
            running.received.len() as u64
        },
        mock.shutdown()
    );
    assert_eq!(answer_length, BIG_LENGTH);
    assert!(!idle.more().await, "an idle connection survived");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the port is still open");
}
