//! Many connections at once from many addresses, each of which says half of a handshake and then nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use connected_cache_cluster::Node;
use futures::StreamExt as _;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::until_closed;
use crate::nodes::{Addresses, inside, network_of};

/// The first bytes of a handshake.
const BEGINNING: &[u8] = b"\x0eSwarm proto";

/// A flood that goes on until it is dropped.
#[derive(Debug)]
pub struct Flood {
    counts: Arc<Counts>,
    _stop: DropGuard,
    _addresses: Addresses,
}

#[derive(Debug, Default)]
struct Counts {
    taken: AtomicUsize,
    refused: AtomicUsize,
    closed: AtomicUsize,
}

impl Flood {
    /// Opens so many connections to the swarm listener of a pod, from addresses of a node's own, and keeps each of them open for as
    /// long as the pod does. Comes back when each was taken or refused.
    pub async fn begin(node: &Node, pod: SocketAddr, connections: usize) -> Result<Self> {
        allow_open_files()?;
        let addresses = Addresses::add(node)?;
        let (counts, stop) = (Arc::<Counts>::default(), CancellationToken::new());
        let (begun, all_begun) = tokio::sync::oneshot::channel();
        let (shared, ended, sources) = (counts.clone(), stop.clone(), addresses.list().to_vec());
        let flood = inside(network_of(node), move || async move {
            let mut begun = Some(begun);
            let (known, mut told) = tokio::sync::mpsc::unbounded_channel();
            let all = futures::stream::iter(0..connections).for_each_concurrent(connections, |number| {
                let (shared, known, source) = (&shared, known.clone(), sources[number % sources.len()]);
                async move { hold(shared, source, pod, known).await }
            });
            let count = async {
                for _ in 0..connections {
                    told.recv().await;
                }
                // Whoever waits may be gone.
                let _ = begun.take().map(|begun| begun.send(()));
            };
            tokio::select! {
                () = ended.cancelled() => {}
                ((), ()) = async { tokio::join!(all, count) } => {}
            }
            Ok(())
        });
        tokio::spawn(flood);
        let stop = stop.drop_guard();
        all_begun.await.context("the flood ended before it had begun")?;
        Ok(Self { counts, _stop: stop, _addresses: addresses })
    }

    /// Connections that the pod's kernel took.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.counts.taken.load(Ordering::Relaxed)
    }

    /// Connections that it did not take.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.counts.refused.load(Ordering::Relaxed)
    }

    /// Those of the taken that the pod has closed since.
    #[must_use]
    pub fn closed(&self) -> usize {
        self.counts.closed.load(Ordering::Relaxed)
    }
}

/// One connection, to its end.
async fn hold(
    counts: &Counts,
    source: IpAddr,
    pod: SocketAddr,
    known: tokio::sync::mpsc::UnboundedSender<()>,
) {
    let connected = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source, 0))?;
        socket.connect(pod).await
    };
    let connected = connected.await;
    let count = if connected.is_ok() { &counts.taken } else { &counts.refused };
    count.fetch_add(1, Ordering::Relaxed);
    let _ = known.send(());
    let Ok(mut stream) = connected else { return };
    // It may be closed by now.
    let _ = stream.write_all(BEGINNING).await;
    // One that is never closed is not counted, and ends with the flood.
    if until_closed(&mut stream).await.is_ok() {
        counts.closed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every connection is an open file.
fn allow_open_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("unable to open more files")
}
