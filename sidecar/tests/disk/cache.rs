//! A sidecar with one volume, a mock origin with objects, and the scripted Windows client that checks every byte.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use connected_cache_config::{ByteSize, Config, Volume};
use connected_cache_faulty_disk::{FaultyDisk, missing};
use connected_cache_mock_control_plane as mock;
use connected_cache_sidecar::{Sidecar, metrics::Source};
use mock::client::{self, Mode, Plan, Report};
use mock::{FormulaObject, ManifestEntry, MockControlPlane};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// On the built-in list.
const HOST: &str = "dl.delivery.mp.microsoft.com";
/// Objects of the origin. They can be downloaded once each as something that was never seen.
pub(crate) const OBJECTS: usize = 60;
/// Two whole pieces and a short one.
pub(crate) const OBJECT_BYTES: u64 = (2 << 20) + 12_345;
/// How long something may take that happens within seconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// Prints why a test can't run here.
pub(crate) fn left_out(programs: &[&str]) -> bool {
    let reason = missing(programs);
    if let Some(reason) = &reason {
        println!("left out: {reason}");
    }
    reason.is_some()
}

/// A faulty disk over a folder, with the folders around it.
pub(crate) struct Place {
    folder: TempDir,
    pub(crate) disk: FaultyDisk,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["mount", "backing"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let disk = Self::mount(&folder);
        Self { folder, disk }
    }

    fn mount(folder: &TempDir) -> FaultyDisk {
        let of = |name: &str| folder.path().join(name);
        FaultyDisk::start(&of("mount"), &of("backing"), None).unwrap()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// Another disk over the same folder in the same place, as after an administrator's repair.
    pub(crate) fn mount_anew(&mut self) {
        self.disk.detach().unwrap();
        self.disk = Self::mount(&self.folder);
    }

    /// Data files as they lie below the disk.
    pub(crate) fn data_files(&self) -> Vec<PathBuf> {
        let of = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let shards = of(self.folder.path().join("backing/data"));
        shards.flat_map(of).filter(|file| file.file_name().unwrap() != ".probe").collect()
    }

    /// An empty disk in the same place.
    pub(crate) fn mount_another(&mut self) {
        self.disk.detach().unwrap();
        std::fs::rename(self.folder.path().join("backing"), self.folder.path().join("old")).unwrap();
        std::fs::create_dir(self.folder.path().join("backing")).unwrap();
        self.disk = Self::mount(&self.folder);
    }
}

/// A running sidecar and everything around it.
pub(crate) struct Cache {
    origin: MockControlPlane,
    objects: Vec<ManifestEntry>,
    config: Config,
    sidecar: Option<Sidecar>,
}

impl Cache {
    /// Starts on a volume that exists, with a limit that it will not reach.
    pub(crate) async fn start(volume: &Path) -> Self {
        let formula = |number: usize| FormulaObject {
            path: format!("/filestreamingservice/files/object-{number}"),
            length_bytes: OBJECT_BYTES,
            seed: number as u64,
        };
        let content = mock::Content { formulas: (0..OBJECTS).map(formula).collect(), folder: None };
        let origin =
            MockControlPlane::start(mock::Config { content, ..mock::Config::default() }).await.unwrap();
        let address = origin.http_address().unwrap();
        let objects = client::manifest(&format!("http://{address}/_manifest")).await.unwrap();
        assert_eq!(objects.len(), OBJECTS);
        let config = config(volume, address);
        let sidecar = Some(Sidecar::start(config.clone()).await.unwrap());
        Self { origin, objects, config, sidecar }
    }

    /// Ends the sidecar and starts another one on the same volume.
    pub(crate) async fn restart(&mut self) {
        self.restart_after(|_| {}).await;
    }

    /// As [`Self::restart`], with something that happens while none runs.
    pub(crate) async fn restart_after(&mut self, meanwhile: impl FnOnce(&mut Config)) {
        self.sidecar.take().unwrap().shutdown().await;
        meanwhile(&mut self.config);
        self.sidecar = Some(Sidecar::start(self.config.clone()).await.unwrap());
    }

    /// Ends everything. What is dropped without this holds files of the disk open.
    pub(crate) async fn end(mut self) {
        self.sidecar.take().unwrap().shutdown().await;
        self.origin.shutdown().await;
    }

    fn sidecar(&self) -> &Sidecar {
        self.sidecar.as_ref().unwrap()
    }

    /// As [`Self::download`], where replies may end early: what came until then is right.
    pub(crate) async fn download_cut(&self, objects: Range<usize>) {
        let report = self.fetch(objects).await;
        let is_cut = |text: &str| text.contains("connection closed after");
        let wrong: Vec<String> = report
            .errors()
            .map(|(object, mismatch)| format!("{} {mismatch}", object.path))
            .filter(|text| !is_cut(text))
            .collect();
        assert!(wrong.is_empty(), "a client got something else than an early end: {wrong:?}");
    }

