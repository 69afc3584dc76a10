//! A pod that is gone without a word.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::BodyExt;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::pod::{Lab, Pod, get, get_of, member};
use crate::support::eventually;

/// What a relay does with what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Pass,
    /// It takes everything and gives nothing, as a network that has split.
    Swallow,
}

/// A network between two pods.
struct Relay {
    address: SocketAddr,
    mood: watch::Sender<Mood>,
    /// Counts how often all connections were cut.
    cuts: watch::Sender<usize>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, mood) = (listener.local_addr().unwrap(), watch::Sender::new(Mood::Pass));
        let cuts = watch::Sender::new(0);
        let (moods, all_cuts) = (mood.clone(), cuts.clone());
        let task = tokio::spawn(async move {
            while let Ok((one, _)) = listener.accept().await {
                let other = TcpStream::connect(target).await.unwrap();
                let (one, other) = (one.into_split(), other.into_split());
                let mut cut = all_cuts.subscribe();
                let (there, back) = (moods.subscribe(), moods.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        () = carry(one.0, other.1, there) => {}
                        () = carry(other.0, one.1, back) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, mood, cuts, task }
    }

    /// Closes the connections that there are.
    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mood: watch::Receiver<Mood>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let passes = *mood.borrow() == Mood::Pass;
        if passes && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_to_a_pod_whose_packets_vanish_fail_and_later_ones_find_it_again() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    let relay = Relay::to(other.address).await;
    let behind = member("pod-1", relay.address);
    let answering = get_of(&one, &behind, "/forever").await.unwrap();
    let waiting = tokio::spawn({
        let (client, behind) = (one.client.clone(), behind.clone());
        async move {
            let request = http::Request::get("/never").body(bytes::Bytes::new()).unwrap();
            client.send(&behind, request).await.map(drop)
        }
    });
    eventually("both are under way", || async { other.handler.held() == 2 }).await;
    relay.mood.send_replace(Mood::Swallow);
    assert_eq!(waiting.await.unwrap().unwrap_err().label(), "vanished");
    let mut body = answering.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), ".");
    assert!(body.frame().await.unwrap().is_err(), "the answer that had begun breaks off");
    eventually("the connection is gone", || async { one.counters.peer_connections("out") == 0 }).await;
    relay.mood.send_replace(Mood::Pass);
    assert_eq!(get_of(&one, &behind, "/echo").await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_accepts_and_says_nothing_is_not_waited_for() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let one = lab.pod("pod-0").await;
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let behind = member("pod-1", silent.local_addr().unwrap());
    // Two at once wait for the same attempt.
    let (first, second) = tokio::join!(get_of(&one, &behind, "/echo"), get_of(&one, &behind, "/echo"));
    for outcome in [first, second] {
        assert_eq!(outcome.unwrap_err().label(), "timed_out");
    }
    let (_, _) = silent.accept().await.unwrap();
    let another = tokio::time::timeout(Duration::from_millis(1), silent.accept()).await;
    assert!(another.is_err(), "there was one attempt for both");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_cut_is_made_anew_and_no_request_fails_for_it() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    let relay = Relay::to(other.address).await;
    let behind = member("pod-1", relay.address);
    for _ in 0..10 {
        assert_eq!(get_of(&one, &behind, "/echo").await.unwrap().status(), 200);
        relay.cut();
    }
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let outcome = get_of(&one, &member("pod-1", nobody), "/echo").await;
    assert_eq!(outcome.unwrap_err().label(), "unreachable", "it has moved to where nobody listens");
    assert_eq!(get_of(&one, &behind, "/echo").await.unwrap().status(), 200, "and back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_connection_ends_is_sent_once_more_and_then_fails() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    let relay = Relay::to(other.address).await;
    let behind = member("pod-1", relay.address);
    assert_eq!(get_of(&one, &behind, "/echo").await.unwrap().status(), 200);
    let asking = tokio::spawn({
        let (client, behind) = (one.client.clone(), behind.clone());
        async move {
            let request = http::Request::get("/never").body(bytes::Bytes::new()).unwrap();
            client.send(&behind, request).await.map(drop)
        }
    });
    eventually("it is being answered", || async { other.handler.asked() == 2 }).await;
    relay.cut();
    eventually("it is being answered again", || async { other.handler.asked() == 3 }).await;
    relay.cut();
    assert_eq!(asking.await.unwrap().unwrap_err().label(), "broken");
    assert_eq!(other.handler.asked(), 3);
    assert_eq!(get_of(&one, &behind, "/echo").await.unwrap().status(), 200);
}

/// A TLS connection of one pod to another on which nothing was said yet.
async fn connect(one: &Pod, other: &Pod) -> TlsStream<TcpStream> {
    let read = |name: &str| std::fs::read(one.file(name)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&read("ca.crt")).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(&read("tls.crt")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&read("tls.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(other.address).await.unwrap();
    let name = ServerName::try_from("pod-1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_connects_and_says_nothing_is_not_kept() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    let mut silent = connect(&one, &other).await;
    // Its own time is not that of the others.
    assert_eq!(get(&one, &other, "/echo").await.unwrap().status(), 200);
    let mut said = Vec::new();
    // How it ends does not matter.
    let _ = silent.read_to_end(&mut said).await;
    assert_eq!(said[3], 4, "it was let in: the first frame is one of settings (RFC 9113 4.1 and 6.5)");
    eventually("it is counted", || async { other.counters.peer_handshake_failures("timed_out") == 1 }).await;
    eventually("the other connection is kept", || async { other.counters.peer_connections("in") == 1 }).await;
}
