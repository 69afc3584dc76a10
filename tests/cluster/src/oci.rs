//! Writes container images as OCI layouts in one tar file, without Docker and without a registry.
//!
//! The same input gives the same bytes: entries are sorted, times are zero, owners are numbers. The file also holds a
//! `manifest.json`, so that `docker load` and `kind load image-archive` take it as `ctr images import` does.
//! OCI image-spec 1.1: image-layout.md, manifest.md, config.md, layer.md.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::error::{Error, FileContext, Result};

/// What an image holds and how it starts.
#[derive(Clone, Debug, Default)]
pub struct ImageSpec {
    /// Full name with tag, such as `localhost/connected-cache-sidecar:0.1.0`.
    pub name: String,
    /// The program and its fixed arguments.
    pub entrypoint: Vec<String>,
    /// Arguments used when none are given.
    pub arguments: Vec<String>,
    /// `uid:gid`; empty means root.
    pub user: String,
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// `org.opencontainers.image.…` and others.
    pub labels: BTreeMap<String, String>,
    /// Everything in the file system; parent folders are made (root's, mode 0755) where not listed.
    pub files: Vec<ImageFile>,
    /// How the layer is stored.
    pub compression: LayerCompression,
}

/// One entry of the image's file system.
#[derive(Clone, Debug)]
pub struct ImageFile {
    /// Path inside the image; a leading slash is optional.
    pub path: String,
    /// Permission bits, such as `0o755`. Not used for links.
    pub mode: u32,
    /// Numeric owner.
    pub user_id: u64,
    /// Numeric group.
    pub group_id: u64,
    /// What is there.
    pub source: FileSource,
}

/// Where the bytes of an entry come from.
#[derive(Clone, Debug)]
pub enum FileSource {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A file of this machine.
    File(PathBuf),
    /// A symbolic link to that target.
    Link(String),
    /// An empty folder.
    Folder,
}

/// How a layer is stored: plain loads fastest, gzip is what one pushes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerCompression {
    /// A plain tar.
    #[default]
    Plain,
    /// gzip without time and name.
    Gzip,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenImage {
    /// The image's name with tag.
    pub name: String,
    /// The tar file.
    pub path: PathBuf,
    /// `sha256:…` of the manifest: what a runtime calls the image's digest.
    pub digest: String,
}

/// Writes the image to `output` (whole or not at all). Holds the layer in memory.
pub fn write_image(spec: &ImageSpec, output: &Path) -> Result<WrittenImage> {
    let (repository, tag) = split_name(&spec.name)?;
    let plain_layer = layer(spec)?;
    let layer_hash = sha256(&plain_layer);
    let (layer, layer_type) = match spec.compression {
        LayerCompression::Plain => (plain_layer, "application/vnd.oci.image.layer.v1.tar"),
        LayerCompression::Gzip => {
            (gzip(&plain_layer).context("compress", output)?, "application/vnd.oci.image.layer.v1.tar+gzip")
        }
    };
    let config = json_bytes(&config(spec, &layer_hash));
    let manifest = json_bytes(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor(layer_type, &layer)],
    }));
    let mut described = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    described["platform"] = json!({"architecture": architecture(), "os": "linux"});
    described["annotations"] = json!({
        "io.containerd.image.name": format!("{repository}:{tag}"),
        "org.opencontainers.image.ref.name": tag,
    });
    let index = json_bytes(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [described],
    }));
    let docker = json_bytes(&json!([{
        "Config": blob_path(&config),
        "RepoTags": [format!("{repository}:{tag}")],
        "Layers": [blob_path(&layer)],
    }]));
    let entries = BTreeMap::from([
        ("oci-layout".to_owned(), json_bytes(&json!({"imageLayoutVersion": "1.0.0"}))),
        ("index.json".to_owned(), index),
        ("manifest.json".to_owned(), docker),
        (blob_path(&config), config),
        (blob_path(&layer), layer),
        (blob_path(&manifest), manifest.clone()),
    ]);
    write_archive(&entries, output)?;
    Ok(WrittenImage {
        name: spec.name.clone(),
        path: output.to_owned(),
        digest: format!("sha256:{}", sha256(&manifest)),
    })
}

