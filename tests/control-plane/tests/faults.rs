//! Each fault on the wire, and changing them while the mock runs.

mod common;

use std::time::{Duration, Instant};

use common::{BIG, BIG_LENGTH, BIG_SEED, Wire, formula_bytes, get, mock};
use connected_cache_mock_control_plane::Fault;

fn fault() -> Fault {
    Fault { path: BIG.to_owned(), ..Fault::default() }
}

#[tokio::test]
async fn a_status_replaces_the_object_as_often_as_told() {
    let (mock, address) = mock(vec![Fault { status: Some(503), times: Some(2), ..fault() }]).await;
    let mut wire = Wire::open(address).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(wire.get(BIG, &["Range: bytes=0-1"]).await.status);
    }
    assert_eq!(seen, [503, 503, 206]);
    assert_eq!(mock.faults()[0].times, Some(0));
    mock.shutdown().await;
}

#[tokio::test]
async fn bodiless_statuses_have_no_body_and_200_ignores_the_range() {
    let (mock, address) = mock(vec![Fault { status: Some(204), ..fault() }]).await;
    let mut wire = Wire::open(address).await;
    let answer = wire.get(BIG, &[]).await;
    assert_eq!((answer.status, answer.header("Content-Length")), (204, None));
    mock.set_faults(vec![Fault { status: Some(200), ..fault() }]).unwrap();
    let answer = wire.get(BIG, &["Range: bytes=0-1"]).await;
    assert_eq!((answer.status, answer.body.len() as u64), (200, BIG_LENGTH));
    mock.shutdown().await;
}

#[tokio::test]
async fn a_delay_comes_before_the_head() {
    let (mock, address) = mock(vec![Fault { delay_milliseconds: 300, ..fault() }]).await;
    let started = Instant::now();
    let answer = get(address, BIG, &["Range: bytes=0-1"]).await;
    assert_eq!(answer.status, 206);
    assert!(started.elapsed() >= Duration::from_millis(300), "answered after {:?}", started.elapsed());
    mock.shutdown().await;
}

#[tokio::test]
async fn a_cut_ends_the_connection_after_exactly_so_many_bytes() {
    for bytes in [0, 1, 1_000_000] {
        let (mock, address) = mock(vec![Fault { cut_after_bytes: Some(bytes), ..fault() }]).await;
        let answer = get(address, BIG, &["Range: bytes=5-"]).await;
        assert_eq!(answer.header("Content-Length"), Some("3145740"));
        assert!(answer.cut, "the connection stayed open");
        assert!(answer.body == formula_bytes(BIG_SEED, 5, bytes), "{} bytes came", answer.body.len());
        assert_eq!(mock.requests().totals.body_bytes, bytes);
        mock.shutdown().await;
    }
}

#[tokio::test]
async fn a_stall_stops_at_the_byte_and_goes_on_when_the_faults_are_replaced() {
    let (mock, address) = mock(vec![Fault { stall_after_bytes: Some(1000), ..fault() }]).await;
    let mut wire = Wire::open(address).await;
    wire.send(&format!("GET {BIG} HTTP/1.1\r\n\r\n")).await;
    wire.head().await;
    while wire.received.len() < 1000 {
        assert!(wire.more().await, "closed instead of stalled");
    }
    // Silence can only be seen by waiting for it.
    let silence = tokio::time::timeout(Duration::from_millis(300), wire.more()).await;
    assert!(silence.is_err(), "{} bytes came", wire.received.len());
    assert_eq!(mock.requests().requests[0].body_bytes, 1000);
    assert!(!mock.requests().requests[0].finished);

    mock.set_faults(Vec::new()).unwrap();
    while (wire.received.len() as u64) < BIG_LENGTH {
        assert!(wire.more().await, "closed after the stall");
    }
    assert!(wire.received == formula_bytes(BIG_SEED, 0, BIG_LENGTH), "wrong bytes");
    mock.shutdown().await;
}

#[tokio::test]
async fn a_stalled_request_ends_with_its_client_and_with_the_mock() {
    let (mock, address) = mock(vec![Fault { stall_after_bytes: Some(10), ..fault() }]).await;
    let mut leaving = Wire::open(address).await;
    leaving.send(&format!("GET {BIG} HTTP/1.1\r\n\r\n")).await;
    leaving.head().await;
    drop(leaving);
    let finished = async {
        while !mock.requests().requests[0].finished {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(common::PATIENCE, finished).await.expect("the stall outlived its client");

    let mut staying = Wire::open(address).await;
    staying.send(&format!("GET {BIG} HTTP/1.1\r\n\r\n")).await;
    staying.head().await;
    let started = Instant::now();
    mock.shutdown().await;
    assert!(started.elapsed() < Duration::from_secs(4), "shutdown waited for a stall");
    while staying.more().await {}
    assert_eq!(staying.received.len(), 10);
}

#[tokio::test]
async fn a_corrupt_byte_is_wrong_in_every_range_that_covers_it() {
    let (mock, address) = mock(vec![Fault { corrupt_byte: Some(1_048_580), ..fault() }]).await;
    let mut right = formula_bytes(BIG_SEED, 0, BIG_LENGTH);
    right[1_048_580] ^= 0xFF;
    let mut wire = Wire::open(address).await;
    assert!(wire.get(BIG, &[]).await.body == right, "whole");
    for (first, last) in
        [(1_048_576, 1_048_590), (1_048_580, 1_048_580), (1_048_581, 1_048_590), (0, 1_048_579)]
    {
        let answer = wire.get(BIG, &[&format!("Range: bytes={first}-{last}")]).await;
        assert!(answer.body == right[first..=last], "{first}-{last}");
    }
    mock.shutdown().await;
}

#[tokio::test]
async fn a_trickle_takes_its_time_and_is_right() {
    let (mock, address) = mock(vec![Fault { trickle_bytes_per_second: Some(10_000), ..fault() }]).await;
    let started = Instant::now();
    let answer = get(address, BIG, &["Range: bytes=0-4999"]).await;
    let seconds = started.elapsed().as_secs_f64();
    assert!(answer.body == formula_bytes(BIG_SEED, 0, 5000), "wrong bytes");
    // The last step needs no wait: half a second, less one step of a twentieth.
    assert!(seconds >= 0.44, "5000 bytes at 10,000 a second took {seconds} s");
    mock.shutdown().await;
}

#[tokio::test]
async fn faults_are_replaced_over_http_and_mistakes_are_named() {
    let (mock, address) = mock(Vec::new()).await;
    let mut wire = Wire::open(address).await;
    let mut put = async |body: &str| {
        wire.send(&format!(
            "PUT /_faults HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ))
        .await;
        assert_eq!(wire.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        wire.send(body).await;
        let answer = wire.answer(false).await;
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    let (status, body) = put(r#"[{"path": "/formula/*", "status": 500}]"#).await;
    assert_eq!(status, 200, "{body}");
    let (status, body) = put(r#"[{"path": "/x", "sttus": 500}, {"status": 700}]"#).await;
    assert_eq!(status, 400);
    for expected in ["faults[0].sttus", "faults[1].path", "faults[1].status"] {
        assert!(body.contains(expected), "{expected} is missing in {body}");
    }
    assert_eq!(get(address, BIG, &[]).await.status, 500);
    let faults: serde_json::Value =
        serde_json::from_slice(&get(address, "/_faults", &[]).await.body).unwrap();
    assert_eq!(faults[0]["path"], "/formula/*");
    let (status, _) = put(&faults.to_string()).await;
    assert_eq!(status, 200, "what GET shows is not accepted by PUT");
    mock.shutdown().await;
}
