//! Who is let in, and who is believed.

use std::sync::Arc;

use connected_cache_sidecar::peers::PeersError;
use http::StatusCode;
use rcgen::{
    CertificateParams,
    ExtendedKeyUsagePurpose::{self, ClientAuth, ServerAuth},
};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::TlsConnector;

use super::pod::{BOTH, Lab, ask, get, get_of, member};
use crate::support::{Authority, eventually};

/// Makes a certificate that was good for one day, years ago.
fn expired(parameters: &mut CertificateParams) {
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2020, 1, 2);
}

type Change = fn(&mut CertificateParams);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asker_without_the_right_certificate_is_not_let_in() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let other = lab.pod("pod-1").await;
    let unchanged: Change = |_| {};
    let cases: [(&str, &[ExtendedKeyUsagePurpose], Change, &str); 5] = [
        ("pod-0", &[ServerAuth], unchanged, "usage"),
        ("pod-0", &[], unchanged, "usage"),
        ("pod-2", &BOTH, unchanged, "not_a_member"),
        ("pod-0.example", &BOTH, unchanged, "not_a_member"),
        ("pod-0", &BOTH, expired, "expired"),
    ];
    for (name, usages, change, reason) in cases {
        let before = other.counters.peer_handshake_failures(reason);
        let one = lab.pod_with("pod-0", &[name], usages, change).await;
        let error = get(&one, &other, "/echo").await.unwrap_err();
        assert_eq!(error.label(), "untrusted", "{name} {usages:?}: {error}");
        eventually(&format!("{name} {usages:?} is counted as {reason}"), || async {
            other.counters.peer_handshake_failures(reason) == before + 1
        })
        .await;
    }
    let stranger = Authority::new("stranger").sign_for(&["pod-0"], &BOTH, |_| {});
    let one = lab.pod_of("pod-0", stranger, &lab.authority.pem()).await;
    assert_eq!(get(&one, &other, "/echo").await.unwrap_err().label(), "untrusted");
    eventually("it is counted", || async {
        other.counters.peer_handshake_failures("unknown_authority") == 1
    })
    .await;
    assert_eq!(other.counters.peer_connections("in"), 0);
    // And the right one is.
    let one = lab.pod("pod-0").await;
    assert_eq!(ask(&one, &other, "/echo").await.unwrap(), "pod-0 asks /echo with ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asker_without_a_certificate_or_the_protocol_is_not_let_in() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let other = lab.pod("pod-1").await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(lab.authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let connect = async |version: &'static SupportedProtocolVersion, protocol: &'static [u8]| {
        let config = ClientConfig::builder_with_provider(provider.clone());
        let mut config = config
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(other.address).await.unwrap();
        let name = ServerName::try_from("pod-1").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.read_u8().await
    };
    let ours = b"h2";
    assert!(connect(&rustls::version::TLS13, ours).await.is_err(), "without a certificate");
    eventually("it is counted", || async { other.counters.peer_handshake_failures("no_certificate") == 1 })
        .await;
    assert!(connect(&rustls::version::TLS12, ours).await.is_err(), "an old version of TLS");
    assert!(connect(&rustls::version::TLS13, b"http/1.1").await.is_err(), "another protocol");
    eventually("they are counted", || async { other.counters.peer_handshake_failures("protocol") == 2 })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_for_a_member_must_be_that_member() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let one = lab.pod("pod-0").await;
    let unchanged: Change = |_| {};
    let cases: [(&str, &[ExtendedKeyUsagePurpose], Change); 4] = [
        ("pod-1", &[ClientAuth], unchanged),
        ("pod-1", &[], unchanged),
        ("pod-0", &BOTH, unchanged),
        ("pod-1", &BOTH, expired),
    ];
    for (name, usages, change) in cases {
        let other = lab.pod_with("pod-1", &[name], usages, change).await;
        let error = get(&one, &other, "/echo").await.unwrap_err();
        assert!(matches!(error, PeersError::Untrusted { .. }), "{name} {usages:?}: {error}");
        assert_eq!(other.handler.held(), 0);
    }
    let stranger = Authority::new("stranger").sign_for(&["pod-1"], &BOTH, |_| {});
    let other = lab.pod_of("pod-1", stranger, &lab.authority.pem()).await;
    assert_eq!(get(&one, &other, "/echo").await.unwrap_err().label(), "untrusted");
    assert_eq!(one.counters.peer_requests("untrusted"), 5);
    let unspeakable = member("no such name!", other.address);
    assert_eq!(get_of(&one, &unspeakable, "/echo").await.unwrap_err().label(), "untrusted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_certificate_may_be_for_all_pods() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let names = ["pod-0", "pod-1", "pod-9"];
    let shared = lab.authority.sign_for(&names, &BOTH, |_| {});
    let one = lab.pod_of("pod-0", shared.clone(), &lab.authority.pem()).await;
    let other = lab.pod_of("pod-1", shared, &lab.authority.pem()).await;
    assert_eq!(ask(&one, &other, "/echo").await.unwrap(), "pod-0+pod-1 asks /echo with ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_member_any_more_is_refused_on_the_connection_it_has() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    assert_eq!(get(&one, &other, "/echo").await.unwrap().status(), StatusCode::OK);
    other.publisher.publish(vec![other.member()]);
    assert_eq!(get(&one, &other, "/echo").await.unwrap().status(), StatusCode::FORBIDDEN);
    other.publisher.publish(vec![other.member(), one.member()]);
    assert_eq!(get(&one, &other, "/echo").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_connects_again_and_again_takes_its_own_places() {
    let lab = Lab::new(&["pod-0", "pod-1", "pod-2"]);
    let (other, third) = (lab.pod("pod-1").await, lab.pod("pod-2").await);
    let kept = get(&third, &other, "/forever").await.unwrap();
    let mut generations = Vec::new();
    for _ in 0..6 {
        // Each is a process of its own, as after crashes.
        let one = lab.pod("pod-0").await;
        let running = get(&one, &other, "/forever").await.unwrap();
        generations.push((one, running));
    }
    eventually("four of the six are left, and the other pod's", || async {
        other.counters.peer_connections("in") == 5 && other.handler.held() == 5
    })
    .await;
    drop(kept);
    eventually("the other pod's was one of them", || async { other.handler.held() == 4 }).await;
}
