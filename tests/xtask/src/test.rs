//! `cargo xtask test`: every check, fast ones first.
//!
//! A stage that fails ends the run after it, so that a formatting slip costs seconds and not half an hour; within the
//! cluster stage every case runs. The last line is `N passed, N failed`.

mod cases;
mod stages;
mod tally;

use anyhow::{Result, bail};

use stages::Stage;
pub(crate) use tally::Tally;

/// Options of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only what needs neither root nor Kubernetes: formatting, lints, unit tests, generated files.
    #[arg(long, conflicts_with = "only")]
    fast: bool,
    /// Only this stage (format, lint, generated, unit, docs, chart, storage, api-server,
    /// throwaway, cluster) or these cases (e2e_scale, admit_…).
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// Runs the chosen stages and prints the sum.
pub(crate) async fn main(options: Options) -> Result<()> {
    let (stages, case) = match &options.only {
        Some(name) => stages::named(name)?,
        None if options.fast => (Stage::FAST.to_vec(), None),
        None => (Stage::ALL.to_vec(), None),
    };
    let started = std::time::Instant::now();
    let mut tally = Tally::default();
    for stage in stages {
        println!("\n== {} ({:.0} s)", stage.title(), started.elapsed().as_secs_f64());
        match stage.run(case.as_deref(), &mut tally).await {
            Ok(()) => {}
            Err(error) => {
                eprintln!("{} failed: {error:#}", stage.name());
                tally.count_failure(stage.name());
            }
        }
        if tally.failed() > 0 {
            break;
        }
    }
    println!("\n{:.0} s", started.elapsed().as_secs_f64());
    for failure in tally.failures() {
        println!("failed: {failure}");
    }
    println!("{} passed, {} failed", tally.passed(), tally.failed());
    if tally.failed() > 0 {
        bail!("the checks above failed");
    }
    Ok(())
}
