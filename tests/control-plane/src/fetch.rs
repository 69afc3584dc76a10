//! The `fetch` subcommand: arguments in, a table for people or JSON lines for programs out.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use connected_cache_mock_control_plane::ManifestEntry;
use connected_cache_mock_control_plane::client::{self, CacheAddress, Mode, ObjectReport, Plan, Report};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The cache, for instance http://cache.example or http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    cache: CacheAddress,
    /// Host of the original URLs, sent as cacheHostOrigin
    #[arg(long, value_name = "HOST")]
    origin_host: String,
    /// Objects with lengths and hashes: a JSON file, or the URL of a mock's /_manifest
    #[arg(long, value_name = "FILE|URL")]
    manifest: String,
    /// Only this object of the manifest; repeat it for several, in their order, and for one as often as it is to be fetched
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,
    /// One GET per object, or a probe and 1 MiB ranges
    #[arg(long, value_enum, default_value_t = ModeArgument::Whole)]
    mode: ModeArgument,
    /// Connections at the same time
    #[arg(long, default_value = "1")]
    parallel: NonZeroUsize,
    /// Download everything so often
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Go on in further rounds for as long as this URL is answered with success
    #[arg(long, value_name = "URL")]
    repeat_while: Option<String>,
    /// Longest silence of the cache before a request counts as failed
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    silence_limit: u64,
    /// Try so long to reach the cache before the first request; a Service needs a moment to follow its pods
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    connect_within: u64,
    /// One JSON object per download and one for the total, instead of a table
    #[arg(long)]
    json: bool,
    /// Print a download only when something about it was wrong, and the total
    #[arg(long)]
    only_errors: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeArgument {
    Whole,
    Ranges,
}

/// Whether everything was right.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    if arguments.connect_within > 0 {
        let limit = Duration::from_secs(arguments.connect_within);
        client::reachable(&arguments.cache, limit)
            .await
            .with_context(|| format!("the cache was not reached within {} s", limit.as_secs()))?;
    }
    let objects = select(read_manifest(&arguments.manifest).await?, &arguments.paths)?;
    let plan = Plan {
        mode: match arguments.mode {
            ModeArgument::Whole => Mode::Whole,
            ModeArgument::Ranges => Mode::Ranges,
        },
        parallel: arguments.parallel.get(),
        repeat: arguments.repeat,
        silence_limit: Duration::from_secs(arguments.silence_limit),
        ..Plan::new(arguments.cache, arguments.origin_host, objects)
    };
    let output = Output { json: arguments.json, only_errors: arguments.only_errors };
    if !output.json {
        println!(
            "{:>5}  {:>15} {:>9} {:>9}  {:>5} {:>5} {:>7}  object",
            "round", "bytes", "seconds", "MB/s", "hit", "miss", "partial"
        );
    }
    let mut report = round(&plan, output).await;
    while let Some(url) = &arguments.repeat_while
        && client::is_served(url).await.with_context(|| format!("in --repeat-while {url}"))?
    {
        report.append(round(&plan, output).await);
    }
    if output.json {
        print_json(&report.totals);
    } else {
        print_totals(&report);
    }
    Ok(report.is_right())
}

/// How downloads are shown.
#[derive(Clone, Copy)]
struct Output {
    json: bool,
    only_errors: bool,
}

async fn round(plan: &Plan, output: Output) -> Report {
    client::fetch(plan, |object| match output {
        Output { only_errors: true, .. } if object.errors.is_empty() => {}
        Output { json: true, .. } => print_json(object),
        Output { json: false, .. } => print_row(object),
    })
    .await
}

async fn read_manifest(from: &str) -> anyhow::Result<Vec<ManifestEntry>> {
    if from.contains("://") {
        return client::manifest(from).await.with_context(|| format!("in --manifest {from}"));
    }
    let text = std::fs::read(from).with_context(|| format!("failed to read --manifest {from}"))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{from} is no manifest, a JSON list of {{path, length, sha256}}"))
}

fn select(manifest: Vec<ManifestEntry>, paths: &[String]) -> anyhow::Result<Vec<ManifestEntry>> {
    if manifest.is_empty() {
        bail!("the manifest is empty, there is nothing to fetch");
    }
    if paths.is_empty() {
        return Ok(manifest);
    }
    let entry = |path: &String| {
        let found = manifest.iter().find(|entry| entry.path == *path).cloned();
        found.with_context(|| {
            format!("--path {path} is not in the manifest, which has {} objects", manifest.len())
        })
    };
    paths.iter().map(entry).collect()
}

fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string(value) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("failed to write JSON: {error}"),
    }
}

fn print_row(object: &ObjectReport) {
    println!(
        "{:>5}  {:>15} {:>9.3} {:>9.1}  {:>5} {:>5} {:>7}  {}",
        object.round,
        object.bytes,
        object.seconds,
        object.megabytes_per_second(),
        object.hits,
        object.misses,
        object.partials,
        object.path
    );
    for error in &object.errors {
        println!("       error {error}");
    }
}

fn print_totals(report: &Report) {
    let totals = &report.totals;
    println!(
        "{:>5}  {:>15} {:>9.3} {:>9.1}  {:>5} {:>5} {:>7}  {} downloads, {} errors",
        "total",
        totals.bytes,
        totals.seconds,
        totals.megabytes_per_second(),
        totals.hits,
        totals.misses,
        totals.partials,
        totals.objects,
        totals.errors
    );
}
