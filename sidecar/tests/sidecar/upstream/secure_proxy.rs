//! A proxy that is itself reached by https, with a certificate of an authority of `upstream.caFile`.

use std::net::SocketAddr;

use connected_cache_config::Config;

use super::{
    forward_proxy::ForwardProxy,
    front::Front,
    secure::{Secure, front_certificate},
};
use crate::support::{Authority, Content, HOST, MIB, Setup};

/// `user:p@ss` in base64, by coreutils' `base64`.
const CREDENTIALS: &str = "Basic dXNlcjpwQHNz";

/// A proxy behind TLS as `localhost`.
struct SecureProxy {
    proxy: ForwardProxy,
    front: Front,
}

impl SecureProxy {
    async fn start(origin: SocketAddr, authority: &Authority) -> Self {
        let proxy = ForwardProxy::start(origin, None).await;
        let front = Front::start(proxy.address).await;
        front.secure(front_certificate(authority, "localhost"));
        Self { proxy, front }
    }

    /// Makes it the only way to the origin.
    fn configure(&self, config: &mut Config) {
        config.content.allow_private_targets = false;
        config.upstream.resolve.clear();
        let url = format!("https://user:p%40ss@localhost:{}", self.front.address.port());
        config.upstream.proxy = url.parse().ok();
    }
}

/// A sidecar whose only way to its origin is a proxy by https, of an authority that it knows.
async fn by_secure_proxy() -> (Setup, SecureProxy, Authority) {
    let (mut setup, authority) = (Setup::start().await, Authority::new("the proxy's authority"));
    let through = SecureProxy::start(setup.origin.address(), &authority).await;
    let file = setup.folder.path().join("ca.pem");
    authority.write(&file);
    through.configure(&mut setup.config);
    setup.config.upstream.ca_file = Some(file);
    setup.restart().await;
    (setup, through, authority)
}

#[tokio::test]
async fn http_origins_are_asked_by_their_whole_url_inside_tls() {
    let (setup, through, _) = by_secure_proxy().await;
    let content = Content::new(3 * MIB + 7, 1);
    setup.origin.put("/f", &content);
    let reply = setup.get("/f?P4=ab%2f", &[]).await;
    assert!(reply.status == 200 && reply.body == content.whole(), "{}: {}", reply.status, reply.text());
    let heads = through.proxy.seen();
    assert_eq!(heads.len(), setup.origin.seen().len());
    for head in heads {
        assert_eq!(head.first_line, format!("GET http://{HOST}/f?P4=ab%2f HTTP/1.1"));
        assert_eq!((head.field("Host"), head.field("Proxy-Authorization")), (Some(HOST), Some(CREDENTIALS)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_origins_are_reached_by_tls_inside_the_tls_of_the_proxy() {
    let mut secure = Secure::start().await;
    let through = SecureProxy::start(secure.front.address, &secure.authority).await;
    secure.change(|config| through.configure(config)).await;
    let content = Content::new(2 * MIB + 5, 1);
    secure.setup.origin.put("/f", &content);
    let (status, body) = secure.get("/f").await;
    assert!(status == 200 && body == content.whole(), "{status}");
    let head = through.proxy.seen().remove(0);
    assert_eq!(head.first_line, format!("CONNECT {HOST}:443 HTTP/1.1"));
    assert_eq!(head.field("Proxy-Authorization"), Some(CREDENTIALS));
    let seen = secure.setup.origin.seen();
    assert!(seen.iter().all(|seen| seen.header("proxy-authorization").is_none() && seen.target == "/f"));
}

#[tokio::test]
async fn a_proxy_of_an_unknown_authority_or_another_name_is_told_nothing() {
    let (setup, through, authority) = by_secure_proxy().await;
    setup.origin.put("/f", &Content::new(10, 1));
    let strangers = [
        front_certificate(&Authority::new("a stranger"), "localhost"),
        front_certificate(&authority, "other.example"),
    ];
    for certificate in strangers {
        through.front.secure(certificate);
        let reply = setup.get("/f", &[]).await;
        assert_eq!(reply.status, 502);
        assert!(reply.text().contains("upstream.proxy"), "{}", reply.text());
        assert!(!reply.text().contains("p@ss") && !reply.text().contains("p%40ss"), "{}", reply.text());
    }
    assert_eq!(through.proxy.seen().len(), 0, "no request and no credentials");
    through.front.secure(front_certificate(&authority, "localhost"));
    assert_eq!(setup.get("/f", &[]).await.status, 200);
}
