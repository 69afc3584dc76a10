//! Pods of one cache that only talk with each other: certificates in folders, a listener and a client each.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use connected_cache_config::TlsPeers;
use connected_cache_sidecar::{
    metrics::Counters,
    peers::{
        Answer, Body, BodyError, Handler, Identity, Peer, PeersClient, PeersError, PeersServer, whole_body,
    },
    sharing::members::{Member, Members, Publisher},
};
use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use parking_lot::Mutex;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::support::Authority;

/// Both usages, as a pod's certificate has them.
pub(crate) const BOTH: [ExtendedKeyUsagePurpose; 2] =
    [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];

/// What all pods have in common.
pub(crate) struct Lab {
    pub(crate) authority: Authority,
    names: Vec<String>,
}

/// One pod.
pub(crate) struct Pod {
    name: String,
    folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) identity: Arc<Identity>,
    pub(crate) publisher: Publisher,
    pub(crate) client: PeersClient,
    pub(crate) counters: Arc<Counters>,
    pub(crate) handler: Arc<Scripted>,
    leaving: CancellationToken,
    server: JoinHandle<()>,
    follower: JoinHandle<()>,
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.server.abort();
        self.follower.abort();
    }
}

impl Lab {
    pub(crate) fn new(names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Self { authority: Authority::new("authority of the pods"), names }
    }

    /// The members by name; where they answer does not matter to a server.
    fn view(&self) -> Vec<Member> {
        self.names.iter().map(|name| member(name, (Ipv4Addr::LOCALHOST, 1).into())).collect()
    }

    pub(crate) async fn pod(&self, name: &str) -> Pod {
        self.pod_with(name, &[name], &BOTH, |_| {}).await
    }

