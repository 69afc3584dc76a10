//! Origins that change, cut, lie or know no ranges: a client gets the right bytes, a short body or an error, never wrong bytes.

use crate::support::{Content, Fault, MIB, Setup, eventually};

#[tokio::test]
async fn a_changed_object_is_a_new_generation_and_bytes_are_never_mixed() {
    let old = Content::new(3 * MIB, 1);
    let changes = [
        Content { etag: Some("\"two\""), ..Content::new(3 * MIB, 2) },
        Content::new(3 * MIB + 1, 2),
        Content::new(2 * MIB, 2),
        Content {
            etag: None,
            last_modified: Some("Tue, 06 Jan 2026 00:00:00 GMT"),
            ..Content::new(3 * MIB, 2)
        },
    ];
    for new in changes {
        let setup = Setup::start().await;
        setup.origin.put("/f", &old);
        setup.get("/f", &["Range: bytes=0-9"]).await;
        setup.origin.put("/f", &new);
        // The first piece is stored, the others are not: the change shows while the body is on its way.
        let mixed = setup.get("/f", &[]).await;
        let right = if mixed.cut { old.bytes(0..mixed.body.len() as u64) } else { new.whole() };
        assert!(mixed.body == right, "mixed bytes for {new:?}");
        let after = setup.get("/f", &[]).await;
        assert_eq!((after.status, after.cut), (200, false), "{new:?}");
        assert!(after.body == new.whole(), "old bytes for {new:?}");
    }
}

#[tokio::test]
async fn a_change_that_nothing_tells_of_is_not_mixed_either() {
    let nameless = |seed| Content { etag: None, last_modified: None, ..Content::new(3 * MIB, seed) };
    let (old, new) = (nameless(1), nameless(2));
    let setup = Setup::start().await;
    setup.origin.put("/f", &old);
    setup.get("/f", &["Range: bytes=0-9"]).await;
    setup.origin.put("/f", &new);
    // Of same length and without validators, the two can't be told apart: what was stored is not continued.
    let reply = setup.get("/f", &[]).await;
    let right = if reply.cut { old.bytes(0..reply.body.len() as u64) } else { new.whole() };
    assert!(reply.body == right, "mixed bytes");
}

#[tokio::test]
async fn a_change_that_shows_before_the_reply_begins_is_not_seen_by_the_client() {
    let setup = Setup::start().await;
    let (old, new) =
        (Content::new(3 * MIB, 1), Content { etag: Some("\"two\""), ..Content::new(3 * MIB, 2) });
    setup.origin.put("/f", &old);
    setup.get("/f", &["Range: bytes=0-9"]).await;
    setup.origin.put("/f", &new);
    let reply = setup.get("/f", &[&format!("Range: bytes={}-{}", MIB, MIB + 9)]).await;
    assert_eq!((reply.status, reply.header("ETag")), (206, Some("\"two\"")));
    assert_eq!(reply.body, new.bytes(MIB..MIB + 10));
}

#[tokio::test]
async fn a_body_that_the_origin_cuts_ends_the_connection_early_and_is_not_kept() {
    let setup = Setup::start().await;
    let content = Content::new(MIB, 1);
    setup.origin.put("/f", &content);
    setup.origin.set_fault("/f", Some(Fault::CutAfter(100_000)));
    let mut connection = setup.connect().await;
    let reply = connection.ask("GET", "/f?cacheHostOrigin=dl.delivery.mp.microsoft.com", &[]).await;
    assert!(reply.cut, "a short body must not look whole");
    assert!(reply.body == content.bytes(0..reply.body.len() as u64), "wrong bytes before the cut");
    assert!(connection.ends().await);
    setup.origin.set_fault("/f", None);
    let reply = setup.get("/f", &[]).await;
    assert_eq!((reply.status, reply.cut), (200, false));
    assert!(reply.body == content.whole(), "wrong bytes after the cut");
}

