//! A mock control plane with content, and a client of it. Tests begin with a paused clock.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, mpsc::RecvTimeoutError},
    time::Duration,
};

use connected_cache_config::{ByteSize, Config, ControlPlaneMode};
use connected_cache_core::AllowList;
use connected_cache_mock_control_plane::{
    self as mock, ContentEntry, Fault, Listen, MockControlPlane, RequestRecord, SharingPolicy,
    control_plane::Service,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::super::{Content, ControlPlane, Metadata, Policy, SimpleMode, Standing};
use crate::{metrics::Counters, tasks::Tasks, upstream::Upstream};

/// Host of all services.
pub(crate) const SERVICES: &str = "services.example";
/// On the built-in list of origins.
pub(crate) const ORIGIN: &str = "dl.delivery.mp.microsoft.com";
/// Vector 5 of dossier 3.4: byte i is (31 i + 7) mod 256.
pub(crate) const LENGTH: u64 = 2_621_445;
pub(crate) const HASH: &str = "0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=";
/// The name holds a SHA-1, by which ContentPolicy is asked.
pub(crate) const PATH: &str = "/c/upd/vector-x64_e2797dcf9ab1c2d3e4f5061728394a5b6c7d8e9f.cab";
pub(crate) const SHA1: &str = "e2797dcf9ab1c2d3e4f5061728394a5b6c7d8e9f";
/// How long one call may take, on the clock of the test.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Real time after which a test that waits for its clock is ended.
const HANGS: Duration = Duration::from_mins(5);

pub(crate) struct Lab {
    pub(crate) mock: MockControlPlane,
    pub(crate) config: Config,
    pub(crate) folder: TempDir,
    pub(crate) control_plane: ControlPlane,
    pub(crate) counters: Arc<Counters>,
    tasks: Tasks,
    /// While it is there the clock moves only when the test says so.
    _hold: Hold,
}

/// The runtime does not move a paused clock by itself while this is there.
pub(crate) struct Hold {
    _sender: std::sync::mpsc::Sender<()>,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        Self::start_with(mock::ControlPlane::default(), |_| {}).await
    }

    /// With other answers and another configuration.
    pub(crate) async fn start_with(answers: mock::ControlPlane, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("content").join(&PATH[1..]);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let bytes: Vec<u8> = (0..LENGTH).map(|i| (31 * i + 7).to_le_bytes()[0]).collect();
        std::fs::write(file, bytes).unwrap();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let mock = MockControlPlane::start(mock::Config {
            listen: Listen { http: Some(loopback), https: Some(loopback) },
            content: mock::Content { folder: Some(folder.path().join("content")), formulas: Vec::new() },
            control_plane: Some(answers),
            ..mock::Config::default()
        })
        .await
        .unwrap();
        let mut config = config(&mock, &folder);
        change(&mut config);
        let (counters, tasks) = (Arc::default(), Tasks::default());
        let control_plane = client(&config, &folder, &counters, &tasks);
        Self { mock, config, folder, control_plane, counters, tasks, _hold: Hold::new() }
    }

    /// Another client on the same volume.
    pub(crate) async fn restart(&mut self) {
        self.tasks.end(Duration::from_secs(5)).await;
        (self.counters, self.tasks) = (Arc::default(), Tasks::default());
        self.control_plane = client(&self.config, &self.folder, &self.counters, &self.tasks);
    }

    /// What is kept of the control plane.
    pub(crate) fn kept(&self) -> PathBuf {
        kept(&self.folder)
    }

    pub(crate) async fn look_up(&self) -> Result<Metadata, SimpleMode> {
        self.look_up_of(&content(), None).await
    }

    /// Moves the clock beyond every pause between tries.
    pub(crate) async fn look_up_of(
        &self,
        content: &Content,
        known: Option<&Policy>,
    ) -> Result<Metadata, SimpleMode> {
        let (sender, mut pauses) = mpsc::unbounded_channel();
        let on_retry = move |reason| {
            let _ = sender.send(reason);
        };
        let mut look_up = std::pin::pin!(self.control_plane.look_up(content, known, &on_retry));
        loop {
            tokio::select! {
                outcome = &mut look_up => return outcome,
                Some(_) = pauses.recv() => tokio::time::advance(Duration::from_secs(20)).await,
            }
        }
    }

    pub(crate) fn set_faults(&self, faults: Vec<Fault>) {
        self.mock.set_faults(faults).unwrap();
    }

    /// Requests to this service.
    pub(crate) fn requests(&self, service: Service) -> Vec<RequestRecord> {
        let requests = self.mock.requests().requests;
        requests.into_iter().filter(|request| request.service == Some(service)).collect()
    }

    pub(crate) fn called(&self, service: Service) -> usize {
        self.requests(service).len()
    }

    /// Services in the order of their calls.
    pub(crate) fn calls(&self) -> Vec<Service> {
        self.mock.requests().requests.iter().filter_map(|request| request.service).collect()
    }

    /// What the mock found wrong with our calls.
    pub(crate) fn refusals(&self) -> Vec<String> {
        self.mock.requests().requests.into_iter().filter_map(|request| request.refusal).collect()
    }

    /// Waits until the mock has seen so many requests to a service.
    pub(crate) async fn until_called(&self, service: Service, times: usize) {
        eventually("a service is called", || self.called(service) >= times).await;
    }

    /// Waits until the mock has answered so many joins.
    pub(crate) async fn until_joined(&self, times: usize) {
        eventually("a join", || self.mock.arrays().joins.len() >= times).await;
        // Answered there is not read here.
        eventually("the reply of a join", || {
            let sessions = self.control_plane.status().sessions;
            sessions.values().any(|shown| shown.is_in) || sessions.is_empty()
        })
        .await;
    }
}

