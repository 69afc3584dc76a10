//! Content over HTTPS, both ways: clients come by TLS, origins are asked by TLS, and certificates change while it runs.

use std::{path::Path, process::Stdio, sync::Arc};

use connected_cache_config::{Config, TlsVersion};
use connected_cache_sidecar::Sidecar;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{Authority, Content, HOST, MIB, Origin, config, eventually};

/// A sidecar that speaks HTTPS, and its files.
pub(crate) struct Secure {
    pub(crate) origin: Origin,
    folder: TempDir,
    authority: Authority,
    pub(crate) sidecar: Sidecar,
}

impl Secure {
    pub(crate) async fn start(change: impl FnOnce(&mut Config, &Path)) -> Self {
        let (origin, folder) = (Origin::start().await, tempfile::tempdir().unwrap());
        let files = folder.path().join("tls");
        std::fs::create_dir(&files).unwrap();
        let authority = Authority::new("first authority");
        authority.write(&files.join("ca.pem"));
        authority.sign_files(&files, "cache", "localhost");
        let volume = folder.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        let mut config = config(&origin, &volume);
        config.listen.https = config.listen.http;
        config.tls.cert = Some(files.join("cache.crt"));
        config.tls.key = Some(files.join("cache.key"));
        change(&mut config, &files);
        let sidecar = Sidecar::start(config).await.unwrap();
        Self { origin, folder, authority, sidecar }
    }

    fn files(&self) -> std::path::PathBuf {
        self.folder.path().join("tls")
    }

    /// What curl got for a path of the usual origin: its exit status and the body.
    pub(crate) async fn curl(&self, path: &str, arguments: &[&str]) -> (i32, Vec<u8>) {
        self.curl_target(&format!("{path}?cacheHostOrigin={HOST}"), arguments).await
    }

    /// As [`Self::curl`], for any target.
    async fn curl_target(&self, target: &str, arguments: &[&str]) -> (i32, Vec<u8>) {
        let port = self.sidecar.https_address().unwrap().port();
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "30", "--cacert"])
            .arg(self.files().join("ca.pem"))
            .args(arguments)
            .arg(format!("https://localhost:{port}{target}"))
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        (output.status.code().unwrap(), output.stdout)
    }
}

