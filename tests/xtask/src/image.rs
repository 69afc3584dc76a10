//! `cargo xtask image`: container images as OCI archives, written by us.
//!
//! An image is one static binary, the CA bundle of this machine and the user 65532; there is no base image and no shell.
//! The same binary gives the same image, byte for byte: entries are sorted and carry no time.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use connected_cache_cluster::oci::{FileSource, ImageFile, ImageSpec, write_image};

use crate::workspace::{VERSION, target};
use crate::{run, workspace};

/// Where Debian keeps the CA bundle, and where programs look for it in the image.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The images and the crates whose binary they hold: names are the same.
const NAMES: [&str; 3] =
    ["connected-cache-operator", "connected-cache-sidecar", "connected-cache-mock-control-plane"];

/// Options of `cargo xtask image`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also load them into this kind cluster.
    #[arg(long, value_name = "NAME")]
    kind: Option<String>,
}

/// An image on disk.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// Its reference, as pods name it.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: String,
    /// The archive: an OCI layout as a tar, which `docker load` and `kind load image-archive` take as well.
    pub archive: PathBuf,
}

/// Builds the images and prints where they are.
pub(crate) fn main(options: &Options) -> Result<()> {
    for built in build()? {
        println!("{}  {}  {}", built.reference, built.digest, built.archive.display());
        if let Some(kind) = &options.kind {
            let mut load = Command::new("kind");
            load.args(["load", "image-archive", "--name", kind]).arg(&built.archive);
            run::check(&mut load)?;
        }
    }
    Ok(())
}

/// Builds the static binaries and writes the archives below `<target>/images`.
pub(crate) fn build() -> Result<Vec<Built>> {
    of_binaries(&binaries()?)
}

/// Writes the archives of binaries that are built.
pub(crate) fn of_binaries(binaries: &Path) -> Result<Vec<Built>> {
    NAMES.iter().map(|name| write(name, VERSION, &binaries.join(name), Vec::new())).collect()
}

/// The mock control plane with the files of a folder at `/content`; its reference carries `tag`. `binaries` is the folder
/// that [`binaries`] gave.
pub(crate) fn with_content(binaries: &Path, tag: &str, content: &Path) -> Result<Built> {
    let name = "connected-cache-mock-control-plane";
    let mut files = Vec::new();
    collect(content, Path::new("content"), &mut files)?;
    write(name, tag, &binaries.join(name), files)
}

/// Every regular file below `folder`, under its relative path.
fn collect(folder: &Path, inside: &Path, files: &mut Vec<ImageFile>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("unable to list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = inside.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, files)?;
        } else if entry.path().metadata()?.is_file() {
            files.push(file(&path.to_string_lossy(), 0o644, entry.path()));
        }
    }
    Ok(())
}

fn write(name: &str, tag: &str, binary: &Path, more: Vec<ImageFile>) -> Result<Built> {
    if !Path::new(CA_BUNDLE).is_file() {
        bail!("{CA_BUNDLE} is missing: install the package ca-certificates");
    }
    let folder = target().join("images");
    std::fs::create_dir_all(&folder).with_context(|| format!("unable to make {}", folder.display()))?;
    let archive = folder.join(format!("{name}-{tag}.tar"));
    let mut files =
        vec![file(name, 0o755, binary.to_owned()), file(CA_BUNDLE, 0o644, PathBuf::from(CA_BUNDLE))];
    files.extend(more);
    let labels = [
        ("org.opencontainers.image.title", name),
        ("org.opencontainers.image.version", VERSION),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE")),
    ];
    let image = ImageSpec {
        name: format!("localhost/{name}:{tag}"),
        entrypoint: vec![format!("/{name}")],
        user: "65532:65532".to_owned(),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        files,
        ..ImageSpec::default()
    };
    let written = write_image(&image, &archive)?;
    Ok(Built { reference: written.name, digest: written.digest, archive: written.path })
}

fn file(path: &str, mode: u32, source: PathBuf) -> ImageFile {
    ImageFile { path: path.to_owned(), mode, user_id: 0, group_id: 0, source: FileSource::File(source) }
}

/// Builds the static release binaries; gives their folder.
pub(crate) fn binaries() -> Result<PathBuf> {
    let triple = host_triple()?;
    let mut build = release(&triple, "build")?;
    for name in NAMES {
        build.args(["--package", name]);
    }
    println!("building the static release binaries");
    run::check(&mut build)?;
    Ok(target().join(triple).join("release"))
}

/// A `cargo` command that builds as the images are built.
///
/// On Linux glibc is linked in whole (`crt-static`); the explicit target keeps build scripts and macros dynamic. Source
/// paths are taken out of the binaries, so that the folder of the checkout does not change them.
pub(crate) fn release(triple: &str, verb: &str) -> Result<Command> {
    let home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    let root = workspace::root();
    let mut flags =
        format!("--remap-path-prefix={}=/source --remap-path-prefix={home}=/cargo", root.display());
    if triple.ends_with("linux-gnu") {
        flags.push_str(" -C target-feature=+crt-static");
    }
    let mut command = run::cargo(&[verb, "--release", "--locked", "--target", triple]);
    command.env("RUSTFLAGS", flags);
    Ok(command)
}

/// The triple of this machine.
pub(crate) fn host_triple() -> Result<String> {
    let printed = run::read(Command::new("rustc").arg("-vV"))?;
    let text = String::from_utf8(printed)?;
    let triple =
        text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(triple.to_owned())
}
