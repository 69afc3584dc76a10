//! A link with a long way: whatever one pod says to another's ports for pods goes through a relay, which holds what comes back.
//!
//! The node of the asking pod sends its connections to the relay, which listens in that node's network and connects to the
//! other pod in the asking pod's name: each of the two sees the address of the other.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use connected_cache_cluster::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Rule, inside, network_of, run};
use crate::cache_pod::CachePod;

/// The ports on which pods speak to each other.
const PORTS: [u16; 2] = [7680, 7681];
/// What is read at once.
const READ_BYTES: usize = 64 << 10;
/// Reads that are on the way at most, per connection.
const ON_THE_WAY: usize = 1024;

/// A delay between two pods; dropping this ends it and the connections that go through it.
#[derive(Debug)]
pub struct Delay {
    carried: Arc<AtomicU64>,
    _rules: Vec<Rule>,
    _relay: DropGuard,
}

impl Delay {
    /// Every byte from `to` reaches `from` later by `delay`. `node` is that of `from`. Connections of `from` to `to` that are open
    /// already are reset.
    pub async fn between(node: &Node, from: &CachePod, to: &CachePod, delay: Duration) -> Result<Self> {
        let stop = CancellationToken::new();
        let carried = Arc::new(AtomicU64::new(0));
        let (ready, listening) = oneshot::channel();
        let relay = Relay { to: to.address.clone(), delay, carried: carried.clone(), stop: stop.clone() };
        let task = inside(network_of(node), move || relay.run(ready));
        tokio::spawn(async move {
            if let Err(error) = task.await {
                eprintln!("the relay failed: {error:#}");
            }
        });
        let guard = stop.drop_guard();
        let ports: [u16; 2] = listening.await.context("the relay does not listen")?;
        let gateway = node.address();
        let mut rules = Vec::new();
        for (port, relayed) in PORTS.into_iter().zip(ports) {
            let towards = format!("-p tcp -d {} --dport {port}", to.address);
            let in_its_name = format!("{towards} -s {gateway} -j SNAT --to-source {}", from.address);
            rules.push(Rule::insert(node, "nat", "POSTROUTING", &in_its_name)?);
            let redirect =
                format!("{towards} -s {} -j DNAT --to-destination {gateway}:{relayed}", from.address);
            rules.push(Rule::insert(node, "nat", "PREROUTING", &redirect)?);
        }
        // What the kernel knows as open it would not redirect. It fails when there is nothing to forget.
        let forget = ["-D", "-p", "tcp", "-s", &from.address, "-d", &to.address].map(str::to_owned);
        let _ = run(node, "conntrack", &forget);
        Ok(Self { carried, _rules: rules, _relay: guard })
    }

    /// Bytes that came through so far.
    #[must_use]
    pub fn carried_bytes(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

/// Listens for both ports of one pod.
#[derive(Clone)]
struct Relay {
    to: String,
    delay: Duration,
    carried: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Relay {
    async fn run(self, ready: oneshot::Sender<[u16; 2]>) -> Result<()> {
        let first = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let second = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let ports = [first.local_addr()?.port(), second.local_addr()?.port()];
        // Whoever waited may be gone; then all of this ends at once.
        let _ = ready.send(ports);
        let mut connections = JoinSet::new();
        loop {
            let (accepted, port) = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                accepted = first.accept() => (accepted, PORTS[0]),
                accepted = second.accept() => (accepted, PORTS[1]),
            };
            let (relay, (connection, _)) = (self.clone(), accepted?);
            // A connection that fails is closed on both sides, as on any bad link.
            connections.spawn(async move { relay.carry(connection, port).await });
        }
    }

    async fn carry(&self, near: TcpStream, port: u16) -> std::io::Result<()> {
        let far = TcpStream::connect((self.to.as_str(), port)).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (mut from_near, mut to_near) = near.into_split();
        let (mut from_far, mut to_far) = far.into_split();
        let there = async {
            tokio::io::copy(&mut from_near, &mut to_far).await?;
            to_far.shutdown().await
        };
        let (held, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
        let read = async {
            loop {
                let mut bytes = vec![0; READ_BYTES];
                let count = from_far.read(&mut bytes).await?;
                bytes.truncate(count);
                let end = count == 0;
                if held.send((Instant::now() + self.delay, bytes)).await.is_err() || end {
                    return std::io::Result::Ok(());
                }
            }
        };
        let write = async {
            while let Some((at, bytes)) = due.recv().await {
                // The way itself, not a wait for something.
                tokio::time::sleep_until(at).await;
                if bytes.is_empty() {
                    return to_near.shutdown().await;
                }
                to_near.write_all(&bytes).await?;
                self.carried.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            Ok(())
        };
        tokio::try_join!(there, read, write).map(drop)
    }
}
