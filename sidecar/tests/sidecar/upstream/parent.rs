//! `upstream.parent`: caches one behind the other.

use std::net::SocketAddr;

use connected_cache_config::Config;
use tokio::net::TcpSocket;

use super::secure::Secure;
use crate::support::{Authority, Content, Fault, HOST, MIB, Origin, Setup, eventually};

/// A sidecar of this name with this parent. Its own origin is another one than the parent's.
async fn child(name: &str, parent: SocketAddr, change: impl FnOnce(&mut Config)) -> Setup {
    Setup::start_with(|config| {
        config.node.name = Some(name.into());
        config.upstream.parent = format!("http://{parent}").parse().ok();
        change(config);
    })
    .await
}

/// Who is silent is not waited for longer.
fn waiting_a_second(config: &mut Config) {
    config.upstream.timeouts.connect_seconds = 1;
    config.upstream.timeouts.first_byte_seconds = 1;
}

async fn fallbacks(setup: &Setup) -> Option<u64> {
    setup.metric("connectedcache_parent_fallbacks_total").await
}

#[tokio::test]
async fn every_level_stores_and_the_origin_is_asked_once_for_all_children() {
    let mut parent = Setup::start_with(|config| config.node.name = Some("parent".into())).await;
    let content = Content::new(3 * MIB + 7, 1);
    parent.origin.put("/f", &content);
    let address = parent.sidecar().http_address().unwrap();
    // The parent's address is private, which its own name allows and nothing else.
    let private = |config: &mut Config| config.content.allow_private_targets = false;
    let children = [child("child-0", address, private).await, child("child-1", address, private).await];
    let path = "/f?P1=1&P4=ab%2fc%2bd'{}+&empty=";
    let reply = children[0].get(path, &[]).await;
    assert!(reply.status == 200 && reply.body == content.whole(), "{}", reply.status);
    let asked = parent.origin.seen();
    assert!(asked.iter().all(|seen| seen.target == path && seen.header("host") == Some(HOST)), "{asked:?}");
    let via: Vec<_> = asked[0].header("via").unwrap().split(", ").collect();
    assert!(via[0].starts_with("1.1 connectedcache-child-0-"), "{via:?}");
    assert!(via.len() == 2 && via[1].starts_with("1.1 connectedcache-parent-"), "{via:?}");
    let reply = children[1].get(path, &[]).await;
    assert!(reply.status == 200 && reply.body == content.whole(), "{}", reply.status);
    assert_eq!(parent.origin.seen().len(), asked.len(), "the second child cost the origin nothing");
    parent.wait_for_hit(path, "Range: bytes=0-").await;
    parent.stop().await;
    for child in &children {
        let reply = child.get(path, &[]).await;
        assert!(reply.status == 200 && reply.body == content.whole(), "{}", reply.status);
        assert_eq!(reply.header("X-Cache"), Some("HIT"));
        assert_eq!(child.origin.seen().len(), 0);
        assert_eq!(fallbacks(child).await, Some(0));
    }
}

#[tokio::test]
async fn content_comes_from_the_origin_when_the_parent_is_gone() {
    let mut parent = Setup::start_with(|config| config.node.name = Some("parent".into())).await;
    let child = child("child", parent.sidecar().http_address().unwrap(), |_| {}).await;
    let (first, second) = (Content::new(2 * MIB, 1), Content::new(2 * MIB + 3, 2));
    for origin in [&parent.origin, &child.origin] {
        origin.put("/first", &first);
        origin.put("/second", &second);
    }
    assert!(child.get("/first", &["Range: bytes=0-99"]).await.body == first.bytes(0..100));
    assert_eq!(child.origin.seen().len(), 0);
    parent.stop().await;
    // One that has begun goes on, and one that is new begins.
    let reply = child.get("/first", &[]).await;
    assert!(reply.status == 200 && reply.body == first.whole(), "{}", reply.status);
    let reply = child.get("/second", &[]).await;
    assert!(reply.status == 200 && reply.body == second.whole(), "{}", reply.status);
    let asked = child.origin.seen();
    assert!(
        !asked.is_empty() && asked.iter().all(|seen| !seen.target.contains("cacheHostOrigin")),
        "{asked:?}"
    );
    assert_eq!(fallbacks(&child).await, Some(asked.len() as u64));
}

