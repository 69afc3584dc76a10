//! Origins by https, because the client came by https: straight and through a proxy, with roots that change.

use std::{process::Stdio, sync::Arc};

use connected_cache_config::Config;
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tempfile::TempDir;
use tokio::process::Command;

use super::{forward_proxy::ForwardProxy, front::Front};
use crate::support::{Authority, Content, HOST, MIB, Setup, eventually};

/// What a front for this host presents.
pub(super) fn front_certificate(authority: &Authority, host: &str) -> Arc<ServerConfig> {
    let (certificate, key) = authority.sign(host);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    Arc::new(config.unwrap())
}

/// A sidecar with both listeners before an origin that speaks TLS.
pub(super) struct Secure {
    pub(super) setup: Setup,
    pub(super) front: Front,
    files: TempDir,
    pub(super) authority: Authority,
}

impl Secure {
    pub(super) async fn start() -> Self {
        let (mut setup, files) = (Setup::start().await, tempfile::tempdir().unwrap());
        let front = Front::start(setup.origin.address()).await;
        let authority = Authority::new("the origin's authority");
        front.secure(front_certificate(&authority, HOST));
        let file = |name: &str| files.path().join(name);
        authority.write(&file("origins.pem"));
        let listener = Authority::new("the listener's authority");
        listener.write(&file("listener.pem"));
        listener.sign_files(files.path(), "cache", "localhost");
        let config = &mut setup.config;
        config.listen.https = config.listen.http;
        (config.tls.cert, config.tls.key) = (Some(file("cache.crt")), Some(file("cache.key")));
        config.upstream.ca_file = Some(file("origins.pem"));
        config.upstream.resolve.insert(HOST.into(), front.address);
        setup.restart().await;
        Self { setup, front, files, authority }
    }

    pub(super) async fn change(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.setup.config);
        self.setup.restart().await;
    }

    /// Status and body of a request by https.
    pub(super) async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let port = self.setup.sidecar().https_address().unwrap().port();
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "30", "--write-out", "%{stderr}%{http_code}"])
            .arg("--cacert")
            .arg(self.files.path().join("listener.pem"))
            .arg(format!("https://localhost:{port}{path}?cacheHostOrigin={HOST}"))
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let status = String::from_utf8(output.stderr).unwrap();
        (status.parse().unwrap_or_else(|_| panic!("curl says {status}")), output.stdout)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_s_https_goes_on_as_https_to_the_origin() {
    let secure = Secure::start().await;
    let content = Content::new(3 * MIB + 5, 1);
    secure.setup.origin.put("/f", &content);
    let (status, body) = secure.get("/f").await;
    assert!(status == 200 && body == content.whole(), "{status}");
    assert_eq!(secure.setup.origin.seen()[0].header("host"), Some(HOST));
    // The same origin by http, which speaks no http: nothing but TLS passes the front.
    assert_eq!(secure.setup.get("/other", &[]).await.status, 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_of_an_unknown_authority_or_another_name_is_502() {
    let secure = Secure::start().await;
    secure.setup.origin.put("/f", &Content::new(10, 1));
    secure.front.secure(front_certificate(&Authority::new("a stranger"), HOST));
    assert_eq!(secure.get("/f").await.0, 502);
    assert_eq!(secure.setup.origin.seen().len(), 0);
    secure.front.secure(front_certificate(&secure.authority, HOST));
    assert_eq!(secure.get("/f").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_origins_are_reached_by_a_tunnel_through_the_proxy() {
    let mut secure = Secure::start().await;
    let proxy = ForwardProxy::start(secure.front.address, None).await;
    secure
        .change(|config| {
            config.upstream.resolve.clear();
            config.content.allow_private_targets = false;
            config.upstream.proxy = format!("http://Aladdin:open%20sesame@{}", proxy.address).parse().ok();
        })
        .await;
    let content = Content::new(2 * MIB + 5, 1);
    secure.setup.origin.put("/f", &content);
    let (status, body) = secure.get("/f").await;
    assert!(status == 200 && body == content.whole(), "{status}");
    let head = proxy.seen().remove(0);
    assert_eq!(head.first_line, format!("CONNECT {HOST}:443 HTTP/1.1"));
    assert_eq!(head.field("Host"), Some(format!("{HOST}:443").as_str()));
    // The example of RFC 7617 section 2.
    assert_eq!(head.field("Proxy-Authorization"), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    let seen = secure.setup.origin.seen();
    assert!(seen.iter().all(|seen| seen.header("proxy-authorization").is_none() && seen.target == "/f"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_refuses_the_tunnel_is_502_and_named() {
    let mut secure = Secure::start().await;
    for refusal in [407, 403, 503] {
        let proxy = ForwardProxy::start(secure.front.address, Some(refusal)).await;
        let url = format!("http://user:secret@{}", proxy.address).parse().ok();
        secure.change(|config| config.upstream.proxy = url).await;
        let (status, body) = secure.get("/f").await;
        let text = String::from_utf8(body).unwrap();
        assert_eq!(status, 502, "{text}");
        assert!(text.contains("upstream.proxy") && text.contains(&refusal.to_string()), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    assert_eq!(secure.setup.origin.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_by_http_and_by_https_count_together() {
    let mut secure = Secure::start().await;
    // One front before both: what comes by http goes to the origin, what comes by CONNECT to its TLS.
    let proxy = ForwardProxy::start(secure.front.address, None).await;
    let counter = Front::start(proxy.address).await;
    secure
        .change(|config| {
            config.upstream.max_connections_per_origin = 1;
            config.upstream.proxy = format!("http://{}", counter.address).parse().ok();
        })
        .await;
    secure.setup.origin.put("/f", &Content::new(10, 1));
    secure.setup.origin.put("/g", &Content::new(10, 2));
    assert_eq!(secure.get("/f").await.0, 200);
    assert_eq!(counter.now(), 1, "the tunnel is kept");
    // By http the front's TLS understands nothing; what counts is that the tunnel made room.
    assert_eq!(secure.setup.get("/h", &[]).await.status, 502);
    assert_eq!(secure.get("/g").await.0, 200);
    let tunnels = proxy.seen().iter().filter(|head| head.first_line.starts_with("CONNECT")).count();
    assert_eq!(tunnels, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_of_roots_needs_no_restart() {
    let secure = Arc::new(Secure::start().await);
    let file = secure.files.path().join("origins.pem");
    secure.setup.origin.put("/before", &Content::new(10, 1));
    assert_eq!(secure.get("/before").await.0, 200);
    let second = Authority::new("the next authority");
    secure.front.secure(front_certificate(&second, HOST));
    secure.front.cut();
    secure.setup.origin.put("/after", &Content::new(10, 2));
    assert_eq!(secure.get("/after").await.0, 502);
    second.write(&file);
    eventually("the new authority is trusted", || {
        let secure = secure.clone();
        async move { secure.get("/after").await.0 == 200 }
    })
    .await;
    // The first one is not any more.
    secure.front.secure(front_certificate(&secure.authority, HOST));
    secure.front.cut();
    secure.setup.origin.put("/last", &Content::new(10, 3));
    assert_eq!(secure.get("/last").await.0, 502);
}
