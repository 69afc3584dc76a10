//! One pinned Go module: its version, its linker flags, its stamp, and how to build a package of it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::{
    command,
    error::{Error, FileContext, Result},
};

/// Part of every build beside the linker flags: a change here changes the stamp.
const BUILD_FLAGS: [&str; 3] = ["-mod=readonly", "-trimpath", "-buildvcs=false"];

/// How to build packages of one module.
#[derive(Debug)]
pub(super) struct Plan {
    folder: PathBuf,
    /// Pinned version, such as `v1.34.4`.
    pub(super) version: String,
    linker_flags: String,
    /// Hash of everything that decides what comes out.
    pub(super) stamp: String,
}

impl Plan {
    /// Reads the pins in `folder` and asks the Go toolchain for its version.
    pub(super) async fn of(folder: &Path, module: &str) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).context("read", path)
        };
        let (go_mod, go_sum) = (read("go.mod")?, read("go.sum")?);
        let version = required_version(&go_mod, module).ok_or_else(|| Error::Unsuitable {
            problem: format!("{} requires no {module}", folder.join("go.mod").display()),
            advice: "run `go mod tidy` there".to_owned(),
        })?;
        let go_version = go_version(folder, &go_mod).await?;
        let linker_flags = linker_flags(module, &version, &go_mod);
        let stamp = stamp(&[&go_mod, &go_sum, &linker_flags, &BUILD_FLAGS.join(" "), &go_version]);
        Ok(Self { folder: folder.to_owned(), version, linker_flags, stamp })
    }

    /// Builds `package` to `output`, without C.
    pub(super) async fn build(&self, package: &str, output: &Path) -> Result<()> {
        let mut command = Command::new(command::program_path("go"));
        command
            .current_dir(&self.folder)
            .env("CGO_ENABLED", "0")
            .arg("build")
            .args(BUILD_FLAGS)
            .args(["-ldflags", &self.linker_flags])
            .arg("-o")
            .arg(output)
            .arg(package);
        run(command).await.map(drop)
    }
}

/// The Go version that will build the module in `folder` (newer Go fetches the toolchain that go.mod asks for).
async fn go_version(folder: &Path, go_mod: &str) -> Result<String> {
    let wanted = go_mod
        .lines()
        .find_map(|line| line.strip_prefix("go "))
        .map_or_else(|| "1.24".to_owned(), |version| version.trim().to_owned());
    let missing = |found: String| Error::MissingProgram {
        program: format!("go {wanted} or newer"),
        advice: format!(
            "{found}install Go {wanted} or newer from https://go.dev/dl/ and put its bin folder on the PATH \
             (Go builds the Kubernetes components once)"
        ),
    };
    if command::find("go").is_none() {
        return Err(missing(String::new()));
    }
    let mut command = Command::new(command::program_path("go"));
    command.current_dir(folder).args(["env", "GOVERSION"]);
    let found = run(command).await.map_err(|error| missing(format!("`go` here says: {error}; ")))?;
    let found = found.trim().to_owned();
    if version_numbers(&found) < version_numbers(&wanted) {
        return Err(missing(format!("found {found}; ")));
    }
    Ok(found)
}

async fn run(mut command: Command) -> Result<String> {
    let line = command::command_line(command.as_std());
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| command::not_started(&line, &source))?;
    command::check(&line, &output)
}

/// The version after `module` in a require block or line.
fn required_version(go_mod: &str, module: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(module))
            .then(|| words.next())
            .flatten()
            .filter(|word| word.starts_with('v'))
            .map(str::to_owned)
    })
}

/// Strips symbols and sets the version that the program reports about itself: client libraries read it.
fn linker_flags(module: &str, version: &str, go_mod: &str) -> String {
    let mut flags = vec!["-s".to_owned(), "-w".to_owned()];
    let mut set = |variable: String, value: &str| flags.push(format!("-X {variable}={value}"));
    match module {
        "k8s.io/kubernetes" => {
            let numbers = version_numbers(version);
            let number = |index: usize| numbers.get(index).copied().unwrap_or_default().to_string();
            for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
                set(format!("{package}.gitVersion"), version);
                set(format!("{package}.gitMajor"), &number(0));
                set(format!("{package}.gitMinor"), &number(1));
                set(format!("{package}.gitTreeState"), "clean");
                set(format!("{package}.gitCommit"), "");
                set(format!("{package}.buildDate"), "1970-01-01T00:00:00Z");
            }
        }
        "helm.sh/helm/v3" => {
            set("helm.sh/helm/v3/internal/version.version".to_owned(), version);
            // What `helm template` and `helm lint` take the cluster for when they ask none; unset, it is Kubernetes 1.20.
            let client = required_version(go_mod, "k8s.io/client-go").unwrap_or_default();
            let minor = version_numbers(&client).get(1).copied().unwrap_or_default().to_string();
            for package in ["helm.sh/helm/v3/pkg/chartutil", "helm.sh/helm/v3/pkg/lint/rules"] {
                set(format!("{package}.k8sVersionMajor"), "1");
                set(format!("{package}.k8sVersionMinor"), &minor);
            }
        }
        "github.com/rancher/local-path-provisioner" => set("main.VERSION".to_owned(), version),
        _ => {}
    }
    flags.join(" ")
}

/// `go1.26.8`, `v1.34.4`, `1.26.0` as numbers.
fn version_numbers(version: &str) -> Vec<u32> {
    version
        .trim_start_matches(|character: char| !character.is_ascii_digit())
        .split('.')
        .map(|part| {
            part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or_default()
        })
        .collect()
}

/// Twelve hexadecimal digits; the length goes in before each part, so moving text between parts changes the stamp.
fn stamp(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_depends_on_every_part_and_on_their_borders() {
        let reference = stamp(&["a", "b", "c"]);
        assert_eq!(reference, stamp(&["a", "b", "c"]));
        for other in [["x", "b", "c"], ["a", "x", "c"], ["a", "b", "x"], ["ab", "", "c"]] {
            assert_ne!(reference, stamp(&other), "{other:?}");
        }
    }

    #[test]
    fn a_version_is_read_from_a_require_block_and_not_from_a_replace() {
        let text = "require (\n\tk8s.io/api v0.34.4 // indirect\n\tk8s.io/kubernetes v1.34.4\n)\nreplace k8s.io/x => k8s.io/x v1\n";
        assert_eq!(required_version(text, "k8s.io/kubernetes").as_deref(), Some("v1.34.4"));
        assert_eq!(required_version(text, "k8s.io/x"), None);
    }

    #[test]
    fn kubernetes_reports_its_pinned_version() {
        let flags = linker_flags("k8s.io/kubernetes", "v1.34.4", "");
        assert!(flags.contains("-X k8s.io/component-base/version.gitVersion=v1.34.4"), "{flags}");
        assert!(flags.contains("-X k8s.io/component-base/version.gitMinor=34"), "{flags}");
    }

    #[test]
    fn helm_takes_an_unasked_cluster_for_the_version_of_its_client() {
        let flags = linker_flags(
            "helm.sh/helm/v3",
            "v3.22.0",
            "require (\n\tk8s.io/client-go v0.37.0 // indirect\n)\n",
        );
        assert!(flags.contains("-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37"), "{flags}");
    }

    #[test]
    fn go_versions_compare_by_number() {
        assert!(version_numbers("go1.26.8") > version_numbers("1.26.0"));
        assert!(version_numbers("go1.9") < version_numbers("1.26.0"));
        assert!(version_numbers("go1.26rc1") < version_numbers("1.26.0"));
    }
}