fn write_archive(entries: &BTreeMap<String, Vec<u8>>, output: &Path) -> Result<()> {
    let temporary = output.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut archive = Builder::new(BufWriter::new(File::create(&temporary)?));
        for folder in ["blobs/", "blobs/sha256/"] {
            archive.append_data(
                &mut header(EntryType::Directory, 0o755, 0, 0, 0),
                folder,
                std::io::empty(),
            )?;
        }
        for (path, bytes) in entries {
            let mut header = header(EntryType::Regular, 0o644, 0, 0, bytes.len() as u64);
            archive.append_data(&mut header, path, bytes.as_slice())?;
        }
        archive.into_inner()?.flush()
    };
    write().context("write", &temporary)?;
    std::fs::rename(&temporary, output).context("rename", &temporary)
}

/// The file system as a tar, sorted by path so that a folder comes before what is in it.
fn layer(spec: &ImageSpec) -> Result<Vec<u8>> {
    let refuse = |reason: String| Error::Image { name: spec.name.clone(), reason };
    let mut entries: BTreeMap<Vec<&str>, Option<&ImageFile>> = BTreeMap::new();
    for file in &spec.files {
        let parts: Vec<&str> = file.path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.is_empty() || parts.contains(&"..") {
            return Err(refuse(format!("{:?} is no path for a file", file.path)));
        }
        for length in 1..parts.len() {
            entries.entry(parts[..length].to_vec()).or_insert(None);
        }
        if entries.insert(parts, Some(file)).flatten().is_some() {
            return Err(refuse(format!("{} is listed twice", file.path)));
        }
    }
    let mut archive = Builder::new(Vec::new());
    for (parts, file) in entries {
        append(&mut archive, &parts.join("/"), file)
            .map_err(|source| refuse(format!("{}: {source}", parts.join("/"))))?;
    }
    archive.into_inner().map_err(|source| refuse(source.to_string()))
}

fn append(archive: &mut Builder<Vec<u8>>, path: &str, file: Option<&ImageFile>) -> std::io::Result<()> {
    let Some(file) = file else {
        let mut header = header(EntryType::Directory, 0o755, 0, 0, 0);
        return archive.append_data(&mut header, format!("{path}/"), std::io::empty());
    };
    let head = |kind, mode, size| header(kind, mode, file.user_id, file.group_id, size);
    match &file.source {
        FileSource::Folder => {
            let mut header = head(EntryType::Directory, file.mode, 0);
            archive.append_data(&mut header, format!("{path}/"), std::io::empty())
        }
        FileSource::Link(target) => {
            archive.append_link(&mut head(EntryType::Symlink, 0o777, 0), path, target)
        }
        FileSource::Bytes(bytes) => archive.append_data(
            &mut head(EntryType::Regular, file.mode, bytes.len() as u64),
            path,
            bytes.as_slice(),
        ),
        FileSource::File(source) => {
            let opened = File::open(source)?;
            let size = opened.metadata()?.len();
            archive.append_data(&mut head(EntryType::Regular, file.mode, size), path, opened.take(size))
        }
    }
}

fn header(kind: EntryType, mode: u32, user_id: u64, group_id: u64, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(user_id);
    header.set_gid(group_id);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn config(spec: &ImageSpec, layer_hash: &str) -> serde_json::Value {
    let mut environment =
        vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    environment.extend(spec.environment.iter().cloned());
    json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": spec.user,
            "Env": environment,
            "Entrypoint": spec.entrypoint,
            "Cmd": spec.arguments,
            "Labels": spec.labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_hash}")]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "connected-cache"}],
    })
}

/// The name of this machine's processor in images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn split_name(name: &str) -> Result<(&str, &str)> {
    name.rsplit_once(':')
        .filter(|(repository, tag)| !repository.is_empty() && !tag.is_empty() && !tag.contains('/'))
        .ok_or_else(|| Error::Image {
            name: name.to_owned(),
            reason: "the name needs a tag, such as name:1".to_owned(),
        })
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len()})
}

fn blob_path(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", sha256(bytes))
}

fn json_bytes(value: &serde_json::Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests;
