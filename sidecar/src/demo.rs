//! `connected-cache-sidecar demo`: three sidecars, a mock origin with its control plane and a scripted Windows client in one
//! process, without root and without Kubernetes. It shows what the cache is for, bytes that cross the internet against bytes
//! that clients get, and checks every byte and every count on the way.
//!
//! It exists only with the cargo feature `demo`, so that the shipped binary carries no test code.

mod stage;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use connected_cache_config::{Log, LogFormat, LogLevel};
use connected_cache_mock_control_plane as mock;
use connected_cache_sidecar::logging;
use mock::client::{self, Mode, Plan};
use tokio::signal::unix::{SignalKind, signal};

use stage::{ORIGIN_HOST, Stage};
use table::Row;

/// Connections of the client at once: objects when they are asked for whole, else ranges of one object.
const PARALLEL: usize = 4;
/// What a cache may ask the origin beyond the content itself, for each object, to learn its size.
const PROBE_ALLOWANCE_BYTES: u64 = 64 << 10;

/// How long the check of what is stored may take.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What the user asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Serve the files of this folder instead of three generated objects of 64 MiB
    #[arg(long, value_name = "DIR")]
    content: Option<PathBuf>,
    /// Leave the folders of the caches behind and say where they are
    #[arg(long)]
    keep: bool,
}

/// The demo could not be shown, or showed something wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("failed to wait for signals: {0}")]
    Signal(#[source] std::io::Error),
    #[error("failed to make a folder for the caches, is the temporary folder writable?: {0}")]
    Folder(#[source] std::io::Error),
    #[error("failed to start the mock origin: {0}")]
    Origin(#[from] mock::StartError),
    #[error("failed to read the origin's list of objects: {0}")]
    Manifest(#[from] client::ManifestFetchError),
    #[error("{path} has no file that could be served, give a folder with files")]
    NoContent { path: PathBuf },
    #[error("failed to start sidecar {name}: {source}")]
    Sidecar { name: String, source: connected_cache_sidecar::StartError },
    #[error("{0} has no HTTP address although it was told to listen")]
    NoAddress(String),
    #[error("{count} thing(s) were wrong, each is named above")]
    Wrong { count: usize },
}

/// Which bytes a step may take from the internet.
#[derive(Clone, Copy, Debug)]
enum Internet {
    /// All of the content, once.
    Everything,
    /// At most all of the content: another cache may already have it.
    AtMostOnce,
    /// None, and every answer is a hit.
    Nothing,
}

/// Shows everything. Whatever happens, also Ctrl-C, everything started is ended and the folders are removed.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode, DemoError> {
    let _log = logging::start(&Log { level: LogLevel::Warn, format: LogFormat::Text, ..Log::default() });
    // Before anything is started: from here on a signal ends the demo in order.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DemoError::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(DemoError::Signal)?;
    let mut stage = Stage::open(arguments.content, arguments.keep).await?;
    let shown = tokio::select! {
        shown = show(&mut stage) => shown.map(|()| ExitCode::SUCCESS),
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    };
    if matches!(&shown, Ok(code) if *code != ExitCode::SUCCESS) {
        println!("interrupted, ending what was started");
    }
    stage.close().await;
    shown
}

async fn show(stage: &mut Stage) -> Result<(), DemoError> {
    let pods = stage.start_pods().await?;
    table::introduction(stage);
    let mut show = Show { stage, rows: Vec::new(), wrong: 0 };
    for pod in 0..pods {
        let first = if pod == 0 { Internet::Everything } else { Internet::AtMostOnce };
        show.step(pod, "whole, the first time", Mode::Whole, first).await?;
        show.step(pod, "whole, again", Mode::Whole, Internet::Nothing).await?;
        show.step(pod, "1 MiB ranges", Mode::Ranges, Internet::Nothing).await?;
        show.check_pieces(pod).await;
    }
    show.stage.restart(0).await?;
    show.step(0, "whole, after a restart", Mode::Whole, Internet::Nothing).await?;
    table::conclusion(&show.rows);
    match show.wrong {
        0 => {
            println!("every object had the SHA-256 of the origin's, every time");
            Ok(())
        }
        count => Err(DemoError::Wrong { count }),
    }
}

/// The demo in progress.
struct Show<'stage> {
    stage: &'stage mut Stage,
    rows: Vec<Row>,
    wrong: usize,
}

impl Show<'_> {
    /// One download of everything from one pod, checked and printed.
    async fn step(
        &mut self,
        pod: usize,
        asked: &'static str,
        mode: Mode,
        internet: Internet,
    ) -> Result<(), DemoError> {
        let cache = self.stage.cache_address(pod)?;
        let objects = self.stage.objects().to_vec();
        let plan = Plan { mode, parallel: PARALLEL, ..Plan::new(cache, ORIGIN_HOST, objects) };
        let before = self.stage.internet_bytes();
        let report = client::fetch(&plan, |_| {}).await;
        let row = Row {
            pod: self.stage.pod_name(pod).to_owned(),
            asked,
            totals: report.totals,
            internet_bytes: self.stage.internet_bytes() - before,
        };
        row.print();
        let mut wrong: Vec<String> =
            report.errors().map(|(object, error)| format!("{}: {error}", object.path)).collect();
        let requests = report.objects.iter().map(|object| object.requests).sum();
        wrong.extend(self.miscounts(&row, mode, requests, internet));
        for message in &wrong {
            println!("  wrong: {message}");
        }
        self.wrong += wrong.len();
        self.rows.push(row);
        Ok(())
    }

    /// Every piece that a cache stored was checked.
    async fn check_pieces(&mut self, pod: usize) {
        let pieces = self.stage.content_pieces();
        // Hashes that came late are for what was stored before them, too.
        let all = async {
            while self.stage.verified_pieces(pod) < pieces {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, all).await;
        let verified = self.stage.verified_pieces(pod);
        let name = self.stage.pod_name(pod);
        println!(
            "{name:<8}{verified} of {pieces} pieces checked against hashes that the control plane authenticates"
        );
        if verified != pieces {
            println!("  wrong: expected {pieces} checked pieces, counted {verified}");
            self.wrong += 1;
        }
    }

    fn miscounts(&self, row: &Row, mode: Mode, requests: u64, internet: Internet) -> Vec<String> {
        let mut wrong = Vec::new();
        let content = self.stage.content_bytes();
        let probes: u64 = match mode {
            Mode::Whole => 0,
            Mode::Ranges => self.stage.objects().iter().map(|object| object.length.min(2)).sum(),
        };
        if row.totals.bytes != content + probes {
            wrong.push(format!(
                "expected {} bytes from the cache, received {}",
                content + probes,
                row.totals.bytes
            ));
        }
        let most = content + PROBE_ALLOWANCE_BYTES * self.stage.objects().len() as u64;
        let (least, most) = match internet {
            Internet::Everything => (content, most),
            Internet::AtMostOnce => (0, most),
            Internet::Nothing => (0, 0),
        };
        if !(least..=most).contains(&row.internet_bytes) {
            wrong.push(format!(
                "expected {least} to {most} bytes from the internet, counted {}",
                row.internet_bytes
            ));
        }
        if matches!(internet, Internet::Nothing) && row.totals.hits != requests {
            wrong.push(format!("expected {requests} hits, counted {}", row.totals.hits));
        }
        wrong
    }
}
