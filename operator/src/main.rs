//! `connected-cache-operator`: see `--help`.

use std::process::ExitCode;

use clap::Parser;
use connected_cache_operator::{
    arguments::{Arguments, Command},
    crd, run,
};

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Crd => {
            print!("{}", crd::yaml()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(arguments) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            match runtime.block_on(run(*arguments)) {
                Ok(()) => Ok(ExitCode::SUCCESS),
                Err(error) => {
                    // Logging is the first thing that `run` starts, so this is a line like every other.
                    tracing::error!(%error, "the operator ends");
                    Ok(ExitCode::FAILURE)
                }
            }
        }
    }
}
