//! Files of caches: out of memory, empty, gone.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise, syncfs};

use crate::abandoned::is_abandoned;

/// Writes everything to disk that is to be written there.
pub(crate) fn sync(folder: &Path) -> Result<()> {
    Ok(syncfs(File::open(folder)?)?)
}

/// Takes the files below a folder out of the page cache. Nobody must have them mapped.
pub(crate) fn evict(folder: &Path) -> Result<()> {
    sync(folder)?;
    each_file(folder, &|path| Ok(fadvise(File::open(path)?, 0, None, Advice::DontNeed)?))
}

/// Fills so much page cache and gives it back. A virtual machine returns memory that is free for a while to its host, and who writes
/// there next waits for the host: up to a second for each gigabyte, depending on who ran before.
pub(crate) fn use_page_cache(folder: &Path, bytes: u64) -> Result<()> {
    let path = folder.join("page-cache");
    let (mut file, block) = (File::create(&path)?, vec![1; 1 << 20]);
    for _ in 0..bytes >> 20 {
        file.write_all(&block)?;
    }
    std::fs::remove_file(&path)?;
    Ok(())
}

/// Gives back the space of the files below a folder; the files stay.
pub(crate) fn empty(folder: &Path) -> Result<()> {
    each_file(folder, &|path| Ok(File::options().write(true).open(path)?.set_len(0)?))
}

/// Removes what runs left behind in a folder that were killed.
pub(crate) fn remove_abandoned(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_abandoned)
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            eprintln!("{} is left behind by an earlier run: {error}", entry.path().display());
        }
    }
}

fn each_file(folder: &Path, act: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("unable to list {}", folder.display()))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            each_file(&path, act)?;
        } else if kind.is_file() {
            act(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_folder_keeps_its_files_without_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        let files = [folder.path().join("x"), inner.join("y")];
        for file in &files {
            std::fs::write(file, "bytes").unwrap();
        }
        evict(folder.path()).unwrap();
        assert_eq!(std::fs::read(&files[1]).unwrap(), b"bytes", "eviction loses nothing");
        empty(folder.path()).unwrap();
        for file in &files {
            assert_eq!(std::fs::read(file).unwrap(), b"", "{}", file.display());
        }
    }
}
