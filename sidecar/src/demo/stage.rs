//! What the demo runs on: a temporary folder, the mock origin with its control plane, and the sidecars.

use std::net::SocketAddr;
use std::path::PathBuf;

use connected_cache_config::{
    ByteSize, Config, Content, ControlPlane, ControlPlaneMode, Listen, Node, Shutdown, Storage, Upstream,
    Volume,
};
use connected_cache_mock_control_plane as mock;
use connected_cache_sidecar::Sidecar;
use mock::client::{self, CacheAddress};
use mock::{FormulaObject, ManifestEntry, MockControlPlane};
use tempfile::TempDir;

use super::DemoError;

/// The name under which the mock origin is known to caches and clients; any name of the built-in list would do.
pub(super) const ORIGIN_HOST: &str = "dl.delivery.mp.microsoft.com";
const PODS: usize = 3;
const OBJECTS: u64 = 3;
const OBJECT_BYTES: u64 = 64 << 20;
/// The authority of the mock control plane, in the folder.
const CA_FILE: &str = "control-plane-ca.crt";
/// Room beside the content for the index of a volume.
const VOLUME_RESERVE_BYTES: u64 = 256 << 20;

#[derive(Debug)]
pub(super) struct Stage {
    /// `None` once it was given up.
    folder: Option<TempDir>,
    keep: bool,
    origin: MockControlPlane,
    objects: Vec<ManifestEntry>,
    pods: Vec<Pod>,
}

#[derive(Debug)]
struct Pod {
    name: String,
    config: Config,
    /// `None` while it is restarted.
    sidecar: Option<Sidecar>,
}

impl Stage {
    /// Starts the origin and hashes its content.
    pub(super) async fn open(content: Option<PathBuf>, keep: bool) -> Result<Self, DemoError> {
        let folder =
            tempfile::Builder::new().prefix("connected-cache-demo-").tempdir().map_err(DemoError::Folder)?;
        let generated = || {
            (1..=OBJECTS).map(|number| FormulaObject {
                path: format!("/filestreamingservice/files/generated-{number}"),
                length_bytes: OBJECT_BYTES,
                seed: number,
            })
        };
        let offered = mock::Content {
            formulas: if content.is_some() { Vec::new() } else { generated().collect() },
            folder: content.clone(),
        };
        let any_port = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let origin = MockControlPlane::start(mock::Config {
            listen: mock::Listen { http: any_port, https: any_port },
            content: offered,
            control_plane: Some(mock::ControlPlane::default()),
            ..mock::Config::default()
        })
        .await?;
        let ca = origin.ca_pem().ok_or_else(|| DemoError::NoAddress("the mock control plane".to_owned()))?;
        std::fs::write(folder.path().join(CA_FILE), ca).map_err(DemoError::Folder)?;
        let mut stage = Self { folder: Some(folder), keep, origin, objects: Vec::new(), pods: Vec::new() };
        let address = stage.origin_address()?;
        stage.objects = client::manifest(&format!("http://{address}/_manifest")).await?;
        // An empty file has no bytes to save.
        stage.objects.retain(|object| object.length > 0);
        match content {
            Some(path) if stage.objects.is_empty() => Err(DemoError::NoContent { path }),
            _ => Ok(stage),
        }
    }

    /// Starts every sidecar; how many there are.
    pub(super) async fn start_pods(&mut self) -> Result<usize, DemoError> {
        for number in 0..PODS {
            let name = format!("pod-{number}");
            let config = self.config(&name)?;
            let sidecar = start(&name, &config).await?;
            self.pods.push(Pod { name, config, sidecar: Some(sidecar) });
        }
        Ok(self.pods.len())
    }

    /// Ends one sidecar and starts another one on the same folder.
    pub(super) async fn restart(&mut self, pod: usize) -> Result<(), DemoError> {
        let pod = &mut self.pods[pod];
        if let Some(sidecar) = pod.sidecar.take() {
            sidecar.shutdown().await;
        }
        pod.sidecar = Some(start(&pod.name, &pod.config).await?);
        Ok(())
    }