    /// Downloads objects by three clients at a time, whole and in ranges, and fails unless every byte and header is right.
    pub(crate) async fn download(&self, objects: Range<usize>) -> Report {
        let report = self.fetch(objects).await;
        let wrong = report.errors().fold(String::new(), |mut text, (object, mismatch)| {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{} {mismatch}", object.path);
            text
        });
        assert!(report.is_right(), "a client noticed:\n{wrong}");
        report
    }

    async fn fetch(&self, objects: Range<usize>) -> Report {
        let plan = Plan {
            parallel: 3,
            mode: if objects.start.is_multiple_of(2) { Mode::Whole } else { Mode::Ranges },
            ..Plan::new(self.sidecar().http_address().unwrap().into(), HOST, self.objects[objects].to_vec())
        };
        client::fetch(&plan, |_| {}).await
    }

    /// Waits until objects are read from the volume, downloading them until then.
    pub(crate) async fn wait_until_stored(&self, objects: Range<usize>) {
        let what = format!("objects {objects:?} are stored; {}", self.describe().await);
        eventually(&what, async || self.comes_from_disk(objects.clone()).await).await;
    }

    /// Whether downloading objects reads all of them from the volume.
    pub(crate) async fn comes_from_disk(&self, objects: Range<usize>) -> bool {
        let all = || Source::ALL.map(|source| self.sidecar().served_bytes(source)).iter().sum::<u64>();
        let (before, before_from_disk) = (all(), self.sidecar().served_bytes(Source::Disk));
        let bytes = self.download(objects).await.totals.bytes;
        // A client may be done a moment before its last bytes are counted.
        eventually("every byte is counted", async || all() - before >= bytes).await;
        self.sidecar().served_bytes(Source::Disk) - before_from_disk == bytes
    }

    /// Waits until readiness, metrics and summary all say whether the volume fails.
    pub(crate) async fn wait_until_said(&self, fails: bool) {
        let what = format!("they say that the volume {}", if fails { "fails" } else { "works" });
        let outcome = tokio::time::timeout(PATIENCE, async {
            while self.signals().await != [fails; 3] {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let happened = outcome.await.is_ok();
        assert!(happened, "never happened: {what}; {}", self.describe().await);
    }

    /// Whether readiness, metrics and summary say that the volume fails.
    async fn signals(&self) -> [bool; 3] {
        let path = self.volume();
        let (status, ready) = self.admin("/readyz").await;
        assert_eq!(status, 200, "a failing volume is no reason to send clients away: {ready}");
        let (_, metrics) = self.admin("/metrics").await;
        let healthy = format!("connectedcache_storage_healthy{{volume=\"{path}\"}} ");
        let healthy = metrics.lines().find_map(|line| line.strip_prefix(&healthy)).expect("no such metric");
        let (_, summary) = self.admin("/summary").await;
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        [ready.contains(&path), healthy == "0", summary["drives"][0]["failure"].is_string()]
    }

    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.admin("/metrics").await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.expect("no such metric").parse().unwrap()
    }

    /// What a failed test shows.
    async fn describe(&self) -> String {
        let signals = self.signals().await;
        let (_, ready) = self.admin("/readyz").await;
        format!("[readiness, metrics, summary] say that it fails: {signals:?}; readiness: {ready:?}")
    }

    /// A gauge of the volume in bytes: `used`, `reserved` or `limit`.
    pub(crate) async fn storage_bytes(&self, state: &str) -> u64 {
        let series =
            format!("connectedcache_storage_bytes{{state=\"{state}\",volume=\"{}\"}} ", self.volume());
        let (_, metrics) = self.admin("/metrics").await;
        metrics.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }

    fn volume(&self) -> String {
        self.config.storage.volumes[0].path.display().to_string()
    }

    async fn admin(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.sidecar().admin_address().unwrap()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

fn config(volume: &Path, origin: SocketAddr) -> Config {
    let mut config = Config::default();
    config.node.name = Some("pod-0".into());
    config.listen.http = Some(([127, 0, 0, 1], 0).into());
    config.listen.admin = config.listen.http;
    config.listen.swarm = None;
    config.storage.volumes = vec![Volume { path: volume.to_owned(), limit: ByteSize::from_gibibytes(1) }];
    config.storage.min_free = ByteSize::from_bytes(0);
    // What is read is read for a client, so that the tests know when.
    config.storage.scrub_mib_per_second = 0;
    config.content.allow_private_targets = true;
    config.upstream.resolve.insert(HOST.into(), origin);
    config.shutdown.drain_seconds = 0;
    config
}

/// Waits for something that will happen, and fails when it does not.
pub(crate) async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never happened: {what}");
}
