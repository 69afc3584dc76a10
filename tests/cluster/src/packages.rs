//! Programs of the distribution that a node needs: looked for, and the missing ones installed with apt-get.
//!
//! A containerd that comes with the package is never used as a service: every node runs its own, with its own socket, state
//! and root, in its own mount namespace, so neither disturbs the other.

use std::{io::Read, path::Path, path::PathBuf, process::Command};

use crate::{
    command,
    error::{Error, Result},
    progress::Step,
};

/// A program and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 9] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
];

/// Where distributions put the CNI plugins.
const CNI_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// The plugins used.
const CNI_PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];

/// Looks for everything and installs what is missing.
pub(crate) fn ensure() -> Result<()> {
    let missing = missing_packages();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)?;
    let still_missing = missing_packages();
    if still_missing.is_empty() {
        return Ok(());
    }
    Err(Error::MissingProgram {
        program: format!("a program of {}", still_missing.join(", ")),
        advice: "the packages were installed and yet it is not there; look at the PATH".to_owned(),
    })
}

/// The folder with the CNI plugins.
pub(crate) fn cni_folder() -> Option<PathBuf> {
    CNI_FOLDERS
        .iter()
        .map(PathBuf::from)
        .find(|folder| CNI_PLUGINS.iter().all(|plugin| folder.join(plugin).is_file()))
}

/// A busybox that runs in an image without libraries.
pub(crate) fn static_busybox() -> Option<PathBuf> {
    command::find("busybox").filter(|path| is_static(path))
}

fn missing_packages() -> Vec<&'static str> {
    let mut missing: Vec<&'static str> = PROGRAMS
        .iter()
        .filter(|(program, _)| command::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if cni_folder().is_none() {
        missing.push("containernetworking-plugins");
    }
    if static_busybox().is_none() {
        missing.push("busybox-static");
    }
    if !Path::new("/etc/ssl/certs/ca-certificates.crt").is_file() {
        missing.push("ca-certificates");
    }
    missing.dedup();
    missing
}

fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if command::find("apt-get").is_none() {
        return Err(Error::MissingProgram {
            program: format!("a program of the Debian packages {names}"),
            advice: "there is no apt-get here: install these by your distribution's package manager"
                .to_owned(),
        });
    }
    let step = Step::start(format!("install the packages {names}"));
    let apt = |arguments: &[&str]| {
        command::output(
            Command::new(command::program_path("apt-get"))
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(arguments),
        )
    };
    apt(&["-qq", "update"])?;
    apt(&[&["-qq", "install", "--yes", "--no-install-recommends"], packages].concat())?;
    step.done();
    Ok(())
}

/// Whether an ELF program asks for no interpreter (a dynamic loader).
fn is_static(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(4096).read_to_end(&mut bytes));
    read.is_ok() && elf_asks_for_interpreter(&bytes) == Some(false)
}

/// Reads the program headers of a 64-bit little-endian ELF file; `None` when it is something else.
fn elf_asks_for_interpreter(bytes: &[u8]) -> Option<bool> {
    const PROGRAM_HEADER_INTERPRETER: u32 = 3;
    if bytes.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let number = |offset: usize, length: usize| -> Option<usize> {
        let field = bytes.get(offset..offset.checked_add(length)?)?;
        usize::try_from(field.iter().rev().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte))).ok()
    };
    let (table, entry_size, entries) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for entry in 0..entries {
        if number(table.checked_add(entry * entry_size)?, 4)? == PROGRAM_HEADER_INTERPRETER as usize {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with a program header table of the given types right after it.
    fn elf(types: &[u32]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0);
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = u8::try_from(types.len()).unwrap();
        for kind in types {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 52]);
        }
        bytes
    }

    #[test]
    fn an_interpreter_header_means_dynamic() {
        assert_eq!(elf_asks_for_interpreter(&elf(&[1, 1, 2])), Some(false));
        assert_eq!(elf_asks_for_interpreter(&elf(&[6, 3, 1])), Some(true));
    }

    #[test]
    fn broken_files_are_neither() {
        assert_eq!(elf_asks_for_interpreter(b"#!/bin/sh\n"), None);
        assert_eq!(elf_asks_for_interpreter(&elf(&[1, 1])[..70]), None);
        assert_eq!(elf_asks_for_interpreter(b""), None);
    }
}
