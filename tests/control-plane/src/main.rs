//! `connected-cache-mock-control-plane`: `serve` runs the mock, `fetch` asks a cache as Windows does, `phf` and `verify`
//! make and check piece hash files.

mod fetch;
mod phf;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use connected_cache_mock_control_plane::{Config, MockControlPlane};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(
    version,
    about = "Origin and control plane with faults, and a scripted client, for tests of a content cache"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve content and faults until SIGTERM or SIGINT
    Serve {
        /// Configuration file (YAML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Download objects through a cache as a Windows client does, and check every byte
    Fetch(fetch::Arguments),
    /// Write a piece hash file and print its HashOfHashes
    Phf(phf::MakeArguments),
    /// Check content against its piece hash file
    Verify(phf::VerifyArguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve { config } => serve(config).await.map(|()| true),
        Command::Fetch(arguments) => fetch::run(arguments).await,
        Command::Phf(arguments) => phf::make(&arguments),
        Command::Verify(arguments) => phf::verify(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(path: PathBuf) -> anyhow::Result<()> {
    log_to_stderr();
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("failed to read the configuration {}", path.display()))?;
    let config = Config::from_yaml(&text).with_context(|| format!("in {}", path.display()))?;
    // Before the listeners open: a signal that comes right after must not be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mock = MockControlPlane::start(config).await?;
    let address = |address: Option<std::net::SocketAddr>| {
        address.map_or_else(|| "off".to_owned(), |address| address.to_string())
    };
    tracing::info!(http = address(mock.http_address()), https = address(mock.https_address()), "serving");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    mock.shutdown().await;
    Ok(())
}

/// Text for people, JSON lines for everything else.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() { builder.init() } else { builder.json().init() }
}
