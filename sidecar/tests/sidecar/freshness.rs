//! How long content is used, and what is never used for others (RFC 9111; dossier delivery-optimization 1.5).

use crate::support::{Content, Fault, HOST, MIB, Reply, Setup, eventually};

fn content(seed: u64, etag: &'static str, headers: &'static [(&'static str, &'static str)]) -> Content {
    Content { etag: Some(etag), headers, ..Content::new(3000, seed) }
}

const STALE_AT_ONCE: &[(&str, &str)] = &[("cache-control", "max-age=0")];

/// Stale content is asked for again before it is used.
async fn without_stale_use() -> Setup {
    Setup::start_with(|config| {
        config.content.ttl.stale_while_revalidate_seconds = 0;
        config.content.ttl.stale_if_error_seconds = 0;
    })
    .await
}

/// RFC 9211: a hit whose time is over.
fn is_stale(reply: &Reply) -> bool {
    reply.header("Cache-Status").is_some_and(|status| status.starts_with("connectedcache; hit; ttl=-"))
}

#[tokio::test]
async fn fresh_content_is_not_asked_for_again_and_says_its_age() {
    let setup = Setup::start().await;
    setup.origin.put("/f", &content(1, "\"a\"", &[("age", "100"), ("cache-control", "max-age=1000")]));
    let cold = setup.get("/f", &[]).await;
    assert_eq!(cold.header("Age"), None, "it comes from the origin now");
    let warm = setup.get("/f", &[]).await;
    let age: u64 = warm.header("Age").unwrap().parse().unwrap();
    assert!((100..200).contains(&age), "{age}");
    assert_eq!(warm.header("Via"), Some("1.1 connectedcache-pod-0"));
    assert_eq!(setup.origin.seen().len(), 1);
}

#[tokio::test]
async fn stale_content_is_validated_by_its_tag_and_served_when_it_is_the_same() {
    let setup = without_stale_use().await;
    let first = content(1, "\"a\"", STALE_AT_ONCE);
    setup.origin.put("/f", &first);
    setup.get("/f", &[]).await;
    setup.origin.forget();
    let reply = setup.get("/f", &[]).await;
    assert_eq!((reply.status, reply.header("X-Cache")), (200, Some("HIT")));
    assert!(reply.header("Cache-Status").unwrap().contains("fwd=stale; fwd-status=304"), "{reply:?}");
    assert!(reply.body == first.whole());
    let seen = setup.origin.seen();
    assert_eq!((seen.len(), seen[0].header("if-none-match")), (1, Some("\"a\"")));
    assert_eq!(setup.sidecar().origin_bytes(), 3000, "a validation moves no byte");
}

#[tokio::test]
async fn a_304_makes_content_fresh_again_also_after_a_restart() {
    let mut setup = without_stale_use().await;
    setup.origin.put("/f", &content(1, "\"a\"", STALE_AT_ONCE));
    setup.get("/f", &[]).await;
    setup.origin.put("/f", &content(1, "\"a\"", &[("cache-control", "max-age=1000")]));
    setup.get("/f", &[]).await;
    setup.origin.forget();
    assert_eq!(setup.get("/f", &[]).await.header("Cache-Control"), Some("max-age=1000"));
    setup.restart().await;
    assert_eq!(setup.get("/f", &[]).await.header("X-Cache"), Some("HIT"));
    assert_eq!(setup.origin.seen().len(), 0);
}

#[tokio::test]
async fn content_that_changed_is_served_in_its_new_state_only() {
    let setup = without_stale_use().await;
    setup.origin.put("/f", &content(1, "\"a\"", STALE_AT_ONCE));
    setup.get("/f", &[]).await;
    let second = content(2, "\"b\"", STALE_AT_ONCE);
    setup.origin.put("/f", &second);
    let reply = setup.get("/f", &[]).await;
    assert!(reply.body == second.whole(), "the old state was served");
    assert_eq!((reply.header("ETag"), reply.header("X-Cache")), (Some("\"b\""), Some("MISS")));
}

