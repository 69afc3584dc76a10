//! What holds for any input, whoever sent it. The property tests of this crate and the fuzz targets in `fuzz/` call the same
//! functions, so that neither checks less than the other. Each one panics where an invariant does not hold.
//!
//! Only built for tests and with the feature `fuzzing`.

mod content_id;
mod piece_hash_file;
mod request;
mod swarm;

pub use content_id::content_id;
pub use piece_hash_file::{changed_piece_hash_file, piece_hash_file};
pub use request::{origin_authority, request_target};
pub use swarm::{swarm_frames, swarm_handshake};

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    type Check = fn(&[u8]);

    /// Every fuzz target and what it calls.
    const TARGETS: [(&str, Check); 6] = [
        ("content_id", |bytes| as_text(bytes, content_id)),
        ("origin_authority", |bytes| as_text(bytes, origin_authority)),
        ("piece_hash_file", piece_hash_file),
        ("request_target", |bytes| as_text(bytes, request_target)),
        ("swarm_frames", swarm_frames),
        ("swarm_handshake", swarm_handshake),
    ];

    fn as_text(bytes: &[u8], check: fn(&str)) {
        if let Ok(text) = std::str::from_utf8(bytes) {
            check(text);
        }
    }

    fn files(folder: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn every_fuzz_target_is_checked_by_its_seeds_as_well() {
        let targets = files("fuzz_targets");
        let names: Vec<_> = targets.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, TARGETS.map(|(name, _)| name));
        for (name, check) in TARGETS {
            let seeds = files(&format!("seeds/{name}"));
            assert!(!seeds.is_empty(), "{name} has no seeds");
            for seed in seeds {
                println!("{}", seed.display());
                check(&std::fs::read(&seed).unwrap());
            }
        }
    }
}
