//! A sidecar whose origin and control plane are the mock, and what is seen of both.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use connected_cache_config::{ByteSize, Config, ControlPlaneMode, Volume};
use connected_cache_mock_control_plane::{
    self as mock, Fault, Listen, MockControlPlane, RequestRecord, control_plane::Service,
};
use connected_cache_sidecar::Sidecar;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{self, Connection, HOST, Reply, eventually};

pub(super) struct Lab {
    pub(super) mock: MockControlPlane,
    pub(super) config: Config,
    /// What the origin has.
    content: TempDir,
    volume: TempDir,
    sidecar: Option<Sidecar>,
}

/// Bytes of which neighbours, pages and pieces differ.
pub(super) fn content(length: u64, seed: u64) -> Vec<u8> {
    support::Content::new(length, seed).whole()
}

impl Lab {
    pub(super) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(mock::ControlPlane::default(), change).await
    }

    pub(super) async fn start_with(
        control_plane: mock::ControlPlane,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let (content, volume) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mock = MockControlPlane::start(mock::Config {
            listen: Listen { http: Some(any), https: Some(any) },
            content: mock::Content { folder: Some(content.path().to_owned()), formulas: Vec::new() },
            control_plane: Some(control_plane),
            ..mock::Config::default()
        })
        .await
        .unwrap();
        let mut config = config(&mock, volume.path());
        std::fs::write(content.path().join("ca"), mock.ca_pem().unwrap()).unwrap();
        config.control_plane.ca_file = Some(content.path().join("ca"));
        change(&mut config);
        let sidecar = Some(Sidecar::start(config.clone()).await.unwrap());
        Self { mock, config, content, volume, sidecar }
    }

    /// Puts an object at the origin. The same bytes have the same validators everywhere: they come from the time of the file.
    pub(super) fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.content.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let age = Duration::from_secs(hasher.finish() % 1_000_000_000);
        std::fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH + age).unwrap();
    }

    pub(super) fn sidecar(&self) -> &Sidecar {
        self.sidecar.as_ref().unwrap()
    }

    pub(super) fn volume(&self) -> &Path {
        self.volume.path()
    }

    pub(super) async fn stop(&mut self) {
        if let Some(sidecar) = self.sidecar.take() {
            sidecar.shutdown().await;
        }
    }

    pub(super) async fn restart(&mut self) {
        self.stop().await;
        self.sidecar = Some(Sidecar::start(self.config.clone()).await.unwrap());
    }

    pub(super) async fn end(mut self) {
        self.stop().await;
        self.mock.shutdown().await;
    }

    pub(super) async fn connect(&self) -> Connection {
        Connection::open(self.sidecar().http_address().unwrap()).await
    }

    pub(super) async fn get(&self, path: &str, lines: &[&str]) -> Reply {
        self.connect().await.ask("GET", &target(path), lines).await
    }

    pub(super) async fn admin(&self, path: &str) -> Reply {
        let address = self.sidecar().admin_address().unwrap();
        Connection::open(address).await.ask("GET", path, &[]).await
    }

    /// Removes what the query of a purge names.
    pub(super) async fn purge(&self, query: &str) -> Reply {
        let address = self.sidecar().admin_address().unwrap();
        let reply = Connection::open(address).await.ask("DELETE", &format!("/objects?{query}"), &[]).await;
        assert_eq!(reply.status, 200);
        reply
    }

    /// What the list of objects says of the check of this one; `None` = it is not in the list.
    pub(super) async fn verification(&self, path: &str) -> Option<Value> {
        let list: Value = serde_json::from_slice(&self.admin("/objects").await.body).unwrap();
        let key = format!("{HOST}{path}");
        let is_meant = |object: &&Value| object["key"].as_str().unwrap().split('?').next() == Some(&key);
        let found = list["objects"].as_array().unwrap().iter().find(is_meant);
        found.map(|object| object["verification"].clone())
    }

    /// As [`Self::verification`], once it is like this.
    pub(super) async fn wait_for(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let is_so = &is_so;
        let look = || async { self.verification(path).await.is_some_and(|found| is_so(&found)) };
        eventually("the state of the check", look).await;
        self.verification(path).await.unwrap()
    }

    /// Asks for it until it is whole and authenticated: the last of an object that is being removed is not kept.
    pub(super) async fn until_complete(&self, path: &str) -> Value {
        let is_complete = || async {
            self.get(path, &[]).await;
            self.verification(path).await.is_some_and(|found| found["complete"] == true)
        };
        eventually("everything is stored and authenticated", is_complete).await;
        self.verification(path).await.unwrap()
    }

    /// The value of a metric that is there.
    pub(super) async fn metric(&self, series: &str) -> u64 {
        let text = self.admin("/metrics").await.text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
    }

    pub(super) fn fail(&self, faults: Vec<Fault>) {
        self.mock.set_faults(faults).unwrap();
    }

    /// Everything that the mock was asked.
    pub(super) fn calls(&self) -> Vec<RequestRecord> {
        self.mock.requests().requests.into_iter().collect()
    }

    /// Services that were called, in this order.
    pub(super) fn services(&self) -> Vec<Service> {
        self.calls().iter().filter_map(|call| call.service).collect()
    }

    /// Body bytes of content that the origin sent.
    pub(super) fn content_bytes(&self) -> u64 {
        self.calls().iter().filter(|call| call.service.is_none()).map(|call| call.body_bytes).sum()
    }

    /// Requests for the bytes of this object.
    pub(super) fn asked(&self, path: &str) -> usize {
        let calls = self.calls();
        calls.iter().filter(|call| call.target.split('?').next() == Some(path)).count()
    }

    /// The hash that the control plane names for the content, by the independent reading of `phf`.
    pub(super) fn hash_of_hashes(&self, path: &str) -> String {
        let bytes = std::fs::read(self.content.path().join(path.trim_start_matches('/'))).unwrap();
        let mut builder = connected_cache_wire::delivery_optimization::PieceHashFileBuilder::new();
        builder.push(&bytes).unwrap();
        builder.finish().hash_of_hashes().to_base64()
    }
}

/// A path of the usual origin as clients ask for it.
pub(super) fn target(path: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}cacheHostOrigin={HOST}")
}

fn config(mock: &MockControlPlane, volume: &Path) -> Config {
    let mut config = Config::default();
    let any = Some(([127, 0, 0, 1], 0).into());
    config.node.name = Some("pod-0".into());
    (config.listen.http, config.listen.admin, config.listen.swarm) = (any, any, None);
    config.storage.volumes = vec![Volume { path: volume.to_owned(), limit: ByteSize::from_gibibytes(1) }];
    config.storage.min_free = ByteSize::from_bytes(0);
    config.content.allow_private_targets = true;
    config.upstream.resolve.insert(HOST.into(), mock.http_address().unwrap());
    config.shutdown.drain_seconds = 0;
    config.control_plane.mode = ControlPlaneMode::Custom;
    let geo = format!("https://{}/geo", mock.https_address().unwrap());
    config.control_plane.geo_url = Some(geo.parse().unwrap());
    // Only faults keep clients waiting here, never a busy machine.
    config.control_plane.wait_milliseconds = 60_000;
    config.control_plane.request_timeout_milliseconds = 60_000;
    config
}