#[tokio::test]
async fn content_without_a_tag_is_validated_by_its_date() {
    let setup = without_stale_use().await;
    setup.origin.put("/f", &Content { etag: None, ..content(1, "", STALE_AT_ONCE) });
    setup.get("/f", &[]).await;
    setup.origin.forget();
    assert_eq!(setup.get("/f", &[]).await.header("X-Cache"), Some("HIT"));
    assert_eq!(setup.origin.seen()[0].header("if-modified-since"), Some("Mon, 05 Jan 2026 00:00:00 GMT"));
}

#[tokio::test]
async fn stale_content_is_used_while_it_is_asked_for_again() {
    let setup = Setup::start().await;
    let usable_stale = &[("cache-control", "max-age=0, stale-while-revalidate=60")];
    let first = content(1, "\"a\"", usable_stale);
    setup.origin.put("/f", &first);
    setup.get("/f", &[]).await;
    let second = content(2, "\"b\"", usable_stale);
    setup.origin.put("/f", &second);
    let reply = setup.get("/f", &[]).await;
    assert!(reply.body == first.whole(), "the stale state is at hand");
    assert!(is_stale(&reply), "{reply:?}");
    eventually("the new state is there", || async { setup.get("/f", &[]).await.body == second.whole() })
        .await;
}

#[tokio::test]
async fn stale_content_is_used_while_its_origin_fails_and_not_when_it_is_gone() {
    let setup = Setup::start_with(|config| config.content.ttl.stale_while_revalidate_seconds = 0).await;
    let first = content(1, "\"a\"", STALE_AT_ONCE);
    setup.origin.put("/f", &first);
    setup.get("/f", &[]).await;
    setup.origin.set_fault("/f", Some(Fault::Status(500)));
    let reply = setup.get("/f", &[]).await;
    assert!(reply.status == 200 && is_stale(&reply), "{reply:?}");
    assert!(reply.body == first.whole());
    setup.origin.set_fault("/f", Some(Fault::Status(404)));
    assert_eq!(setup.get("/f", &[]).await.status, 404);
    setup.origin.set_fault("/f", Some(Fault::Status(500)));
    assert_eq!(setup.get("/f", &[]).await.status, 502, "what is gone is not kept for bad times");
}

#[tokio::test]
async fn stale_content_is_used_in_time_when_its_origin_is_silent_and_then_without_waiting() {
    let setup = Setup::start_with(|config| config.upstream.timeouts.first_byte_seconds = 1).await;
    let first = content(1, "\"a\"", STALE_AT_ONCE);
    setup.origin.put("/f", &first);
    setup.get("/f", &[]).await;
    setup.origin.set_fault("/f", Some(Fault::Silence));
    for _ in 0..2 {
        let reply = setup.get("/f", &[]).await;
        assert!(reply.status == 200 && is_stale(&reply), "{reply:?}");
        assert!(reply.body == first.whole());
    }
    setup.origin.set_fault("/f", None);
    eventually("it is validated in the background", || async { !is_stale(&setup.get("/f", &[]).await) })
        .await;
}

#[tokio::test]
async fn stale_content_is_used_when_its_origin_redirects_to_a_stranger() {
    let setup = Setup::start().await;
    let first = content(1, "\"a\"", STALE_AT_ONCE);
    setup.origin.put("/f", &first);
    setup.get("/f", &[]).await;
    setup.origin.set_fault("/f", Some(Fault::Redirect("http://login.portal.example/".into())));
    let reply = setup.get("/f", &[]).await;
    assert!(reply.status == 200 && is_stale(&reply) && reply.body == first.whole(), "{reply:?}");
}

#[tokio::test]
async fn what_must_be_revalidated_is_never_used_stale() {
    for control in [
        &[("cache-control", "no-cache")],
        &[("cache-control", "max-age=0, must-revalidate")],
        &[("cache-control", "s-maxage=0")],
    ] {
        let setup = Setup::start().await;
        setup.origin.put("/f", &content(1, "\"a\"", control));
        setup.get("/f", &[]).await;
        let second = content(2, "\"b\"", control);
        setup.origin.put("/f", &second);
        assert!(setup.get("/f", &[]).await.body == second.whole(), "{control:?}");
        setup.origin.set_fault("/f", Some(Fault::Status(503)));
        assert_eq!(setup.get("/f", &[]).await.status, 503, "{control:?}");
    }
}