/// Fills the cache over HTTP, so that a client over HTTPS needs no HTTPS origin.
pub(crate) async fn fill(secure: &Secure, path: &str) {
    let address = secure.sidecar.http_address().unwrap();
    let reply = crate::support::Connection::open(address)
        .await
        .ask("GET", &format!("{path}?cacheHostOrigin={HOST}"), &[])
        .await;
    assert_eq!(reply.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_over_http_is_served_over_https_and_counted() {
    let secure = Secure::start(|_, _| {}).await;
    let content = Content::new(3 * MIB + 77, 1);
    secure.origin.put("/f", &content);
    fill(&secure, "/f").await;
    eventually("it is on the volume", || async {
        let address = secure.sidecar.http_address().unwrap();
        let target = format!("/f?cacheHostOrigin={HOST}");
        let reply = crate::support::Connection::open(address).await.ask("GET", &target, &[]).await;
        let (status, _) = secure.curl("/f", &["--output", "/dev/null"]).await;
        reply.header("Cache-Status") == Some("connectedcache; hit; detail=disk") && status == 0
    })
    .await;
    let before = secure.sidecar.served_bytes(connected_cache_sidecar::metrics::Source::Disk);
    let (status, body) = secure.curl("/f", &["--http1.1"]).await;
    assert!(status == 0 && body == content.whole(), "curl ended with {status}");
    let (_, part) = secure.curl("/f", &["--range", "1048570-1048590"]).await;
    assert_eq!(part, content.bytes(1_048_570..1_048_591));
    // The client may be done a moment before the last bytes are counted.
    let served = || secure.sidecar.served_bytes(connected_cache_sidecar::metrics::Source::Disk) - before;
    eventually("every byte is counted", || async { served() == content.length + 21 }).await;
    assert_eq!(secure.origin.seen().len(), 3, "nothing was fetched for https");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_https_an_origin_s_port_is_443_and_no_other() {
    let secure = Secure::start(|_, _| {}).await;
    let content = Content::new(10, 1);
    secure.origin.put("/f", &content);
    fill(&secure, "/f").await;
    let by_parameter =
        |suffix: &str| (format!("/f?cacheHostOrigin={HOST}{suffix}"), "Host: cache".to_owned());
    let by_host = |suffix: &str| ("/f".to_owned(), format!("Host: {HOST}{suffix}"));
    let asked = async |(target, host): (String, String)| {
        secure.curl_target(&target, &["--header", &host, "--fail"]).await
    };
    for suffix in ["", ":443"] {
        for request in [by_parameter(suffix), by_host(suffix)] {
            assert_eq!(asked(request.clone()).await, (0, content.whole()), "{request:?}");
        }
    }
    // 22: curl got a status of 400 or above.
    for suffix in [":80", ":8443", ":"] {
        for request in [by_parameter(suffix), by_host(suffix)] {
            assert_eq!(asked(request.clone()).await.0, 22, "{request:?}");
        }
    }
    assert_eq!(secure.origin.seen().len(), 1, "nothing was asked for https");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_version_is_kept() {
    let secure = Secure::start(|config, _| config.tls.min_version = TlsVersion::V1_3).await;
    secure.origin.put("/f", &Content::new(10, 1));
    fill(&secure, "/f").await;
    assert_eq!(secure.curl("/f", &["--tlsv1.3"]).await.0, 0);
    // 35: the handshake failed.
    assert_eq!(secure.curl("/f", &["--tls-max", "1.2"]).await.0, 35);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_changed_without_a_restart_and_a_broken_one_is_not_taken() {
    let secure = Secure::start(|_, _| {}).await;
    secure.origin.put("/f", &Content::new(10, 1));
    fill(&secure, "/f").await;
    assert_eq!(secure.curl("/f", &[]).await.0, 0);
    // A broken one: the old one stays, however often the files are looked at.
    std::fs::write(secure.files().join("cache.crt"), "no certificate").unwrap();
    assert_eq!(secure.curl("/f", &[]).await.0, 0);
    // One of another authority: curl, which only knows the first one, says 60.
    let second = Authority::new("second authority");
    second.sign_files(&secure.files(), "cache", "localhost");
    let secure = Arc::new(secure);
    eventually("the new certificate is in use", || {
        let secure = secure.clone();
        async move { secure.curl("/f", &[]).await.0 == 60 }
    })
    .await;
    second.write(&secure.files().join("ca.pem"));
    assert_eq!(secure.curl("/f", &[]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_client_authority_certificates_are_asked_for_and_strangers_refused() {
    let secure = Secure::start(|config, files| {
        config.tls.client_ca = Some(files.join("clients.pem"));
        std::fs::copy(files.join("ca.pem"), files.join("clients.pem")).unwrap();
    })
    .await;
    secure.origin.put("/f", &Content::new(10, 1));
    fill(&secure, "/f").await;
    let (files, stranger) = (secure.files(), Authority::new("stranger"));
    secure.authority.sign_files(&files, "client", "client.example");
    stranger.sign_files(&files, "stranger", "client.example");
    let with = |name: &str| {
        let (certificate, key) = (files.join(format!("{name}.crt")), files.join(format!("{name}.key")));
        let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
        ["--cert".to_owned(), text(certificate), "--key".to_owned(), text(key)]
    };
    for (name, is_served) in [("client", true), ("stranger", false)] {
        let arguments = with(name);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(secure.curl("/f", &arguments).await.0 == 0, is_served, "{name}");
    }
    assert_eq!(secure.curl("/f", &[]).await.0, 0, "a client that has no certificate is served all the same");
}

#[tokio::test]
async fn a_listener_without_a_usable_certificate_ends_the_start_with_words() {
    let (origin, folder) = (Origin::start().await, tempfile::tempdir().unwrap());
    let mut config = config(&origin, folder.path());
    config.listen.https = config.listen.http;
    let missing = folder.path().join("missing.crt");
    config.tls.cert = Some(missing.clone());
    config.tls.key = Some(missing);
    let error = Sidecar::start(config).await.unwrap_err().to_string();
    assert!(error.contains("tls.cert") && error.contains("missing.crt"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_certificate_in_use_is_a_metric() {
    let authority = Authority::new("an authority");
    let (certificate, key) = authority.sign_until((2031, 5, 6));
    let secure = Secure::start(|_, files| {
        std::fs::write(files.join("cache.crt"), &certificate).unwrap();
        std::fs::write(files.join("cache.key"), &key).unwrap();
    })
    .await;
    let shows = async |seconds: u64| {
        let series = "connectedcache_tls_certificate_expiry_timestamp_seconds{listener=\"https\"}";
        let admin = secure.sidecar.admin_address().unwrap();
        let reply = crate::support::Connection::open(admin).await.ask("GET", "/metrics", &[]).await;
        let text = reply.text();
        assert!(
            text.contains("# TYPE connectedcache_tls_certificate_expiry_timestamp_seconds gauge"),
            "{text}"
        );
        text.lines().any(|line| line == format!("{series} {seconds}"))
    };
    // By coreutils: date -u -d 2031-05-06 +%s, and below with 2030-02-03
    assert!(shows(1_935_792_000).await);
    // Of a chain it is the first that ends.
    let ((longer, key), (shorter, _)) =
        (authority.sign_until((2040, 1, 1)), authority.sign_until((2030, 2, 3)));
    std::fs::write(secure.files().join("cache.key"), key).unwrap();
    std::fs::write(secure.files().join("cache.crt"), longer + &shorter).unwrap();
    eventually("the new end is shown", || shows(1_896_307_200)).await;
}
