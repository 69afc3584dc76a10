//! What stands before an origin: passes bytes on, counts the connections that it has at once, cuts them when told, and
//! speaks TLS when it has a certificate.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

#[derive(Debug, Default)]
struct State {
    now: usize,
    most: usize,
    certificate: Option<Arc<ServerConfig>>,
}

pub(super) struct Front {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    cut: watch::Sender<()>,
    _task: AbortOnDropHandle<()>,
}

impl Front {
    pub(super) async fn start(origin: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, cut) = (Arc::new(Mutex::new(State::default())), watch::Sender::new(()));
        let task = tokio::spawn(accept(listener, origin, state.clone(), cut.clone()));
        Self { address, state, cut, _task: AbortOnDropHandle::new(task) }
    }

    /// Connections at this moment.
    pub(super) fn now(&self) -> usize {
        self.state.lock().now
    }

    /// The most that there were at once.
    pub(super) fn most(&self) -> usize {
        self.state.lock().most
    }

    /// TLS by this certificate for new connections.
    pub(super) fn secure(&self, certificate: Arc<ServerConfig>) {
        self.state.lock().certificate = Some(certificate);
    }

    /// Ends all connections.
    pub(super) fn cut(&self) {
        self.cut.send_replace(());
    }
}

async fn accept(listener: TcpListener, origin: SocketAddr, state: Arc<Mutex<State>>, cut: watch::Sender<()>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (state, mut cut) = (state.clone(), cut.subscribe());
        let certificate = {
            let mut state = state.lock();
            state.now += 1;
            state.most = state.most.max(state.now);
            state.certificate.clone()
        };
        connections.spawn(async move {
            let passing = async {
                match certificate {
                    None => pass(client, origin).await,
                    // One that the sidecar does not trust ends here.
                    Some(certificate) => {
                        if let Ok(client) = TlsAcceptor::from(certificate).accept(client).await {
                            pass(client, origin).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = passing => {}
                _ = cut.changed() => {}
            }
            state.lock().now -= 1;
        });
    }
}

async fn pass(mut client: impl AsyncRead + AsyncWrite + Unpin, origin: SocketAddr) {
    let mut server = TcpStream::connect(origin).await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
