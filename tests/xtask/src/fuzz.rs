//! `cargo xtask fuzz`: inputs that nobody thought of, for what reads bytes from a network.
//!
//! The targets stand in `sidecar/wire/fuzz`; each calls one function of `connected_cache_wire::invariants`, as the property
//! tests do. `cargo fuzz` runs them without a sanitizer, since there is no unsafe code to watch, and so with the stable
//! toolchain. It begins with `seeds/TARGET` and keeps what reached something new in `corpus/TARGET`, which git ignores.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{run, workspace};

/// The version that this command was tried with.
const CARGO_FUZZ_VERSION: &str = "0.13.2";
/// Longest time for one input. Honest ones take well below a millisecond.
const INPUT_TIMEOUT_SECONDS: u32 = 10;

/// Options of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this target, the name of a file in sidecar/wire/fuzz/fuzz_targets; without it each in turn.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Runs the chosen targets, one after the other; the first input that breaks an invariant ends it.
pub(crate) async fn main(options: Options) -> Result<()> {
    let folder = folder();
    let targets = chosen(targets(&folder)?, options.target.as_deref())?;
    if run::find("cargo-fuzz").is_none() {
        bail!(
            "cargo-fuzz is not on PATH: install it by `cargo install cargo-fuzz --locked --version {CARGO_FUZZ_VERSION}`; it \
             needs a C++ compiler, but no nightly toolchain"
        );
    }
    for target in targets {
        println!("\n== {target} for {} s", options.seconds);
        run_one(&folder, &target, options.seconds).await?;
    }
    Ok(())
}

/// Formatting of the fuzz targets, which `cargo fmt --all` doesn't reach.
pub(crate) fn check_format() -> Result<()> {
    let mut format = run::cargo(&["fmt", "--check", "--manifest-path"]);
    run::check(format.arg(folder().join("Cargo.toml")))
}

/// clippy over the fuzz targets. None of libFuzzer's C++ is built for that.
pub(crate) fn lint() -> Result<()> {
    let mut clippy = run::cargo(&["clippy", "--locked", "--all-targets", "--no-default-features"]);
    clippy.arg("--manifest-path").arg(folder().join("Cargo.toml"));
    clippy.arg("--target-dir").arg(target_folder());
    run::check(clippy.args(["--", "-D", "warnings"])).with_context(|| {
        format!(
            "unable to check the fuzz targets; they have a Cargo.lock of their own: after a change of connected-cache-wire's \
             dependencies run `cargo update --workspace --manifest-path {}`",
            folder().join("Cargo.toml").display()
        )
    })
}

async fn run_one(folder: &Path, target: &str, seconds: u32) -> Result<()> {
    let corpus = folder.join("corpus").join(target);
    std::fs::create_dir_all(&corpus).with_context(|| format!("unable to make {}", corpus.display()))?;
    let mut fuzz = run::cargo(&["fuzz", "run", "--sanitizer", "none", "--fuzz-dir"]);
    fuzz.arg(folder).arg("--target-dir").arg(target_folder()).arg(target);
    // What is found goes into the first; the others are only read.
    fuzz.arg(corpus).arg(folder.join("seeds").join(target)).arg("--");
    fuzz.arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={INPUT_TIMEOUT_SECONDS}"));
    fuzz.arg("-print_final_stats=1");
    run::Group::check(fuzz).await.with_context(|| {
        format!(
            "the target {target} stopped; if it found an input, that lies in {}: once it is understood, keep it in {}, \
             where a test of connected-cache-wire takes it up",
            folder.join("artifacts").join(target).display(),
            folder.join("seeds").join(target).display()
        )
    })
}

fn folder() -> PathBuf {
    workspace::root().join("sidecar/wire/fuzz")
}

/// Of its own: `cargo fuzz` builds with other flags, and would have everything built anew each time.
fn target_folder() -> PathBuf {
    workspace::target().join("fuzz")
}

/// Names of all targets, sorted.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("unable to read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

fn chosen(all: Vec<String>, target: Option<&str>) -> Result<Vec<String>> {
    let Some(target) = target else { return Ok(all) };
    if !all.iter().any(|name| name == target) {
        bail!("no fuzz target {target:?}: give one of {}", all.join(", "));
    }
    Ok(vec![target.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::{chosen, folder, targets};

    #[test]
    fn without_a_name_every_target_runs_and_with_one_only_that() {
        let all = targets(&folder()).unwrap();
        assert!(all.iter().any(|name| name == "request_target"), "{all:?}");
        assert_eq!(chosen(all.clone(), None).unwrap(), all);
        assert_eq!(chosen(all.clone(), Some("request_target")).unwrap(), ["request_target"]);
        let message = chosen(all, Some("nonsense")).unwrap_err().to_string();
        assert!(message.contains("nonsense") && message.contains("piece_hash_file"), "{message}");
    }
}
