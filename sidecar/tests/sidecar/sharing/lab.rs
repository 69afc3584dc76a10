//! Pods of one cache in one process, each on an address of its own, and their origin.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use connected_cache_config::{Config, Member};
use connected_cache_sidecar::{Sidecar, metrics::Source};
use tempfile::TempDir;

use crate::support::{self, Authority, Connection, Content, HOST, Origin, Reply};

const HTTP: u16 = 8080;
const ADMIN: u16 = 5001;
const SWARM: u16 = 7680;
const PEERS: u16 = 7681;

pub(super) struct Pods {
    pub(super) origin: Origin,
    _folder: TempDir,
    pub(super) configs: Vec<Config>,
    sidecars: Vec<Option<Sidecar>>,
}

pub(super) fn name(pod: usize) -> String {
    format!("cache-{pod}")
}

/// Each laboratory has a network of its own within the loopback one, so that ports can be known before anybody listens.
fn network() -> [u8; 3] {
    static LABS: AtomicU8 = AtomicU8::new(1);
    let process = u8::try_from(std::process::id() % 150).unwrap();
    [127, 100 + process, LABS.fetch_add(1, Ordering::Relaxed)]
}

impl Pods {
    pub(super) async fn start(count: usize) -> Self {
        Self::start_with(count, |_, _| {}).await
    }

    /// `change` = what is different for the pod with this number.
    pub(super) async fn start_with(count: usize, change: impl Fn(usize, &mut Config)) -> Self {
        let mut pods = Self::configured(count, change).await;
        for pod in 0..count {
            pods.start_pod(pod).await;
        }
        pods
    }

    /// As [`Self::start_with`], and nothing runs yet.
    pub(super) async fn configured(count: usize, change: impl Fn(usize, &mut Config)) -> Self {
        let (origin, folder) = (Origin::start().await, tempfile::tempdir().unwrap());
        let [a, b, c] = network();
        let address = |pod: usize| IpAddr::V4(Ipv4Addr::new(a, b, c, u8::try_from(pod + 1).unwrap()));
        let members: Vec<Member> = (0..count)
            .map(|pod| Member {
                name: name(pod),
                swarm: SocketAddr::new(address(pod), SWARM).to_string(),
                peers: Some(SocketAddr::new(address(pod), PEERS).to_string()),
                ..Member::default()
            })
            .collect();
        let authority = Authority::new("pods");
        authority.write(&folder.path().join("ca.crt"));
        let configs = (0..count).map(|pod| {
            let volume = folder.path().join(name(pod));
            std::fs::create_dir_all(&volume).unwrap();
            let mut config = support::config(&origin, &volume);
            authority.sign_peer(folder.path(), &name(pod));
            config.node.name = Some(name(pod));
            config.listen.http = Some(SocketAddr::new(address(pod), HTTP));
            config.listen.admin = Some(SocketAddr::new(address(pod), ADMIN));
            config.listen.swarm = Some(SocketAddr::new(address(pod), SWARM));
            config.listen.peers = Some(SocketAddr::new(address(pod), PEERS));
            let file = |extension: &str| Some(folder.path().join(format!("{}.{extension}", name(pod))));
            (config.tls.peers.cert, config.tls.peers.key) = (file("crt"), file("key"));
            config.tls.peers.ca = Some(folder.path().join("ca.crt"));
            config.sharing.members.clone_from(&members);
            // These machines are busy: who is slow here is not gone. Cases about deadlines set their own.
            config.sharing.home_deadline_milliseconds = 5_000;
            config.swarm.peer_stall_milliseconds = 5_000;
            change(pod, &mut config);
            config
        });
        let configs: Vec<Config> = configs.collect();
        Self { origin, sidecars: configs.iter().map(|_| None).collect(), _folder: folder, configs }
    }

    pub(super) async fn start_pod(&mut self, pod: usize) {
        self.sidecars[pod] = Some(Sidecar::start(self.configs[pod].clone()).await.unwrap());
    }

    pub(super) async fn stop_pod(&mut self, pod: usize) {
        if let Some(sidecar) = self.sidecars[pod].take() {
            sidecar.shutdown().await;
        }
    }

    pub(super) async fn end(mut self) {
        for pod in 0..self.sidecars.len() {
            self.stop_pod(pod).await;
        }
    }

    pub(super) fn pod(&self, pod: usize) -> &Sidecar {
        self.sidecars[pod].as_ref().unwrap()
    }

    pub(super) async fn get(&self, pod: usize, path: &str, lines: &[&str]) -> Reply {
        let address = self.configs[pod].listen.http.unwrap();
        let separator = if path.contains('?') { '&' } else { '?' };
        let target = format!("{path}{separator}cacheHostOrigin={HOST}");
        Connection::open(address).await.ask("GET", &target, lines).await
    }

    /// Puts an object at the origin; gives its bytes, which take a while to make.
    pub(super) fn put(&self, path: &str, content: &Content) -> Arc<Vec<u8>> {
        self.origin.put(path, content);
        Arc::new(content.whole())
    }

    /// Reads everything through a pod and looks at every byte.
    pub(super) async fn read(&self, pod: usize, path: &str, bytes: &[u8]) {
        let reply = self.get(pod, path, &[]).await;
        assert_eq!((reply.status, reply.cut), (200, false), "pod {pod}, {} bytes", reply.body.len());
        assert!(reply.body == bytes, "pod {pod}: bytes of {path} differ");
    }

    /// Body bytes that the running pods fetched from the origin.
    pub(super) fn origin_bytes(&self) -> u64 {
        self.sidecars.iter().flatten().map(Sidecar::origin_bytes).sum()
    }

    /// Bytes that a pod's clients got from other pods.
    pub(super) fn peer_bytes(&self, pod: usize) -> u64 {
        self.pod(pod).served_bytes(Source::Peer)
    }

    pub(super) async fn admin(&self, pod: usize, method: &str, path: &str) -> Reply {
        let address = self.configs[pod].listen.admin.unwrap();
        Connection::open(address).await.ask(method, path, &[]).await
    }
}
