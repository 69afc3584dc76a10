//! Requests at the edges of HTTP: old versions, odd forms, and such as try to hide another request in themselves.

use crate::support::{Content, HOST, MIB, Setup};

/// `GET` of a path, without a version and what follows.
fn line(path: &str) -> String {
    format!("GET {path}?cacheHostOrigin={HOST}")
}

async fn with_content() -> (Setup, Content) {
    let (setup, content) = (Setup::start().await, Content::new(1000, 1));
    setup.origin.put("/f", &content);
    (setup, content)
}

#[tokio::test]
async fn http_1_0_needs_no_host_and_ends_its_connection_unless_asked() {
    let (setup, content) = with_content().await;
    let mut connection = setup.connect().await;
    connection.send(format!("{} HTTP/1.0\r\n\r\n", line("/f")).as_bytes()).await;
    let reply = connection.reply(false).await;
    assert_eq!((reply.status, reply.header("Transfer-Encoding")), (200, None));
    assert!(reply.body == content.whole() && connection.ends().await);

    let mut connection = setup.connect().await;
    for range in [0..10, 500..1000] {
        let head = format!("Connection: keep-alive\r\nRange: bytes={}-{}", range.start, range.end - 1);
        connection.send(format!("{} HTTP/1.0\r\n{head}\r\n\r\n", line("/f")).as_bytes()).await;
        let reply = connection.reply(false).await;
        assert!(reply.status == 206 && reply.body == content.bytes(range), "{reply:?}");
    }
}

#[tokio::test]
async fn a_client_can_not_make_the_cache_fetch_again() {
    let (setup, content) = with_content().await;
    setup.get("/f", &[]).await;
    setup.origin.forget();
    for lines in [
        &["Cache-Control: no-cache"][..],
        &["Pragma: no-cache"],
        &["Cache-Control: max-age=0, no-store"],
        &["Cache-Control: only-if-cached"],
    ] {
        let reply = setup.get("/f", lines).await;
        assert_eq!((reply.status, reply.header("X-Cache")), (200, Some("HIT")), "{lines:?}");
        assert!(reply.body == content.whole());
    }
    assert_eq!(setup.origin.seen().len(), 0);
}

#[tokio::test]
async fn what_stands_behind_a_body_or_an_unclear_length_is_never_answered() {
    let (setup, _) = with_content().await;
    let hidden = format!("{} HTTP/1.1\r\nHost: c\r\n\r\n", line("/hidden"));
    setup.origin.put("/hidden", &Content::new(10, 2));
    for head in [
        format!("Content-Length: {}", hidden.len()),
        format!("Content-Length: {}\r\nContent-Length: 0", hidden.len()),
        format!("Content-Length: 0\r\nContent-Length: {}", hidden.len()),
        format!("Content-Length: +{}", hidden.len()),
        format!("Content-Length: 0, {}", hidden.len()),
        "Transfer-Encoding: chunked".to_owned(),
        "Transfer-Encoding: chunked\r\nContent-Length: 5".to_owned(),
        "Transfer-Encoding: gzip".to_owned(),
        "Content-Length : 5".to_owned(),
    ] {
        for method in ["GET", "POST"] {
            let mut connection = setup.connect().await;
            let request =
                format!("{method} /f?cacheHostOrigin={HOST} HTTP/1.1\r\nHost: c\r\n{head}\r\n\r\n{hidden}");
            connection.send(request.as_bytes()).await;
            let reply = connection.reply(false).await;
            assert!((400..500).contains(&reply.status), "{method} {head}: {}", reply.status);
            let more = connection.last_words().await;
            assert!(!more.contains("HTTP/1.1 2"), "{method} {head}: {more}");
        }
    }
    let hidden = setup.origin.seen().iter().filter(|seen| seen.target.starts_with("/hidden")).count();
    assert_eq!(hidden, 0);
}

#[tokio::test]
async fn a_long_query_reaches_the_origin_byte_for_byte() {
    let (setup, content) = with_content().await;
    let query = format!("sig={}&x=%2f+%20'~{{}}", "aB0-_.!*()".repeat(1200));
    let path = format!("/f?{query}");
    for x_cache in ["MISS", "HIT"] {
        let reply = setup.get(&path, &[]).await;
        assert_eq!((reply.status, reply.header("X-Cache")), (200, Some(x_cache)));
        assert!(reply.body == content.whole());
    }
    let seen = setup.origin.seen();
    assert_eq!((seen.len(), seen[0].target.as_str()), (1, path.as_str()));
}

#[tokio::test]
async fn a_range_may_have_spaces_where_the_grammar_allows_them() {
    let (setup, content) = with_content().await;
    for (range, expected) in [
        ("bytes= 0-1", Some(0..2)),
        ("bytes=0-1 ", Some(0..2)),
        ("BYTES=2-3", Some(2..4)),
        ("bytes=998-5000", Some(998..1000)),
        ("bytes=0x0-1", None),
        ("lines=0-1", None),
        ("bytes=1-0", None),
    ] {
        let reply = setup.get("/f", &[&format!("Range: {range}")]).await;
        match expected {
            Some(bytes) => {
                assert!(reply.status == 206 && reply.body == content.bytes(bytes), "{range}: {reply:?}");
            }
            // Not a range, so it is as if it were not there (RFC 9110 14.2).
            None => {
                assert!(reply.status == 200 && reply.body == content.whole(), "{range}: {}", reply.status);
            }
        }
    }
}

#[tokio::test]
async fn an_absolute_target_names_the_origin_whatever_host_says() {
    let (setup, content) = with_content().await;
    let mut connection = setup.connect().await;
    connection.send(format!("GET http://{HOST}/f HTTP/1.1\r\nHost: other.example\r\n\r\n").as_bytes()).await;
    let reply = connection.reply(false).await;
    assert!(reply.status == 200 && reply.body == content.whole(), "{reply:?}");
    assert_eq!(setup.origin.seen()[0].header("host"), Some(HOST));
}

#[tokio::test]
async fn an_encoding_that_the_origin_chose_is_passed_on_with_its_bytes() {
    let setup = Setup::start().await;
    let content = Content { headers: &[("content-encoding", "gzip")], ..Content::new(2 * MIB, 1) };
    setup.origin.put("/f", &content);
    for _ in 0..2 {
        let reply = setup.get("/f", &["Accept-Encoding: gzip, br"]).await;
        assert_eq!((reply.status, reply.header("Content-Encoding")), (200, Some("gzip")));
        assert!(reply.body == content.whole());
    }
    assert!(setup.origin.seen().iter().all(|seen| seen.header("accept-encoding").is_none()));
}