#[tokio::test]
async fn a_parent_that_breaks_off_is_continued_by_the_origin() {
    let parent = Origin::start().await;
    let child = child("child", parent.address(), |_| {}).await;
    let content = Content::new(MIB, 1);
    for origin in [&parent, &child.origin] {
        origin.put("/f", &content);
    }
    parent.set_fault("/f", Some(Fault::CutAfter(100_000)));
    let reply = child.get("/f", &[]).await;
    assert!(reply.status == 200 && reply.body == content.whole() && !reply.cut, "{}", reply.status);
    assert_eq!((parent.seen().len(), child.origin.seen().len()), (1, 1));
}

#[tokio::test]
async fn only_the_origin_s_word_is_believed_of_a_parent() {
    // An origin may be a parent as well: this one sees what a parent gets.
    let parent = Origin::start().await;
    let child = child("child", parent.address(), |_| {}).await;
    let content = Content::new(10, 1);
    child.origin.put("/f", &content);
    for status in [400, 401, 403, 405, 407, 421, 429, 451, 500, 502, 503, 504] {
        let path = format!("/refused-{status}");
        child.origin.put(&path, &content);
        parent.set_fault(&path, Some(Fault::Status(status)));
        let reply = child.get(&format!("{path}?x=1"), &[]).await;
        assert_eq!((reply.status, &reply.body), (200, &content.whole()), "{status}");
        let seen = parent.seen().pop().unwrap();
        assert_eq!(seen.target, format!("{path}?x=1&cacheHostOrigin={HOST}"));
        assert_eq!(child.origin.seen().pop().unwrap().target, format!("{path}?x=1"));
    }
    child.origin.forget();
    parent.set_fault("/f", Some(Fault::Outside(5)));
    assert_eq!(child.get("/f", &["Range: bytes=7-8"]).await.status, 416);
    assert_eq!(child.origin.seen().len(), 0);
    assert_eq!(parent.seen().pop().unwrap().target, format!("/f?cacheHostOrigin={HOST}"));
}

#[tokio::test]
async fn what_is_gone_at_the_origin_of_a_parent_is_gone() {
    let parent = Setup::start().await;
    let child = child("child", parent.sidecar().http_address().unwrap(), |_| {}).await;
    for (path, status) in [("/f", 404), ("/g", 410)] {
        child.origin.put(path, &Content::new(10, 1));
        parent.origin.set_fault(path, Some(Fault::Status(status)));
        assert_eq!(child.get(path, &[]).await.status, status);
    }
    assert_eq!((child.origin.seen().len(), fallbacks(&child).await), (0, Some(0)));
}

#[tokio::test]
async fn a_silent_parent_leaves_time_for_the_origin_and_then_rests() {
    let parent = Origin::start().await;
    let child = child("child", parent.address(), waiting_a_second).await;
    let content = Content::new(10, 1);
    for path in ["/f", "/g"] {
        child.origin.put(path, &content);
        parent.set_fault(path, Some(Fault::Silence));
        assert_eq!(child.get(path, &[]).await.body, content.whole(), "{path}");
    }
    assert_eq!(parent.seen().len(), 1, "the second did not wait for it");
}

#[tokio::test]
async fn a_parent_that_waits_for_one_origin_is_asked_about_the_others() {
    let parent = Origin::start().await;
    let child = child("child", parent.address(), waiting_a_second).await;
    let content = Content::new(10, 1);
    for path in ["/slow", "/f", "/g"] {
        parent.put(path, &content);
    }
    child.origin.put("/slow", &content);
    parent.set_fault("/slow", Some(Fault::GateHead));
    let others = async {
        eventually("the parent is asked", || async { parent.seen().len() == 1 }).await;
        child.get("/f", &[]).await
    };
    let (slow, other) = tokio::join!(child.get("/slow", &[]), others);
    assert_eq!((slow.body, other.body), (content.whole(), content.whole()));
    assert_eq!(child.get("/g", &[]).await.body, content.whole());
    assert_eq!((parent.seen().len(), child.origin.seen().len()), (3, 1));
}

#[tokio::test]
async fn redirects_of_a_parent_lead_to_no_private_address() {
    let (parent, secret) = (Origin::start().await, Origin::start().await);
    secret.put("/secret", &Content::new(10, 1));
    let child = child("child", parent.address(), |config| {
        config.content.allow_private_targets = false;
        config.upstream.resolve.insert(HOST.into(), secret.address());
    })
    .await;
    for location in [
        format!("http://{HOST}/secret"),
        format!("http://{}/secret", secret.address()),
        format!("http://{}/secret", parent.address()),
    ] {
        parent.set_fault("/f", Some(Fault::Redirect(location.clone())));
        let reply = child.get("/f", &[]).await;
        assert_eq!(reply.status, 502, "{location}");
        assert!(reply.text().contains("content.allowPrivateTargets"), "{}", reply.text());
    }
    assert_eq!(secret.seen().len(), 0);
    let asked: Vec<String> = parent.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(asked, vec![format!("/f?cacheHostOrigin={HOST}"); 3]);
}

