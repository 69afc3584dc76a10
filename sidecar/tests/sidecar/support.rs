//! A sidecar in a temporary folder, a small origin that does as it is told, and a client that shows the raw wire.

mod authority;
mod client;
mod origin;
mod process;

use std::{os::unix::fs::MetadataExt, path::Path, time::Duration};

use connected_cache_config::{ByteSize, Config, Volume};
use connected_cache_sidecar::{Sidecar, metrics::Source};
use tempfile::TempDir;

pub(crate) use authority::Authority;
pub(crate) use client::{Connection, Reply};
pub(crate) use origin::{Content, Fault, Origin};
pub(crate) use process::{Process, binary};

/// On the built-in list.
pub(crate) const HOST: &str = "dl.delivery.mp.microsoft.com";
pub(crate) const MIB: u64 = 1 << 20;

/// A sidecar with its folder and its origin.
pub(crate) struct Setup {
    pub(crate) origin: Origin,
    pub(crate) folder: TempDir,
    pub(crate) config: Config,
    sidecar: Option<Sidecar>,
}

impl Setup {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let (origin, folder) = (Origin::start().await, tempfile::tempdir().unwrap());
        let mut config = config(&origin, folder.path());
        change(&mut config);
        let sidecar = Sidecar::start(config.clone()).await.unwrap();
        Self { origin, folder, config, sidecar: Some(sidecar) }
    }

    pub(crate) fn sidecar(&self) -> &Sidecar {
        self.sidecar.as_ref().unwrap()
    }

    /// Ends this one and starts another on the same folder.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.sidecar = Some(Sidecar::start(self.config.clone()).await.unwrap());
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(sidecar) = self.sidecar.take() {
            sidecar.shutdown().await;
        }
    }

    /// Body bytes written to clients so far.
    pub(crate) fn served(&self) -> u64 {
        Source::ALL.iter().map(|source| self.sidecar().served_bytes(*source)).sum()
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.sidecar().http_address().unwrap()).await
    }

    /// One request for a path of the usual origin on a connection of its own, with more header lines.
    pub(crate) async fn get(&self, path: &str, lines: &[&str]) -> Reply {
        let separator = if path.contains('?') { '&' } else { '?' };
        self.ask("GET", &format!("{path}{separator}cacheHostOrigin={HOST}"), lines).await
    }

    /// Waits until this range is served without its origin.
    pub(crate) async fn wait_for_hit(&self, path: &str, range: &str) {
        let is_hit = || async { self.get(path, &[range]).await.header("X-Cache") == Some("HIT") };
        eventually("the range is a hit", is_hit).await;
    }

    /// One request for any target.
    pub(crate) async fn ask(&self, method: &str, target: &str, lines: &[&str]) -> Reply {
        self.connect().await.ask(method, target, lines).await
    }

    /// One request to the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> Reply {
        self.ask_admin("GET", path).await
    }

    pub(crate) async fn ask_admin(&self, method: &str, path: &str) -> Reply {
        Connection::open(self.sidecar().admin_address().unwrap()).await.ask(method, path, &[]).await
    }

    /// The value of a metric with exactly these labels.
    pub(crate) async fn metric(&self, series: &str) -> Option<u64> {
        let text = String::from_utf8(self.admin("/metrics").await.body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        line.parse().ok()
    }
}

/// What the tests start from: loopback only, one volume, the usual origin at our own.
pub(crate) fn config(origin: &Origin, folder: &Path) -> Config {
    let mut config = Config::default();
    config.node.name = Some("pod-0".into());
    config.listen.http = Some(([127, 0, 0, 1], 0).into());
    config.listen.admin = config.listen.http;
    config.listen.swarm = None;
    config.storage.volumes = vec![Volume { path: folder.to_owned(), limit: ByteSize::from_gibibytes(1) }];
    config.storage.min_free = ByteSize::from_bytes(0);
    config.content.allow_private_targets = true;
    config.upstream.resolve.insert(HOST.into(), origin.address());
    config.shutdown.drain_seconds = 0;
    config
}

/// Waits for something that will happen, and fails when it does not.
pub(crate) async fn eventually<Answer: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> Answer) {
    let waiting = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "never happened: {what}");
}

/// Data files of a volume, whose names are numbers.
pub(crate) fn data_files(folder: &Path) -> Vec<std::path::PathBuf> {
    files(&folder.join("data")).into_iter().map(|(path, _)| path).collect()
}

/// What the files below a folder take on its file system.
pub(crate) fn used_bytes(folder: &Path) -> u64 {
    files(folder).iter().map(|(_, bytes)| bytes).sum()
}

/// Files below a folder with the bytes that each takes: data files are sparse.
pub(crate) fn files(folder: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // What vanishes meanwhile is not there.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path, metadata.blocks() * 512));
        }
    }
    found
}