impl Hold {
    pub(crate) fn new() -> Self {
        let (hold, waits) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || {
            if waits.recv_timeout(HANGS).is_err_and(|error| error == RecvTimeoutError::Timeout) {
                eprintln!("a test waits for what never comes: nobody moves its clock");
                std::process::abort();
            }
        });
        Self { _sender: hold }
    }
}

/// Waits for what other tasks bring about; a test that waits for too long is ended.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_mins(1), "waited in vain: {what}");
        tokio::task::yield_now().await;
    }
}

pub(crate) fn content() -> Content {
    Content { url: format!("http://{ORIGIN}{PATH}?P1=1&P4=secret%2b"), length_bytes: LENGTH }
}

pub(crate) fn fault(service: Service) -> Fault {
    Fault { service: Some(service), ..Fault::default() }
}

/// Answers in which this policy holds for the content.
pub(crate) fn answers(policy: SharingPolicy) -> mock::ControlPlane {
    let entry = ContentEntry {
        path: PATH.to_owned(),
        content_id: Some(SHA1.to_owned()),
        policy,
        ..ContentEntry::default()
    };
    mock::ControlPlane { contents: vec![entry], ..mock::ControlPlane::default() }
}

pub(crate) fn standing(left_bytes: u64) -> Standing {
    Standing { left_bytes, downloaded_cdn_bytes: LENGTH - left_bytes, content_length_bytes: LENGTH }
}

fn kept(folder: &TempDir) -> PathBuf {
    folder.path().join("control-plane.json")
}

fn config(mock: &MockControlPlane, folder: &TempDir) -> Config {
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, mock.ca_pem().unwrap()).unwrap();
    let mut config = Config::default();
    config.control_plane.mode = ControlPlaneMode::Custom;
    config.control_plane.geo_url = Some(format!("https://{SERVICES}/geo").parse().unwrap());
    config.control_plane.ca_file = Some(ca_file);
    config.control_plane.request_timeout_milliseconds = u64::try_from(CALL_LIMIT.as_millis()).unwrap();
    config.content.allow_private_targets = true;
    config.sharing.array_join.min_content_size = ByteSize::from_bytes(1);
    let resolve = &mut config.upstream.resolve;
    resolve.insert(SERVICES.to_owned(), mock.https_address().unwrap());
    resolve.insert(ORIGIN.to_owned(), mock.http_address().unwrap());
    config
}

fn client(config: &Config, folder: &TempDir, counters: &Arc<Counters>, tasks: &Tasks) -> ControlPlane {
    let allow_list = Arc::new(AllowList::new(Vec::new(), Vec::new()));
    let upstream = Upstream::new(config, allow_list.clone(), None, counters.clone());
    let started =
        ControlPlane::start(config, allow_list, upstream, counters.clone(), kept(folder), tasks.clone());
    started.unwrap().unwrap()
}
