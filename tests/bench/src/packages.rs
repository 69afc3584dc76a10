//! Programs of the distribution that a run needs: looked for, and the missing ones installed with apt-get.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::run;
use crate::progress;

/// A program and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 5] = [
    ("nginx", "nginx"),
    ("varnishd", "varnish"),
    ("ip", "iproute2"),
    ("setpriv", "util-linux"),
    ("taskset", "util-linux"),
];

/// Folders searched beside `PATH`: administration programs are often missing from a user's `PATH`.
const ADMINISTRATION_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Looks for everything and installs what is missing.
pub(crate) fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if find("apt-get").is_none() {
        bail!("programs of the Debian packages {names} are missing, and there is no apt-get: install them");
    }
    progress::say(format_args!("install the packages {names}"));
    let _quiet = NoServices::ask()?;
    let apt = |arguments: &[&str]| {
        run(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments))
    };
    apt(&["-qq", "update"])?;
    apt(&[&["-qq", "install", "--yes", "--no-install-recommends"], &missing[..]].concat())?;
    Ok(())
}

/// The path of a program.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(ADMINISTRATION_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// The path of a program that [`ensure`] has seen to.
pub(crate) fn path(program: &str) -> Result<PathBuf> {
    find(program).with_context(|| format!("{program} is not installed"))
}

fn missing() -> Vec<&'static str> {
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
    missing.dedup();
    missing
}

/// Debian starts a service as soon as its package is installed unless this program says no. A measurement must not leave a web
/// server running on port 80, so it is there during the installation.
#[derive(Debug)]
struct NoServices(Option<&'static Path>);

impl NoServices {
    fn ask() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let policy = Path::new("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self(None));
        }
        std::fs::write(policy, "#!/bin/sh\nexit 101\n")
            .with_context(|| format!("unable to write {}", policy.display()))?;
        let made = Self(Some(policy));
        std::fs::set_permissions(policy, std::fs::Permissions::from_mode(0o755))?;
        Ok(made)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = self.0
            && let Err(error) = std::fs::remove_file(policy)
        {
            eprintln!("{} is left behind and keeps new services from starting: {error}", policy.display());
        }
    }
}
