//! HTTPS with the own CA and with a given certificate, and `curl` as a client nobody here wrote.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod common;

use std::net::SocketAddr;
use std::process::Stdio;

use common::{BIG, BIG_LENGTH, BIG_SEED, PATIENCE, formula_bytes};
use connected_cache_mock_control_plane::{
    Config, Content, ControlPlane, FormulaObject, Listen, MockControlPlane, Tls,
};
use serde_json::{Value, json};

/// Runs curl; its exit code, what it wrote to stdout, and its complaints.
async fn curl(arguments: &[&str]) -> (Option<i32>, Vec<u8>, String) {
    let mut command = tokio::process::Command::new("curl");
    // `-q` keeps a configuration file of the user out of the test.
    command.args(["-q", "--silent", "--show-error", "--noproxy", "*"]).args(arguments);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .expect("curl hangs")
        .expect("curl is needed for this test, install the package `curl`");
    (output.status.code(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn start(tls: Tls) -> (MockControlPlane, SocketAddr, SocketAddr) {
    start_with(tls, None).await
}

async fn start_with(
    tls: Tls,
    control_plane: Option<ControlPlane>,
) -> (MockControlPlane, SocketAddr, SocketAddr) {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let formula = FormulaObject { path: BIG.to_owned(), length_bytes: BIG_LENGTH, seed: BIG_SEED };
    let mock = MockControlPlane::start(Config {
        listen: Listen { http: Some(loopback), https: Some(loopback) },
        tls,
        content: Content { folder: None, formulas: vec![formula] },
        control_plane,
        ..Config::default()
    })
    .await
    .unwrap();
    let (http, https) = (mock.http_address().unwrap(), mock.https_address().unwrap());
    (mock, http, https)
}

#[tokio::test]
async fn curl_trusts_the_own_ca_for_any_name_and_for_the_address() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let (mock, http, https) = start(Tls { ca_file: Some(ca.clone()), ..Tls::default() }).await;
    let ca = ca.to_str().unwrap();
    assert_eq!(std::fs::read_to_string(ca).unwrap(), mock.ca_pem().unwrap());
    let (_, served, _) = curl(&[&format!("http://{http}/_ca")]).await;
    assert_eq!(String::from_utf8(served).unwrap(), mock.ca_pem().unwrap());

    let port = https.port();
    for host in ["dl.delivery.mp.microsoft.com", "swda01-mscdn.manage.microsoft.com"] {
        let (code, body, error) = curl(&[
            "--cacert",
            ca,
            "--resolve",
            &format!("{host}:{port}:127.0.0.1"),
            "--range",
            "1048576-1048591",
            &format!("https://{host}:{port}{BIG}?P1=1"),
        ])
        .await;
        assert_eq!(code, Some(0), "{host}: {error}");
        assert_eq!(body, formula_bytes(BIG_SEED, 1_048_576, 16), "{host}");
    }
    let (code, body, error) = curl(&["--cacert", ca, &format!("https://{https}{BIG}")]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(body == formula_bytes(BIG_SEED, 0, BIG_LENGTH), "wrong bytes over TLS");
    assert_eq!(mock.requests().totals.body_bytes, BIG_LENGTH + 32);

    // 60: the certificate is not known to the system, so nothing but the CA made the above work.
    let (code, _, error) = curl(&[&format!("https://{https}{BIG}")]).await;
    assert_eq!(code, Some(60), "{error}");
    mock.shutdown().await;
}

#[tokio::test]
async fn a_given_certificate_is_used_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let pair = rcgen::generate_simple_self_signed(vec!["cache.example".to_owned()]).unwrap();
    std::fs::write(&cert, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let (mock, http, https) = start(Tls { cert: Some(cert.clone()), key: Some(key), ca_file: None }).await;
    let port = https.port();
    let resolve = format!("cache.example:{port}:127.0.0.1");
    let url = format!("https://cache.example:{port}/_healthz");
    let (code, body, error) = curl(&["--cacert", cert.to_str().unwrap(), "--resolve", &resolve, &url]).await;
    assert_eq!((code, body.as_slice()), (Some(0), b"ok\n".as_slice()), "{error}");
    assert_eq!(mock.ca_pem(), None);
    let (_, status, _) =
        curl(&["-o", "/dev/null", "-w", "%{http_code}", &format!("http://{http}/_ca")]).await;
    assert_eq!(status, b"404");
    mock.shutdown().await;
}

#[tokio::test]
async fn curl_agrees_about_resuming_conditions_faults_and_cuts() {
    let directory = tempfile::tempdir().unwrap();
    let (mock, http, https) = start(Tls::default()).await;
    let url = format!("http://{http}{BIG}");

    // Resume a partial file: curl sends the open range itself and appends.
    let file = directory.path().join("partial");
    let partial = file.to_str().unwrap();
    std::fs::write(&file, formula_bytes(BIG_SEED, 0, 1_000_003)).unwrap();
    let (code, _, error) = curl(&["--continue-at", "-", "--output", partial, &url]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(std::fs::read(&file).unwrap() == formula_bytes(BIG_SEED, 0, BIG_LENGTH), "wrong bytes");

    // Conditions with the tag that curl keeps.
    let tag = directory.path().join("tag");
    let tag = tag.to_str().unwrap();
    let status = ["-o", "/dev/null", "-w", "%{http_code}"];
    let (_, first, _) = curl(&[&status[..], &["--etag-save", tag, &url]].concat()).await;
    let (_, second, _) = curl(&[&status[..], &["--etag-compare", tag, &url]].concat()).await;
    assert_eq!((first.as_slice(), second.as_slice()), (b"200".as_slice(), b"304".as_slice()));

    // Faults over HTTP, then a transfer that ends early: 18 is curl's "partial file", with TLS too.
    let faults = format!("http://{http}/_faults");
    let list = r#"[{"path": "/formula/big", "cutAfterBytes": 70000}]"#;
    let (_, answer, _) = curl(&[&status[..], &["-X", "PUT", "--data", list, &faults]].concat()).await;
    assert_eq!(answer, b"200");
    let (code, body, error) = curl(&[&url]).await;
    assert_eq!((code, body.len()), (Some(18), 70_000), "{error}");
    let (code, _, error) = curl(&["--insecure", &format!("https://{https}{BIG}")]).await;
    // 56: with TLS, some versions call the missing farewell a receive error.
    assert!(matches!(code, Some(18 | 56)), "{code:?} {error}");
    mock.shutdown().await;
}

#[tokio::test]
async fn curl_is_led_from_geo_to_an_array_by_the_answers() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let tls = Tls { ca_file: Some(ca.clone()), ..Tls::default() };
    let (mock, _, https) = start_with(tls, Some(ControlPlane::default())).await;
    let port = https.port();
    let resolve = format!("geo.example:{port}:127.0.0.1");
    let ask = async |more: &[&str]| -> Value {
        let trusted = ["--fail-with-body", "--cacert", ca.to_str().unwrap(), "--resolve", &resolve];
        let (code, body, error) = curl(&[&trusted[..], more].concat()).await;
        assert_eq!(code, Some(0), "{error}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    };
    let who = "doClientVersion=10.1.0.13&profile=768&countryCode=DE";
    let geo = ask(&[&format!("https://geo.example:{port}/geo")]).await;
    let values = geo["KeyValue_EndpointFullUri"].as_str().unwrap();
    assert_eq!(values, format!("https://geo.example:{port}/all"), "the port is lost");
    let values = ask(&[&format!("{values}?{who}")]).await;

    let original = format!("altCatalogId=https://geo.example:{port}{BIG}?P1=1&P2=2");
    let policy = values["ContentPolicy_EndpointFullUri"].as_str().unwrap().replace("{contentId}", "test");
    let policy = ask(&["--get", "--data-urlencode", &original, &format!("{policy}?{who}")]).await;
    let file = ask(&[policy["PiecesHashFileCdnUrls"][0].as_str().unwrap()]).await;
    assert_eq!(file["HashOfHashes"], policy["HashOfHashes"]);

    let id = policy["ContentId"].as_str().unwrap();
    let discovery = values["Discovery_EndpointFullUri"].as_str().unwrap();
    let discovery = discovery.replace("{contentId}", &id.replace('=', "%3D"));
    let arrays = ask(&[&format!("{discovery}?{who}&partitionId=0")]).await;
    let join = format!("{}join/", arrays[0]["CollectiveArray"].as_str().unwrap());
    let body = common::lab::join_of(1, id).to_string();
    let answer = ask(&["--header", "Content-Type: application/json", "--data", &body, &join]).await;
    assert_eq!(
        answer,
        json!({"Peers": [], "TotalPeers": 0, "NextJoinSeconds": 300, "ExternalIp": "127.0.0.1"})
    );
    mock.shutdown().await;
}