#[tokio::test]
async fn a_head_without_a_first_byte_is_504_within_the_first_byte_time() {
    let setup = Setup::start_with(|config| {
        config.upstream.timeouts.connect_seconds = 1;
        config.upstream.timeouts.first_byte_seconds = 1;
    })
    .await;
    setup.origin.put("/f", &Content::new(MIB, 1));
    setup.origin.set_fault("/f", Some(Fault::GateAfter(0)));
    let began = std::time::Instant::now();
    assert_eq!(setup.get("/f", &[]).await.status, 504);
    // Less than the idle time of a body, which is 8 s.
    assert!(began.elapsed() < std::time::Duration::from_secs(6), "took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_body_that_stops_is_cut_after_the_idle_time() {
    let setup = Setup::start_with(|config| config.upstream.timeouts.idle_seconds = 1).await;
    let content = Content::new(MIB, 1);
    setup.origin.put("/f", &content);
    setup.origin.set_fault("/f", Some(Fault::GateAfter(1000)));
    let reply = setup.get("/f", &[]).await;
    assert!(reply.cut && reply.body == content.bytes(0..1000), "{} bytes", reply.body.len());
}

#[tokio::test]
async fn a_body_that_stops_for_good_is_not_tried_until_its_client_loses_patience() {
    let setup = Setup::start().await;
    let content = Content::new(MIB, 1);
    setup.origin.put("/f", &content);
    setup.origin.set_fault("/f", Some(Fault::GateAfter(1000)));
    let reply = setup.get("/f", &[]).await;
    assert!(reply.cut && reply.body == content.bytes(0..1000), "{} bytes", reply.body.len());
    // 8 s of silence, and half a second of another try.
    assert!(setup.origin.seen().len() <= 2, "{:?}", setup.origin.ranges());
}

#[tokio::test]
async fn an_origin_without_ranges_is_read_once_for_all_pieces() {
    let setup = Setup::start().await;
    let content = Content::new(6 * MIB + 77, 1);
    setup.origin.put("/f", &content);
    setup.origin.set_fault("/f", Some(Fault::NoRanges));
    let reply = setup.get("/f", &[]).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body == content.whole(), "bytes differ");
    assert_eq!(setup.origin.seen().len(), 1);
    setup.origin.forget();
    let range = setup.get("/f", &[&format!("Range: bytes={}-{}", 5 * MIB - 1, 6 * MIB + 1)]).await;
    assert_eq!((range.status, range.header("X-Cache")), (206, Some("HIT")));
    assert!(range.body == content.bytes(5 * MIB - 1..6 * MIB + 2), "bytes of the range differ");
    assert_eq!(setup.origin.seen().len(), 0);
}

#[tokio::test]
async fn a_cold_range_of_an_origin_without_ranges_is_still_206() {
    let setup = Setup::start().await;
    let content = Content::new(4 * MIB, 1);
    setup.origin.put("/f", &content);
    setup.origin.set_fault("/f", Some(Fault::NoRanges));
    let reply = setup.get("/f", &[&format!("Range: bytes={}-{}", 2 * MIB + 5, 3 * MIB + 5)]).await;
    assert_eq!(reply.status, 206);
    assert!(reply.body == content.bytes(2 * MIB + 5..3 * MIB + 6), "bytes differ");
    assert_eq!(setup.origin.seen().len(), 1);
}

#[tokio::test]
async fn an_origin_that_sends_no_length_is_measured_first() {
    let setup = Setup::start().await;
    let content = Content::new(4 * MIB + 9, 1);
    setup.origin.put("/f", &content);
    setup.origin.set_fault("/f", Some(Fault::Chunked));
    let cold = setup.get("/f", &[&format!("Range: bytes={}-", 4 * MIB)]).await;
    assert_eq!((cold.status, cold.body), (206, content.bytes(4 * MIB..content.length)));
    let whole = setup.get("/f", &[]).await;
    assert_eq!((whole.status, whole.header("Transfer-Encoding")), (200, None));
    assert!(whole.body == content.whole());
    assert_eq!(setup.origin.seen().len(), 1);
    // Clients need the length before the bytes, and memory has an end.
    setup.origin.put("/large", &Content::new(16 * MIB + 1, 2));
    setup.origin.set_fault("/large", Some(Fault::Chunked));
    assert_eq!(setup.get("/large", &[]).await.status, 502);
}

#[tokio::test]
async fn an_origin_that_refuses_bytes_it_has_is_not_asked_again_and_again() {
    let setup = Setup::start().await;
    setup.origin.set_fault("/f", Some(Fault::Outside(1000)));
    let reply = setup.get("/f", &["Range: bytes=0-9"]).await;
    assert_eq!((reply.status, reply.header("Content-Range")), (416, Some("bytes */1000")));
    assert_eq!(setup.origin.seen().len(), 1);
}

#[tokio::test]
async fn a_range_beyond_the_end_of_stale_content_does_not_make_it_seem_changed() {
    let setup = Setup::start_with(|config| {
        config.content.ttl.stale_while_revalidate_seconds = 0;
    })
    .await;
    let content = Content { headers: &[("cache-control", "max-age=0")], ..Content::new(3000, 1) };
    setup.origin.put("/f", &content);
    setup.get("/f", &[]).await;
    setup.origin.forget();
    assert_eq!(setup.get("/f", &[&format!("Range: bytes={MIB}-")]).await.status, 416);
    assert_eq!(setup.origin.ranges(), ["bytes=0-1048575"], "it is validated by bytes that it has");
    assert_eq!(setup.get("/f", &[]).await.header("X-Cache"), Some("HIT"));
    assert_eq!(setup.sidecar().origin_bytes(), content.length, "nothing was fetched again");
}

#[tokio::test]
async fn a_fetch_goes_on_and_is_kept_when_its_client_leaves() {
    let setup = Setup::start().await;
    let content = Content::new(MIB, 1);
    setup.origin.put("/f", &content);
    setup.origin.set_fault("/f", Some(Fault::GateAfter(1000)));
    let mut connection = setup.connect().await;
    connection.request("GET", "/f?cacheHostOrigin=dl.delivery.mp.microsoft.com", &[]).await;
    connection.head().await;
    connection.wait_for_body(1000).await;
    drop(connection);
    setup.origin.open_gate();
    eventually("the piece is stored", || async {
        setup.get("/f", &["Range: bytes=5-9"]).await.header("X-Cache") == Some("HIT")
    })
    .await;
    assert_eq!(setup.origin.seen().len(), 1);
}