    /// Ends everything and removes the folders, or says where they are.
    pub(super) async fn close(mut self) {
        let ending = self.pods.drain(..).filter_map(|pod| pod.sidecar).map(Sidecar::shutdown);
        futures::future::join_all(ending).await;
        self.origin.shutdown().await;
        let Some(folder) = self.folder.take() else { return };
        if self.keep {
            println!("the caches were kept in {}", folder.keep().display());
        } else if let Err(error) = folder.close() {
            println!("the caches could not be removed: {error}");
        }
    }

    pub(super) fn objects(&self) -> &[ManifestEntry] {
        &self.objects
    }

    pub(super) fn content_bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.length).sum()
    }

    /// Body bytes that have left the origin so far.
    pub(super) fn internet_bytes(&self) -> u64 {
        self.origin.requests().totals.body_bytes
    }

    /// Pieces of 1 MiB that all content has.
    pub(super) fn content_pieces(&self) -> u64 {
        self.objects.iter().map(|object| object.length.div_ceil(1 << 20)).sum()
    }

    /// Pieces that a cache has checked against authenticated hashes.
    pub(super) fn verified_pieces(&self, pod: usize) -> u64 {
        self.pods[pod].sidecar.as_ref().map_or(0, Sidecar::pieces_verified)
    }

    pub(super) fn pod_name(&self, pod: usize) -> &str {
        &self.pods[pod].name
    }

    pub(super) fn cache_address(&self, pod: usize) -> Result<CacheAddress, DemoError> {
        let pod = &self.pods[pod];
        let address = pod.sidecar.as_ref().and_then(Sidecar::http_address);
        address.map(CacheAddress::from).ok_or_else(|| DemoError::NoAddress(pod.name.clone()))
    }

    fn origin_address(&self) -> Result<SocketAddr, DemoError> {
        self.origin.http_address().ok_or_else(|| DemoError::NoAddress("the mock origin".to_owned()))
    }

    /// The mock's own services, which nobody trusts but these caches.
    fn control_plane(&self) -> Result<ControlPlane, DemoError> {
        let missing = || DemoError::NoAddress("the mock control plane".to_owned());
        let address = self.origin.https_address().ok_or_else(missing)?;
        Ok(ControlPlane {
            mode: ControlPlaneMode::Custom,
            geo_url: Some(format!("https://{address}/geo").parse().map_err(|_| missing())?),
            ca_file: self.folder.as_ref().map(|folder| folder.path().join(CA_FILE)),
            // Hashing the content for the first answer takes a while.
            wait_milliseconds: 60_000,
            request_timeout_milliseconds: 60_000,
            ..ControlPlane::default()
        })
    }

    fn config(&self, name: &str) -> Result<Config, DemoError> {
        let any_port = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let path = self.folder.as_ref().map(|folder| folder.path().join(name)).unwrap_or_default();
        std::fs::create_dir_all(&path).map_err(DemoError::Folder)?;
        let limit = ByteSize::from_bytes(self.content_bytes() + VOLUME_RESERVE_BYTES);
        Ok(Config {
            node: Node { name: Some(name.to_owned()), id: None },
            listen: Listen {
                http: any_port,
                admin: any_port,
                https: None,
                bits: None,
                swarm: None,
                peers: None,
            },
            storage: Storage {
                volumes: vec![Volume { path, limit }],
                min_free: ByteSize::from_mebibytes(64),
                ..Storage::default()
            },
            content: Content { allow_private_targets: true, ..Content::default() },
            upstream: Upstream {
                resolve: [(ORIGIN_HOST.to_owned(), self.origin_address()?)].into(),
                ..Upstream::default()
            },
            control_plane: self.control_plane()?,
            // No load balancer has to notice anything here.
            shutdown: Shutdown { drain_seconds: 0, grace_seconds: 5 },
            ..Config::default()
        })
    }
}

async fn start(name: &str, config: &Config) -> Result<Sidecar, DemoError> {
    Sidecar::start(config.clone())
        .await
        .map_err(|source| DemoError::Sidecar { name: name.to_owned(), source })
}
