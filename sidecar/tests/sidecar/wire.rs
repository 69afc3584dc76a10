//! What stands on the wire: spelling of names, lengths, methods, connections.

use std::time::{Duration, Instant};

use connected_cache_config::ByteSize;

use crate::support::{Content, HOST, MIB, Setup};

fn target(path: &str) -> String {
    format!("{path}?cacheHostOrigin={HOST}")
}

#[tokio::test]
async fn header_names_have_their_canonical_spelling() {
    let setup = Setup::start().await;
    setup.origin.put("/f", &Content::new(1000, 1));
    let reply = setup.get("/f", &["Range: bytes=0-9"]).await;
    let mut names: Vec<&str> = reply.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "Accept-Ranges",
            "Cache-Control",
            "Cache-Status",
            "Content-Disposition",
            "Content-Length",
            "Content-Range",
            "Content-Type",
            "Date",
            "ETag",
            "Last-Modified",
            "Via",
            "X-CID",
            "X-Cache",
        ]
    );
    assert_eq!(reply.header("X-CID"), Some("pod-0"));
    assert_eq!(reply.header("ETag"), Some("\"one\""));
    assert_eq!(reply.header("Cache-Control"), Some("public, max-age=86400"));
    assert_eq!(reply.header("Content-Disposition"), Some("attachment; filename=\"f.cab\""));
}

#[tokio::test]
async fn one_connection_serves_many_requests_also_after_errors() {
    let setup = Setup::start().await;
    let content = Content::new(2 * MIB, 1);
    setup.origin.put("/f", &content);
    let mut connection = setup.connect().await;
    for round in 0..3_u64 {
        let reply =
            connection.ask("GET", &target("/f"), &[&format!("Range: bytes={round}-{}", MIB + round)]).await;
        assert!(reply.body == content.bytes(round..MIB + round + 1), "round {round}");
        assert_eq!(connection.ask("GET", &target("/missing"), &[]).await.status, 404);
        assert_eq!(connection.ask("GET", "/f?cacheHostOrigin=evil.example", &[]).await.status, 403);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let setup = Setup::start().await;
    let content = Content::new(1000, 1);
    setup.origin.put("/f", &content);
    let mut connection = setup.connect().await;
    let one = format!("GET {} HTTP/1.1\r\nHost: c\r\nRange: bytes=1-2\r\n\r\n", target("/f"));
    let two = format!("GET {} HTTP/1.1\r\nHost: c\r\nRange: bytes=3-5\r\n\r\n", target("/f"));
    connection.send(format!("{one}{two}").as_bytes()).await;
    assert_eq!(connection.reply(false).await.body, content.bytes(1..3));
    assert_eq!(connection.reply(false).await.body, content.bytes(3..6));
}

#[tokio::test]
async fn other_methods_are_405_with_allow() {
    let setup = Setup::start().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"] {
        let reply = setup.ask(method, &target("/f"), &[]).await;
        assert_eq!((reply.status, reply.header("Allow")), (405, Some("GET, HEAD")), "{method}");
    }
    assert_eq!(setup.origin.ranges(), Vec::<String>::new());
}

#[tokio::test]
async fn a_request_with_a_body_is_refused() {
    let setup = Setup::start().await;
    let reply = setup.ask("GET", &target("/f"), &["Content-Length: 4"]).await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn an_absolute_target_is_understood() {
    let setup = Setup::start().await;
    let content = Content::new(10, 1);
    setup.origin.put("/f", &content);
    let reply = setup.ask("GET", &format!("http://cache.example{}", target("/f")), &[]).await;
    assert_eq!((reply.status, reply.body), (200, content.whole()));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let setup = Setup::start_with(|config| config.limits.header_bytes = ByteSize::from_bytes(8192)).await;
    let long = format!("X-Long: {}", "a".repeat(10_000));
    let mut connection = setup.connect().await;
    connection.request("GET", &target("/f"), &[&long]).await;
    assert_eq!(connection.head().await.0, 431);
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_after_the_header_time() {
    let setup = Setup::start_with(|config| config.limits.header_seconds = 1).await;
    let began = Instant::now();
    let mut connection = setup.connect().await;
    connection.send(b"GET /f HTTP/1.1\r\nHost: ").await;
    assert!(connection.ends().await, "no reply is owed to half a head");
    assert!(began.elapsed() >= Duration::from_millis(900), "cut after {:?}", began.elapsed());
}

#[tokio::test]
async fn silence_between_requests_may_last_longer_than_a_head_but_not_forever() {
    let setup = Setup::start_with(|config| {
        config.limits.header_seconds = 1;
        config.limits.idle_seconds = 2;
    })
    .await;
    setup.origin.put("/f", &Content::new(10, 1));
    let mut connection = setup.connect().await;
    connection.ask("GET", &target("/f"), &[]).await;
    // The wait is the thing under test: longer than a head may take, shorter than silence may.
    tokio::time::sleep(Duration::from_millis(1400)).await;
    assert_eq!(connection.ask("GET", &target("/f"), &[]).await.status, 200);
    let began = Instant::now();
    assert!(connection.ends().await);
    assert!(began.elapsed() >= Duration::from_millis(1900), "ended after {:?}", began.elapsed());
}

#[tokio::test]
async fn beyond_the_connection_limit_is_503_with_retry_after_never_a_refusal() {
    let setup = Setup::start_with(|config| config.limits.connections = Some(1)).await;
    setup.origin.put("/f", &Content::new(10, 1));
    let mut first = setup.connect().await;
    assert_eq!(first.ask("GET", &target("/f"), &[]).await.status, 200);
    let reply = setup.get("/f", &[]).await;
    assert_eq!((reply.status, reply.header("Retry-After")), (503, Some("1")));
    drop(first);
    crate::support::eventually("a place is free again", || async {
        setup.get("/f", &[]).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn many_clients_beyond_the_limit_are_all_answered_and_none_waits_for_the_others() {
    let setup = Setup::start_with(|config| config.limits.connections = Some(1)).await;
    setup.origin.put("/f", &Content::new(10, 1));
    let mut first = setup.connect().await;
    assert_eq!(first.ask("GET", &target("/f"), &[]).await.status, 200);
    let began = Instant::now();
    let replies = futures::future::join_all((0..30).map(|_| setup.get("/f", &[]))).await;
    assert!(
        replies.iter().all(|reply| reply.status == 503),
        "{:?}",
        replies.iter().map(|reply| reply.status)
    );
    // One after the other they would take 30 times the second that each may wait.
    assert!(began.elapsed() < Duration::from_secs(15), "took {:?}", began.elapsed());
}