#[tokio::test]
async fn caches_in_a_circle_find_it_out_and_ask_the_origin() {
    // Held without listening until the first cache takes it, so that nobody else gets it meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    let second = child("pod-0", address, |_| {}).await;
    let first = child("pod-0", second.sidecar().http_address().unwrap(), |config| {
        config.listen.http = Some(address);
    })
    .await;
    for cache in [&first, &second] {
        cache.origin.put("/f", &Content::new(10, 1));
    }
    // The first asks the second, which asks the first, which knows its own question again.
    let reply = first.get("/f", &[]).await;
    assert_eq!((reply.status, reply.body), (200, Content::new(10, 1).whole()));
    assert_eq!((first.origin.seen().len(), second.origin.seen().len()), (0, 1));
    assert_eq!((fallbacks(&first).await, fallbacks(&second).await), (Some(0), Some(1)));
}

#[tokio::test]
async fn a_client_that_came_through_many_caches_costs_nobody_the_content() {
    let parent = Setup::start().await;
    let child = child("child", parent.sidecar().http_address().unwrap(), |_| {}).await;
    child.origin.put("/f", &Content::new(10, 1));
    // As many hops as one cache takes: the next one refuses.
    let reply = child.get("/f", &["Via: 1.1 a, 1.1 b, 1.1 c, 1.1 d, 1.1 e, 1.1 f, 1.1 g, 1.1 h"]).await;
    assert_eq!((reply.status, reply.body), (200, Content::new(10, 1).whole()));
    assert_eq!((child.origin.seen().len(), fallbacks(&child).await), (1, Some(1)));
}

#[tokio::test]
async fn what_stands_before_a_parent_is_not_taken_for_the_origin() {
    // A load balancer without a backend: it answers 404, or 204, and no cache has seen the request.
    let between = Origin::start().await;
    let child = child("child", between.address(), |_| {}).await;
    child.origin.put("/f", &Content::new(10, 1));
    for (path, status) in [("/f", 404), ("/g", 204), ("/h", 410)] {
        child.origin.put(path, &Content::new(10, 1));
        between.put(path, &Content::new(10, 1));
        between.set_fault(path, Some(Fault::Status(status)));
        let reply = child.get(path, &[]).await;
        assert_eq!((reply.status, reply.body), (200, Content::new(10, 1).whole()), "{status}");
    }
    assert_eq!(fallbacks(&child).await, Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_over_tls_asks_the_origin_as_the_client_did() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new("the parent's authority");
    let file = |name: &str| files.path().join(name);
    authority.write(&file("ca.pem"));
    authority.sign_files(files.path(), "parent", "localhost");
    let parent = Setup::start_with(|config| {
        config.node.name = Some("parent".into());
        config.listen.https = config.listen.http;
        (config.tls.cert, config.tls.key) = (Some(file("parent.crt")), Some(file("parent.key")));
    })
    .await;
    let content = Content::new(2 * MIB + 7, 1);
    parent.origin.put("/f", &content);
    let port = parent.sidecar().https_address().unwrap().port();
    let child = Setup::start_with(|config| {
        config.upstream.parent = format!("https://localhost:{port}").parse().ok();
        config.upstream.ca_file = Some(file("ca.pem"));
    })
    .await;
    // The parent's origin speaks no TLS.
    let reply = child.get("/f", &[]).await;
    assert!(reply.status == 200 && reply.body == content.whole(), "{}", reply.status);
    let asked = parent.origin.seen();
    assert!(
        !asked.is_empty() && asked.iter().all(|seen| seen.header("x-forwarded-proto").is_none()),
        "{asked:?}"
    );
    assert_eq!((child.origin.seen().len(), fallbacks(&child).await), (0, Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_over_tls_is_not_asked_of_a_parent_in_the_clear() {
    let parent = Origin::start().await;
    let mut secure = Secure::start().await;
    let url = format!("http://{}", parent.address());
    secure.change(|config| config.upstream.parent = url.parse().ok()).await;
    let content = Content::new(10, 1);
    secure.setup.origin.put("/f", &content);
    assert_eq!(secure.get("/f").await, (200, content.whole()));
    assert_eq!((parent.seen().len(), secure.setup.origin.seen().len()), (0, 1));
}
