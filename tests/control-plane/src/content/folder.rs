//! Finding files below the content folder, and nothing outside of it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::OpenError;
use crate::config::RESERVED_PREFIX;

/// Opens the file that `path` names below `folder`, which must be canonical.
pub(super) fn open(folder: &Path, path: &str) -> Result<File, OpenError> {
    let relative = path.strip_prefix('/').ok_or(OpenError::NotFound)?;
    let mut joined = folder.to_path_buf();
    for part in relative.split('/') {
        // A backslash or a colon would be a separator or a drive where such exist; no object of a CDN needs them.
        if matches!(part, "" | "." | "..") || part.contains(['\\', '\0', ':']) {
            return Err(OpenError::NotFound);
        }
        joined.push(part);
    }
    let resolved = joined.canonicalize().map_err(absent)?;
    if !resolved.starts_with(folder) || !resolved.is_file() {
        return Err(OpenError::NotFound);
    }
    File::open(resolved).map_err(absent)
}

fn absent(error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
            OpenError::NotFound
        }
        _ => OpenError::Io(error),
    }
}

/// Paths of all files below `folder`, sorted. Linked folders are not walked into (they may form circles), and names
/// that are not UTF-8 are left out: a file of either kind is missing in the manifest.
pub(super) fn paths(folder: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut pending: Vec<(PathBuf, String)> = vec![(folder.to_path_buf(), String::new())];
    while let Some((directory, prefix)) = pending.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{prefix}/{name}");
            if path.starts_with(RESERVED_PREFIX) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                pending.push((entry.path(), path));
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_inside_the_folder_open() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let inside = tempfile::tempdir().unwrap();
        let folder = inside.path().canonicalize().unwrap();
        std::fs::create_dir(folder.join("sub")).unwrap();
        std::fs::write(folder.join("sub/a b"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), folder.join("out")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.join("outdir")).unwrap();
        std::os::unix::fs::symlink(folder.join("sub/a b"), folder.join("in")).unwrap();

        for path in ["/sub/a b", "/in"] {
            assert!(open(&folder, path).is_ok(), "{path} did not open");
        }
        let up = format!("/../{}/secret", outside.path().file_name().unwrap().to_str().unwrap());
        let absolute = format!("/{}", outside.path().join("secret").display());
        for path in [
            "/",
            "",
            "sub/a b",
            "/sub",
            "/sub/",
            "/sub/../in",
            "/./in",
            "//in",
            "/out",
            "/outdir/secret",
            "/in\0",
            &up,
            &absolute,
        ] {
            assert!(matches!(open(&folder, path), Err(OpenError::NotFound)), "{path:?} was not refused");
        }
        assert_eq!(paths(&folder).unwrap(), ["/in", "/out", "/outdir", "/sub/a b"]);
    }
}