    /// A pod whose certificate says something else.
    pub(crate) async fn pod_with(
        &self,
        name: &str,
        names: &[&str],
        usages: &[ExtendedKeyUsagePurpose],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pod {
        let signed = self.authority.sign_for(names, usages, change);
        self.pod_of(name, signed, &self.authority.pem()).await
    }

    /// A pod with this certificate and key, which believes these authorities.
    pub(crate) async fn pod_of(
        &self,
        name: &str,
        (certificate, key): (String, String),
        authorities: &str,
    ) -> Pod {
        let folder = tempfile::tempdir().unwrap();
        let path = |file: &str| folder.path().join(file);
        for (file, text) in
            [("tls.crt", certificate.as_str()), ("tls.key", key.as_str()), ("ca.crt", authorities)]
        {
            std::fs::write(path(file), text).unwrap();
        }
        let files =
            TlsPeers { cert: Some(path("tls.crt")), key: Some(path("tls.key")), ca: Some(path("ca.crt")) };
        let identity = Identity::read(&files).unwrap();
        let (members, publisher) = Members::movable(name, self.view());
        let (counters, handler) = (Arc::new(Counters::default()), Arc::new(Scripted::default()));
        let client = PeersClient::new(identity.clone(), members.clone(), counters.clone());
        let server = PeersServer::new(identity.clone(), members, counters.clone(), handler.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, leaving) = (listener.local_addr().unwrap(), CancellationToken::new());
        let server = tokio::spawn(server.run(listener, leaving.clone()));
        let follower = tokio::spawn(identity.clone().follow());
        let name = name.to_owned();
        Pod {
            name,
            folder,
            address,
            identity,
            publisher,
            client,
            counters,
            handler,
            leaving,
            server,
            follower,
        }
    }
}

impl Pod {
    pub(crate) fn member(&self) -> Member {
        member(&self.name, self.address)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Begins to end.
    pub(crate) fn leave(&self) {
        self.leaving.cancel();
    }

    /// Its server has ended.
    pub(crate) async fn ended(&mut self) {
        (&mut self.server).await.unwrap();
    }
}

/// A member that answers at this address.
pub(crate) fn member(name: &str, peers: SocketAddr) -> Member {
    Member {
        name: name.to_owned(),
        zone: None,
        swarm: (Ipv4Addr::LOCALHOST, 1).into(),
        peers: Some(peers),
        is_ready: true,
        is_leaving: false,
    }
}

/// The head of an answer.
pub(crate) async fn get(one: &Pod, other: &Pod, path: &str) -> Result<Response<Answer>, PeersError> {
    get_of(one, &other.member(), path).await
}

pub(crate) async fn get_of(one: &Pod, member: &Member, path: &str) -> Result<Response<Answer>, PeersError> {
    one.client.send(member, Request::get(path).body(Bytes::new()).unwrap()).await
}

/// A whole answer.
pub(crate) async fn ask(one: &Pod, other: &Pod, path: &str) -> Result<String, PeersError> {
    let body = get(one, other, path).await?.into_body().collect().await.unwrap().to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// Answers by path.
#[derive(Default)]
pub(crate) struct Scripted {
    /// Requests that were begun.
    asked: AtomicUsize,
    /// Answers that are under way and don't end by themselves.
    held: Arc<AtomicUsize>,
    steps: Mutex<Option<mpsc::UnboundedSender<&'static str>>>,
}

/// One of those.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    fn hold(&self) -> Held {
        self.held.fetch_add(1, Ordering::SeqCst);
        Held(self.held.clone())
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The next part of the running `/steps`.
    pub(crate) fn step(&self, text: &'static str) {
        self.steps.lock().as_ref().unwrap().send(text).unwrap();
    }

    pub(crate) fn end_steps(&self) {
        self.steps.lock().take();
    }

    async fn answer(&self, peer: &Peer, request: Request<Bytes>) -> Body {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let path = request.uri().path();
        match path {
            "/echo" => {
                let (asker, body) = (peer.members.join("+"), String::from_utf8_lossy(request.body()));
                whole_body(format!("{asker} asks {} with {body}", request.uri()))
            }
            "/length" => whole_body(request.body().len().to_string()),
            // An answer that begins and does not go on.
            "/forever" => {
                let held = self.hold();
                let first = futures::stream::once(async { Ok(Frame::data(Bytes::from_static(b"."))) });
                let rest = futures::stream::pending().map_held(held);
                StreamBody::new(futures::StreamExt::chain(first, rest)).boxed_unsync()
            }
            "/never" => {
                let _held = self.hold();
                std::future::pending().await
            }
            "/steps" => {
                let (sender, receiver) = mpsc::unbounded_channel();
                *self.steps.lock() = Some(sender);
                let parts = futures::stream::unfold(receiver, |mut receiver| async {
                    let part: &'static str = receiver.recv().await?;
                    Some((Ok::<_, BodyError>(Frame::data(Bytes::from_static(part.as_bytes()))), receiver))
                });
                StreamBody::new(parts).boxed_unsync()
            }
            "/panic" => panic!("as the test wants it"),
            _ => {
                let length: usize = path.strip_prefix("/bytes/").unwrap().parse().unwrap();
                whole_body(vec![b'x'; length])
            }
        }
    }
}

impl Handler for Scripted {
    fn handle<'a>(&'a self, peer: &'a Peer, request: Request<Bytes>) -> BoxFuture<'a, Response<Body>> {
        async move { Response::new(self.answer(peer, request).await) }.boxed()
    }
}

/// A stream that holds something for as long as it is there.
trait MapHeld: futures::Stream<Item = Result<Frame<Bytes>, BodyError>> + Send + Unpin + Sized + 'static {
    fn map_held(mut self, held: Held) -> impl futures::Stream<Item = Self::Item> + Send + 'static {
        futures::stream::poll_fn(move |context| {
            let _held = &held;
            futures::StreamExt::poll_next_unpin(&mut self, context)
        })
    }
}

impl<Inner> MapHeld for Inner where
    Inner: futures::Stream<Item = Result<Frame<Bytes>, BodyError>> + Send + Unpin + 'static
{
}