#[tokio::test]
async fn what_is_for_one_client_is_fetched_for_each_and_kept_for_none() {
    for headers in [
        &[("cache-control", "no-store")],
        &[("cache-control", "private")],
        &[("vary", "*")],
        &[("vary", "User-Agent")],
    ] {
        let setup = Setup::start().await;
        let body = content(1, "\"a\"", headers);
        setup.origin.put("/f", &body);
        for _ in 0..2 {
            let reply = setup.get("/f", &[]).await;
            assert_eq!((reply.status, reply.header("X-Cache")), (200, Some("MISS")), "{headers:?}");
            assert!(reply.body == body.whole(), "{headers:?}");
            assert_eq!(reply.header("Cache-Status"), Some("connectedcache; fwd=bypass; detail=origin"));
        }
        setup.origin.forget();
        let part = setup.get("/f", &["Range: bytes=10-19"]).await;
        assert_eq!((part.status, part.header("Content-Range")), (206, Some("bytes 10-19/3000")));
        assert!(part.body == body.bytes(10..20));
        assert_eq!(setup.origin.ranges(), ["bytes=10-19"], "the client's own range");
        let head = setup.ask("HEAD", &format!("/f?cacheHostOrigin={HOST}"), &[]).await;
        assert_eq!((head.status, head.header("Content-Length")), (200, Some("3000")));
        assert_eq!(setup.get("/f", &["Range: bytes=3000-"]).await.status, 416);
    }
}

#[tokio::test]
async fn the_head_of_what_is_for_one_client_costs_the_origin_no_body() {
    let setup = Setup::start().await;
    let body = content(1, "\"a\"", &[("cache-control", "private")]);
    setup.origin.put("/f", &body);
    assert!(setup.get("/f", &[]).await.body == body.whole());
    let before = setup.sidecar().origin_bytes();
    let target = format!("/f?cacheHostOrigin={HOST}");
    let methods = || setup.origin.seen().into_iter().map(|seen| seen.method.to_string()).collect::<Vec<_>>();
    let is_right = |reply: &crate::support::Reply| {
        let fields = ["Content-Length", "ETag", "Cache-Control"].map(|name| reply.header(name));
        reply.status == 200 && fields == [Some("3000"), Some("\"a\""), Some("private")]
    };
    setup.origin.forget();
    for lines in [&[][..], &["Range: bytes=5-9"]] {
        let reply = setup.ask("HEAD", &target, lines).await;
        assert!(is_right(&reply), "{reply:?}");
    }
    assert_eq!(setup.ask("HEAD", &target, &["If-None-Match: \"a\""]).await.status, 304);
    assert_eq!((methods(), setup.sidecar().origin_bytes()), (vec!["HEAD".to_owned(); 3], before));
    // Where its answer to HEAD says too little, the content tells.
    for fault in [Fault::HeadStatus(405), Fault::HeadStatus(501), Fault::Chunked] {
        setup.origin.forget();
        setup.origin.set_fault("/f", Some(fault.clone()));
        let reply = setup.ask("HEAD", &target, &[]).await;
        assert!(is_right(&reply), "{fault:?}: {reply:?}");
        assert_eq!(methods(), ["HEAD", "GET"], "{fault:?}");
    }
    for (fault, status) in [(Fault::HeadStatus(404), 404), (Fault::HeadStatus(503), 503)] {
        setup.origin.set_fault("/f", Some(fault));
        assert_eq!(setup.ask("HEAD", &target, &[]).await.status, status);
    }
}

#[tokio::test]
async fn content_whose_states_can_not_be_told_apart_comes_whole_from_one_answer() {
    let setup = Setup::start().await;
    let body = Content { etag: None, last_modified: None, ..Content::new(3 * MIB + 5, 1) };
    setup.origin.put("/f", &body);
    for _ in 0..2 {
        let reply = setup.get("/f", &[]).await;
        assert!(!reply.cut && reply.body == body.whole());
    }
    // The first request found out by asking for a piece.
    assert_eq!(setup.origin.ranges(), ["bytes=0-1048575", "none", "none"]);
    setup.origin.set_fault("/f", Some(Fault::NoRanges));
    let part = setup.get("/f", &[&format!("Range: bytes={}-", 3 * MIB - 5)]).await;
    assert_eq!(part.status, 206, "also when the origin knows no ranges");
    assert!(part.body == body.bytes(3 * MIB - 5..body.length));
}

