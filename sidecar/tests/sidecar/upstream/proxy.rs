//! `upstream.proxy` and `upstream.noProxy`.

use connected_cache_config::Config;

use super::forward_proxy::ForwardProxy;
use crate::support::{Content, HOST, MIB, Setup};

/// `user:p@ss` in base64, by coreutils' `base64`.
const CREDENTIALS: &str = "Basic dXNlcjpwQHNz";

/// A sidecar that may only reach its origin through a proxy, and knows no address of it.
async fn start(refusal: Option<u16>, change: impl FnOnce(&mut Config)) -> (Setup, ForwardProxy) {
    let mut setup = Setup::start().await;
    let proxy = ForwardProxy::start(setup.origin.address(), refusal).await;
    let config = &mut setup.config;
    config.content.allow_private_targets = false;
    config.upstream.resolve.clear();
    config.upstream.proxy = format!("http://user:p%40ss@{}", proxy.address).parse().ok();
    change(config);
    setup.restart().await;
    (setup, proxy)
}

#[tokio::test]
async fn http_origins_are_asked_by_their_whole_url_byte_for_byte() {
    let (setup, proxy) = start(None, |_| {}).await;
    let odd = "/a%20b/%7Bc%7D/../d'(x)~;=|/{e}/f?P1=1&P2=404&P4=ab%2fc%2bd'{}+&empty=&&x";
    assert_eq!(setup.get(odd, &[]).await.status, 404);
    let head = proxy.seen().remove(0);
    assert_eq!(head.first_line, format!("GET http://{HOST}{odd} HTTP/1.1"));
    assert_eq!(head.field("Host"), Some(HOST));
    assert_eq!(head.field("Proxy-Authorization"), Some(CREDENTIALS));
    assert_eq!(setup.origin.seen()[0].target, odd);
}

#[tokio::test]
async fn content_in_pieces_comes_whole_through_a_proxy() {
    let (setup, proxy) = start(None, |_| {}).await;
    let content = Content::new(5 * MIB + 7, 1);
    setup.origin.put("/f", &content);
    let reply = setup.get("/f", &[]).await;
    assert!(reply.status == 200 && reply.body == content.whole());
    let first_line = format!("GET http://{HOST}/f HTTP/1.1");
    assert!(proxy.seen().iter().all(|head| head.first_line == first_line));
    assert_eq!(proxy.seen().len(), setup.origin.seen().len());
}

#[tokio::test]
async fn a_proxy_without_user_gets_no_credentials() {
    let (setup, proxy) = start(None, |config| {
        let url = config.upstream.proxy.as_mut().unwrap();
        url.set_username("").and(url.set_password(None)).unwrap();
    })
    .await;
    setup.get("/f", &[]).await;
    assert_eq!(proxy.seen()[0].field("Proxy-Authorization"), None);
}

#[tokio::test]
async fn hosts_of_no_proxy_are_reached_straight() {
    for (pattern, is_straight) in [
        ("*.mp.microsoft.com", true),
        (HOST, true),
        ("*.delivery.example", false),
        ("delivery.mp.microsoft.com", false),
        ("127.0.0.1", false),
    ] {
        let (mut setup, proxy) = start(None, |_| {}).await;
        setup.origin.put("/f", &Content::new(10, 1));
        let address = setup.origin.address();
        setup.config.upstream.no_proxy = vec![pattern.into()];
        setup.config.upstream.resolve.insert(HOST.into(), address);
        setup.config.content.allow_private_targets = true;
        setup.restart().await;
        assert_eq!(setup.get("/f", &[]).await.status, 200, "{pattern}");
        assert_eq!(proxy.seen().is_empty(), is_straight, "{pattern}");
        let seen = setup.origin.seen().remove(0);
        assert_eq!((seen.target.as_str(), seen.header("proxy-authorization")), ("/f", None), "{pattern}");
    }
}

#[tokio::test]
async fn a_proxy_that_wants_other_credentials_is_502_and_none_are_told() {
    let (setup, proxy) = start(Some(407), |_| {}).await;
    let reply = setup.get("/f", &[]).await;
    assert_eq!((reply.status, reply.header("Proxy-Authenticate")), (502, None));
    let text = reply.text();
    assert!(text.contains("upstream.proxy") && text.contains("407"), "{text}");
    assert!(!text.contains("p@ss") && !text.contains("p%40ss"), "{text}");
    assert_eq!(proxy.seen().len(), 1);
    assert_eq!(setup.origin.seen().len(), 0);
}

#[tokio::test]
async fn a_proxy_that_can_t_be_reached_is_502_and_named() {
    let (setup, _proxy) = start(None, |config| {
        // Bound and closed again: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        config.upstream.proxy = format!("http://user:secret@{port}").parse().ok();
    })
    .await;
    let reply = setup.get("/f", &[]).await;
    assert_eq!(reply.status, 502);
    assert!(reply.text().contains("upstream.proxy"), "{}", reply.text());
    assert!(!reply.text().contains("secret"), "{}", reply.text());
}
