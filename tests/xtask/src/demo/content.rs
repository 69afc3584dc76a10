//! What the demo downloads: a person's own folder, or the large files that were just built.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use connected_cache_cluster::components::Component;
use sha2::{Digest as _, Sha256};

use crate::{cluster, workspace};

/// One file of the demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of the file on this machine, in hexadecimal digits.
    pub sha256: String,
}

/// The folder to serve, and what is in it by request path.
#[derive(Clone, Debug)]
pub(super) struct Content {
    /// The folder on this machine.
    pub folder: PathBuf,
    /// The files by the path under which they are asked for.
    pub files: BTreeMap<String, Entry>,
}

impl Content {
    /// The given folder, or one with links to the largest programs that the demo builds anyway; `binaries` is where ours are.
    pub(super) async fn choose(given: Option<&Path>, binaries: &Path) -> Result<Self> {
        let folder = match given {
            Some(folder) => std::path::absolute(folder)?,
            None => built_files(binaries).await?,
        };
        let mut files = BTreeMap::new();
        tokio::task::block_in_place(|| hash_below(&folder, "", &mut files))?;
        if files.is_empty() {
            bail!("{} holds no files to download", folder.display());
        }
        Ok(Self { folder, files })
    }

    /// All bytes of all files.
    pub(super) fn length(&self) -> u64 {
        self.files.values().map(|entry| entry.length).sum()
    }

    /// A tag for the image that carries these files: the same files, the same tag.
    pub(super) fn tag(&self) -> String {
        let mut hasher = Sha256::new();
        for (path, entry) in &self.files {
            hasher.update(path);
            hasher.update(&entry.sha256);
        }
        format!("content-{}", &hex::encode(hasher.finalize())[..12])
    }
}

async fn built_files(binaries: &Path) -> Result<PathBuf> {
    let folder = workspace::target().join("demo-content");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let mut programs = vec![binaries.join("connected-cache-sidecar")];
    for component in [Component::KubeApiServer, Component::Kubelet] {
        programs.push(cluster::component(component).await?);
    }
    for program in programs {
        let name = program.file_name().context("a program without a name")?;
        std::os::unix::fs::symlink(std::path::absolute(&program)?, folder.join(name))?;
    }
    Ok(folder)
}

fn hash_below(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Entry>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("unable to list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            hash_below(&entry.path(), &path, files)?;
        } else if entry.path().metadata()?.is_file() {
            let entry = hash(&entry.path()).with_context(|| format!("unable to read {path}"))?;
            files.insert(path, entry);
        }
    }
    Ok(())
}

fn hash(path: &Path) -> Result<Entry> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut hasher, mut length) = (Sha256::new(), 0);
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(Entry { length, sha256: hex::encode(hasher.finalize()) });
        }
        hasher.update(bytes);
        let count = bytes.len();
        length += count as u64;
        file.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, hash_below};

    #[test]
    fn files_are_found_below_the_folder_with_length_and_hash() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("deep"))?;
        std::fs::write(folder.path().join("deep/abc"), "abc")?;
        let mut files = BTreeMap::new();
        hash_below(folder.path(), "", &mut files)?;
        let entry = &files["/deep/abc"];
        assert_eq!(entry.length, 3);
        // FIPS 180-2, appendix B.1.
        assert_eq!(entry.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        Ok(())
    }
}
