//! Ranges, whole objects and HEAD: cold, warm, and after a restart.

use crate::support::{Content, HOST, MIB, Setup};

const PATH: &str = "/filestreamingservice/files/52fa8751-747d-479d-8f22-e32730cc0eb1";

/// Three whole pieces and a short one.
fn content() -> Content {
    Content::new(3 * MIB + 12_345, 7)
}

#[tokio::test]
async fn a_whole_object_is_fetched_once() {
    let setup = Setup::start().await;
    let content = content();
    setup.origin.put(PATH, &content);

    let cold = setup.get(PATH, &[]).await;
    assert_eq!((cold.status, cold.header("X-Cache")), (200, Some("MISS")));
    assert_eq!(cold.header("Cache-Status"), Some("connectedcache; fwd=miss; detail=origin"));
    assert_eq!(cold.header("Content-Length"), Some((3 * MIB + 12_345).to_string().as_str()));
    assert!(cold.body == content.whole(), "cold bytes differ");
    assert_eq!(
        setup.origin.ranges(),
        ["bytes=0-1048575", "bytes=1048576-3145727", "bytes=3145728-3158072"],
        "one for the first piece, then runs of neighbours"
    );

    setup.origin.forget();
    let warm = setup.get(PATH, &[]).await;
    assert_eq!((warm.status, warm.header("X-Cache")), (200, Some("HIT")));
    // Its last piece may still be on its way to the disk; its bytes are not fetched again for that.
    let status = warm.header("Cache-Status").unwrap();
    assert!(
        ["connectedcache; hit; detail=disk", "connectedcache; hit; detail=memory"].contains(&status),
        "{status}"
    );
    assert!(warm.body == content.whole(), "warm bytes differ");
    assert_eq!(setup.origin.ranges(), Vec::<String>::new());
}

#[tokio::test]
async fn ranges_across_piece_edges_are_exact_cold_and_warm() {
    let content = content();
    let length = content.length;
    let cases = [
        (0, 0),
        (0, 1),
        (MIB - 1, MIB - 1),
        (MIB - 1, MIB),
        (MIB, 2 * MIB - 1),
        (5, 3 * MIB + 5),
        (length - 1, length - 1),
        (0, length - 1),
    ];
    for (first, last) in cases {
        let setup = Setup::start().await;
        setup.origin.put(PATH, &content);
        for state in ["cold", "warm"] {
            if state == "warm" {
                // The first reply was over before the rest of its pieces had come.
                setup.wait_for_hit(PATH, &format!("Range: bytes={first}-{last}")).await;
            }
            let reply = setup.get(PATH, &[&format!("Range: bytes={first}-{last}")]).await;
            assert_eq!(reply.status, 206, "{state} {first}-{last}: {}", reply.text());
            assert_eq!(
                reply.header("Content-Range"),
                Some(format!("bytes {first}-{last}/{length}").as_str())
            );
            assert_eq!(reply.header("Content-Length"), Some((last - first + 1).to_string().as_str()));
            assert!(reply.body == content.bytes(first..last + 1), "{state} bytes of {first}-{last} differ");
            let expected = if state == "cold" { "MISS" } else { "HIT" };
            assert_eq!(reply.header("X-Cache"), Some(expected), "{first}-{last}");
        }
    }
}

#[tokio::test]
async fn open_suffix_and_too_long_ranges_are_clamped() {
    let setup = Setup::start().await;
    let content = content();
    let length = content.length;
    setup.origin.put(PATH, &content);
    let cases = [
        (format!("bytes={}-", 2 * MIB + 7), 2 * MIB + 7),
        ("bytes=-100".to_owned(), length - 100),
        (format!("bytes=-{}", length + 5), 0),
        (format!("bytes={}-99999999999999999999999", 3 * MIB), 3 * MIB),
    ];
    for (range, first) in cases {
        let reply = setup.get(PATH, &[&format!("Range: {range}")]).await;
        assert_eq!(
            (reply.status, reply.header("Content-Range")),
            (206, Some(format!("bytes {first}-{}/{length}", length - 1).as_str())),
            "{range}"
        );
        assert!(reply.body == content.bytes(first..length), "bytes of {range} differ");
    }
}

#[tokio::test]
async fn only_asked_pieces_are_fetched_and_the_rest_makes_it_partial() {
    let setup = Setup::start().await;
    let content = content();
    setup.origin.put(PATH, &content);
    setup.get(PATH, &[&format!("Range: bytes={}-{}", MIB, MIB + 9)]).await;
    assert_eq!(setup.origin.ranges(), ["bytes=1048576-2097151"]);
    setup.wait_for_hit(PATH, &format!("Range: bytes={}-{}", MIB, MIB + 9)).await;
    let reply = setup.get(PATH, &[&format!("Range: bytes={}-{}", MIB + 5, 2 * MIB + 5)]).await;
    assert_eq!(reply.header("X-Cache"), Some("PARTIAL"));
    assert_eq!(reply.header("Cache-Status"), Some("connectedcache; fwd=partial; detail=origin"));
    assert!(reply.body == content.bytes(MIB + 5..2 * MIB + 6), "bytes differ");
    assert_eq!(setup.origin.ranges(), ["bytes=1048576-2097151", "bytes=2097152-3145727"]);
}

