//! What these tests need of the machine.

use std::path::Path;

/// Why the tests that need root, `/dev/fuse` and these programs can't run here; `None` = they can.
#[must_use]
pub fn missing(programs: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root may mount file systems".to_owned());
    }
    if !Path::new("/dev/fuse").exists() {
        return Some(
            "there is no /dev/fuse: the kernel has no FUSE, or the container does not pass it on".to_owned(),
        );
    }
    programs
        .iter()
        .find(|program| !is_on_path(program))
        .map(|program| format!("there is no program {program} on the PATH"))
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
