//! Content whose query is a signature: what one client's signature is worth concerns that client alone.

use crate::support::{Content, Fault, MIB, Reply, Setup, eventually};

const FILE: &str = "/filestreamingservice/files/52fa8751-747d-479d-8f22-e32730cc0eb1";
const GOOD: &str = "/filestreamingservice/files/52fa8751-747d-479d-8f22-e32730cc0eb1?P1=2&P4=good";
const BAD: &str = "/filestreamingservice/files/52fa8751-747d-479d-8f22-e32730cc0eb1?P1=1&P4=bad";
const STALE_AT_ONCE: &[(&str, &str)] = &[("cache-control", "max-age=0")];

#[tokio::test]
async fn a_bad_signature_takes_nothing_from_the_others() {
    let setup = Setup::start().await;
    let content = Content { headers: STALE_AT_ONCE, ..Content::new(3000, 1) };
    setup.origin.put(FILE, &content);
    setup.origin.set_fault(FILE, Some(Fault::SignedBy("good")));
    setup.origin.open_gate();
    assert_eq!(setup.get(GOOD, &[]).await.status, 200);
    // It is known by now, and the origin's word about the signature is none about the content.
    let reply = setup.get(BAD, &[]).await;
    assert!(reply.status == 200 && reply.body == content.whole(), "{reply:?}");
    let reply = setup.get(GOOD, &[]).await;
    assert_eq!((reply.status, reply.header("X-Cache")), (200, Some("HIT")));
    assert_eq!(setup.sidecar().origin_bytes(), 3000);
}

/// One with a bad signature asks first, and many with a good one come while its request is at the origin.
async fn a_bad_one_and_many_good_ones(setup: &Setup, lines: &[&str]) -> (Reply, Vec<Reply>) {
    setup.origin.forget();
    setup.origin.set_fault(FILE, Some(Fault::SignedBy("good")));
    let good = async {
        eventually("the bad one asks", || async { !setup.origin.seen().is_empty() }).await;
        let waiting = futures::future::join_all((0..20).map(|_| setup.get(GOOD, lines)));
        let open = async {
            // Those that are not there by then come later: either way they must not get the other's answer.
            let connections = "connectedcache_connections{protocol=\"http\"}";
            eventually("some wait", || async { setup.metric(connections).await >= Some(10) }).await;
            setup.origin.open_gate();
        };
        tokio::join!(waiting, open).0
    };
    tokio::join!(setup.get(BAD, lines), good)
}

#[tokio::test]
async fn who_waits_for_another_client_s_first_fetch_is_judged_by_its_own_signature() {
    let setup = Setup::start().await;
    let content = Content::new(3000, 1);
    setup.origin.put(FILE, &content);
    let (bad, good) = a_bad_one_and_many_good_ones(&setup, &[]).await;
    assert_eq!(bad.status, 403);
    for reply in good {
        assert!(reply.status == 200 && reply.body == content.whole(), "{}: {}", reply.status, reply.text());
    }
    assert_eq!(setup.sidecar().origin_bytes(), 3000, "and it was still fetched once");
}

#[tokio::test]
async fn who_waits_for_another_client_s_piece_is_judged_by_its_own_signature() {
    let setup = Setup::start().await;
    let content = Content::new(2 * MIB, 1);
    setup.origin.put(FILE, &content);
    assert_eq!(setup.get(GOOD, &["Range: bytes=0-9"]).await.status, 206);
    let (bad, good) = a_bad_one_and_many_good_ones(&setup, &[&format!("Range: bytes={MIB}-")]).await;
    assert_eq!(bad.status, 403);
    let expected = content.bytes(MIB..2 * MIB);
    for reply in good {
        assert!(reply.status == 206 && reply.body == expected, "{}: {}", reply.status, reply.text());
    }
}

#[tokio::test]
async fn without_a_signature_a_403_is_the_origin_s_word_about_the_content() {
    let setup = Setup::start().await;
    setup.origin.put("/f", &Content { headers: STALE_AT_ONCE, ..Content::new(3000, 1) });
    assert_eq!(setup.get("/f", &[]).await.status, 200);
    setup.origin.set_fault("/f", Some(Fault::Status(403)));
    assert_eq!(setup.get("/f", &[]).await.status, 403);
    setup.origin.set_fault("/f", Some(Fault::Status(500)));
    assert_eq!(setup.get("/f", &[]).await.status, 502, "it is not kept for bad times");
}