#[tokio::test]
async fn a_range_outside_the_content_is_416_cold_and_warm() {
    let setup = Setup::start().await;
    setup.origin.put(PATH, &Content::new(1000, 1));
    for state in ["cold", "warm"] {
        for range in ["bytes=1000-", "bytes=5000000-5000001", "bytes=-0"] {
            let reply = setup.get(PATH, &[&format!("Range: {range}")]).await;
            assert_eq!(
                (reply.status, reply.header("Content-Range")),
                (416, Some("bytes */1000")),
                "{state} {range}"
            );
        }
        setup.get(PATH, &[]).await;
    }
    setup.origin.remove(PATH);
    let gone = setup.get("/gone", &["Range: bytes=5-"]).await;
    assert_eq!(gone.status, 404, "a missing object is 404 whatever the range");
}

#[tokio::test]
async fn several_ranges_and_broken_ones_get_the_whole() {
    let setup = Setup::start().await;
    let content = Content::new(1000, 1);
    setup.origin.put(PATH, &content);
    let lines: [&[&str]; 3] =
        [&["Range: bytes=0-1,5-6"], &["Range: pieces=0-1"], &["Range: bytes=0-1", "Range: bytes=5-6"]];
    for lines in lines {
        let reply = setup.get(PATH, lines).await;
        assert_eq!((reply.status, reply.header("Content-Range")), (200, None), "{lines:?}");
        assert!(reply.body == content.whole(), "bytes differ");
    }
}

#[tokio::test]
async fn if_range_gives_the_part_only_of_the_same_state() {
    let setup = Setup::start().await;
    let content = content();
    setup.origin.put(PATH, &content);
    let cases = [
        ("\"one\"", 206),
        ("Mon, 05 Jan 2026 00:00:00 GMT", 206),
        ("\"two\"", 200),
        ("W/\"one\"", 200),
        ("Tue, 06 Jan 2026 00:00:00 GMT", 200),
    ];
    for (validator, status) in cases {
        let reply = setup.get(PATH, &["Range: bytes=5-9", &format!("If-Range: {validator}")]).await;
        assert_eq!(reply.status, status, "{validator}");
        let expected = if status == 206 { content.bytes(5..10) } else { content.whole() };
        assert!(reply.body == expected, "bytes differ for {validator}");
    }
}

#[tokio::test]
async fn head_says_what_get_says_cold_and_warm() {
    let setup = Setup::start().await;
    setup.origin.put(PATH, &content());
    let target = format!("{PATH}?cacheHostOrigin={HOST}");
    for _ in 0..2 {
        let mut connection = setup.connect().await;
        let reply = connection.ask("HEAD", &target, &["Range: bytes=0-1"]).await;
        assert_eq!((reply.status, reply.header("Content-Length")), (200, Some("3158073")));
        assert_eq!(reply.header("Accept-Ranges"), Some("bytes"));
        // Not a byte of a body follows: the next reply on the connection is read right.
        let next = connection.ask("GET", &target, &["Range: bytes=0-1"]).await;
        assert_eq!((next.status, next.body), (206, content().bytes(0..2)));
    }
}

#[tokio::test]
async fn an_empty_object_is_an_empty_200() {
    let setup = Setup::start().await;
    setup.origin.put(PATH, &Content::new(0, 1));
    for lines in [&[][..], &["Range: bytes=-5"][..]] {
        let reply = setup.get(PATH, lines).await;
        assert_eq!(
            (reply.status, reply.header("Content-Length"), reply.body.len()),
            (200, Some("0"), 0),
            "{lines:?}"
        );
    }
    let reply = setup.get(PATH, &["Range: bytes=0-0"]).await;
    assert_eq!((reply.status, reply.header("Content-Range")), (416, Some("bytes */0")));
}

#[tokio::test]
async fn a_restart_keeps_what_was_stored() {
    let mut setup = Setup::start().await;
    let content = content();
    setup.origin.put(PATH, &content);
    setup.get(PATH, &[]).await;
    setup.restart().await;
    setup.origin.forget();
    let reply = setup.get(PATH, &[]).await;
    assert_eq!((reply.status, reply.header("X-Cache")), (200, Some("HIT")));
    assert_eq!(reply.header("Cache-Status"), Some("connectedcache; hit; detail=disk"));
    assert_eq!(reply.header("ETag"), Some("\"one\""));
    assert_eq!(reply.header("Content-Type"), Some("application/octet-stream"));
    assert!(reply.body == content.whole(), "bytes differ after the restart");
    assert_eq!(setup.origin.ranges(), Vec::<String>::new());
}

#[tokio::test]
async fn a_new_signature_of_a_streamed_file_finds_the_same_object() {
    let setup = Setup::start().await;
    setup.origin.put(PATH, &Content::new(1000, 1));
    setup.get(&format!("{PATH}?P1=1&P4=a%2fb"), &[]).await;
    let reply = setup.get(&format!("{PATH}?P1=2&P4=c%2fd"), &[]).await;
    assert_eq!(reply.header("X-Cache"), Some("HIT"));
}