#[tokio::test]
async fn a_cookie_of_an_origin_reaches_no_client() {
    let setup = Setup::start().await;
    setup.origin.put("/f", &content(1, "\"a\"", &[("set-cookie", "id=1")]));
    for _ in 0..2 {
        let reply = setup.get("/f", &[]).await;
        assert!(!reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("set-cookie")));
    }
    assert_eq!(setup.origin.seen().len(), 1, "it is kept all the same");
}

#[tokio::test]
async fn who_goes_on_from_another_state_is_told_so_before_a_byte_of_it() {
    let setup = Setup::start().await;
    let content = content(1, "\"a\"", &[("cache-control", "max-age=1000")]);
    setup.origin.put("/f", &content);
    for _ in 0..2 {
        for (line, status) in [
            ("If-Match: \"a\"", 206),
            ("If-Match: \"b\"", 412),
            ("If-Unmodified-Since: Mon, 05 Jan 2026 00:00:00 GMT", 206),
            ("If-Unmodified-Since: Sun, 04 Jan 2026 00:00:00 GMT", 412),
        ] {
            let reply = setup.get("/f", &["Range: bytes=1000-", line]).await;
            assert_eq!(reply.status, status, "{line}");
            assert_eq!(reply.body == content.bytes(1000..3000), status == 206, "{line}");
        }
    }
}

#[tokio::test]
async fn a_client_that_has_the_state_gets_a_304() {
    let setup = Setup::start().await;
    setup.origin.put("/f", &content(1, "\"a\"", &[]));
    for line in ["If-None-Match: \"x\", W/\"a\"", "If-Modified-Since: Mon, 05 Jan 2026 00:00:00 GMT"] {
        let mut connection = setup.connect().await;
        connection.request("GET", &format!("/f?cacheHostOrigin={HOST}"), &[line, "Range: bytes=0-9"]).await;
        let (status, headers) = connection.head().await;
        assert_eq!(status, 304, "{line}");
        assert!(headers.contains(&("ETag".to_owned(), "\"a\"".to_owned())), "{headers:?}");
        // Nothing follows: the connection is good for another request.
        let next = connection.ask("GET", &format!("/f?cacheHostOrigin={HOST}"), &["Range: bytes=5-5"]).await;
        assert_eq!((next.status, next.body.len()), (206, 1));
    }
    assert_eq!(setup.get("/f", &["If-None-Match: \"x\""]).await.status, 200);
}

#[tokio::test]
async fn a_request_that_comes_back_to_us_is_a_loop() {
    let setup = Setup::start().await;
    setup.origin.put("/f", &content(1, "\"a\"", &[]));
    assert_eq!(setup.get("/f", &["Via: 1.1 other"]).await.status, 200);
    let seen = setup.origin.seen();
    let via = seen[0].header("via").unwrap();
    assert!(via.starts_with("1.1 other, 1.1 connectedcache-pod-0-"), "{via}");
    assert_eq!(setup.get("/f", &[&format!("Via: {via}")]).await.status, 508);
    // Another cache may have the same name.
    assert_eq!(setup.get("/f", &["Via: 1.1 other, 1.1 connectedcache-pod-0-1"]).await.status, 200);
}

#[tokio::test]
async fn what_nobody_used_for_long_goes() {
    let mut setup = Setup::start_with(|config| config.content.ttl.max_age_seconds = 1).await;
    setup.origin.put("/f", &content(1, "\"a\"", &[("cache-control", "max-age=1000")]));
    setup.get("/f", &[]).await;
    // Nobody may look at it meanwhile, so the volume is watched.
    let data = setup.folder.path().join("data");
    eventually("it was stored", || async { crate::support::used_bytes(&data) > 0 }).await;
    eventually("it is gone", || async { crate::support::used_bytes(&data) == 0 }).await;
    setup.stop().await;
}
