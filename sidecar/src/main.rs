//! `connected-cache-sidecar`: see `--help`.

#[cfg(feature = "demo")]
mod demo;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};
use connected_cache_config::Config;
use connected_cache_sidecar::{Sidecar, logging, probe};
use tokio::signal::unix::{SignalKind, signal};

/// The cache process of one pod.
#[derive(Debug, Parser)]
#[command(name = "connected-cache-sidecar", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve content until SIGTERM or SIGINT
    Serve {
        /// YAML file; every key may also be set by a `CONNECTEDCACHE_`… variable, which wins
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print the resulting configuration and exit
        #[arg(long)]
        print_config: bool,
    },
    /// Ask one URL and compare the answer with what is expected
    Get(probe::Arguments),
    /// Show three caches, an origin and a client in one process
    #[cfg(feature = "demo")]
    Demo(demo::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Serve { config, print_config } => serve(config, print_config).await,
        Command::Get(arguments) => probe::run(&arguments, &mut std::io::stdout())
            .await
            .map(|()| ExitCode::SUCCESS)
            .map_err(Into::into),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::run(arguments).await.map_err(Into::into),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn serve(file: Option<PathBuf>, print_config: bool) -> anyhow::Result<ExitCode> {
    let text = match &file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .with_context(|| format!("failed to read {}, check --config", path.display()))?,
        ),
        None => None,
    };
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut config = Config::load(text.as_deref(), variables)?;
    if print_config {
        // What is printed is copied into tickets.
        if let Some(proxy) = config.upstream.proxy.as_mut().filter(|proxy| proxy.password().is_some()) {
            let _ = proxy.set_password(Some("hidden"));
        }
        print!("{}", config.to_yaml());
        return Ok(ExitCode::SUCCESS);
    }
    let _log = logging::start(&config.log);
    keep_freed_memory();
    raise_file_limit();
    let mut terminate = signal(SignalKind::terminate()).context("failed to wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to wait for SIGINT")?;
    let sidecar = Sidecar::start(config).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::select! {
        () = sidecar.drain() => {}
        // Somebody at a terminal who insists.
        _ = interrupt.recv() => {}
    }
    sidecar.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Lets the C library keep what pieces in transit gave back, a few MiB for each thread, instead of returning it to the kernel and
/// taking it again page by page. It learns that from the largest block that was ever freed (mallopt(3), `M_MMAP_THRESHOLD`).
fn keep_freed_memory() {
    const LARGEST_BLOCK_BYTES: usize = 4 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGEST_BLOCK_BYTES)));
}

/// As many open files as the system lets us have: each connection is one.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
