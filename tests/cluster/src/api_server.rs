//! Only etcd and an API server on loopback, for tests of a CRD, of apply or of a client. No root, no namespaces, no nodes.
//!
//! A small shell supervises both: it ends them, and removes their folder, when its standard input closes. That happens when
//! [`ApiServer`] is dropped and equally when the process that holds it is killed, so nothing outlives a test.

use std::{
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    command,
    components::{self, Component, Programs},
    control_plane::{self, ApiServerFlags},
    error::{Error, FileContext, Result},
    pki::{Authority, Subject},
    wait,
};

/// How often other ports are tried when somebody took ours between choosing and listening.
const ATTEMPTS: usize = 3;
/// How long the API server may take.
const LIMIT: Duration = Duration::from_mins(2);

/// `$1` is the folder, which holds a script for each of the two.
const SUPERVISOR: &str = r#"
folder=$1
sh "$folder/etcd.sh" >"$folder/etcd.log" 2>&1 &
etcd=$!
sh "$folder/kube-apiserver.sh" >"$folder/kube-apiserver.log" 2>&1 &
server=$!
echo "$etcd $server" >"$folder/pids.tmp"
mv "$folder/pids.tmp" "$folder/pids"
while read -r _; do :; done
kill -KILL "$server" "$etcd" 2>/dev/null
wait
rm -rf "$folder"
"#;

/// An API server of its own. It ends when this is dropped, and when the process that holds it ends in whatever way.
#[derive(Debug)]
pub struct ApiServer {
    supervisor: Child,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
}

impl ApiServer {
    /// Starts etcd and an API server and waits until it is ready: seconds, or minutes when they must be built first.
    pub async fn start() -> Result<Self> {
        if std::env::consts::OS != "linux" {
            return Err(Error::NotLinux { operating_system: std::env::consts::OS });
        }
        let programs = components::ensure(&Component::API_SERVER).await?;
        let mut attempt = 1;
        loop {
            match Self::try_start(&programs).await {
                Err(Error::Ended { .. }) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    /// Its kubeconfig, as administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubectl of the same version.
    #[must_use]
    pub fn kubectl(&self) -> &Path {
        &self.kubectl
    }

    /// A client, as administrator.
    pub async fn client(&self) -> Result<kube::Client> {
        control_plane::client(&self.kubeconfig).await
    }

    /// Ends both and waits for their end; dropping does the same.
    pub fn stop(self) {
        drop(self);
    }

    async fn try_start(programs: &Programs) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("connected-cache-api-")
            .tempdir()
            .context("create a folder in", std::env::temp_dir())?;
        let kubeconfig = write_files(folder.path(), programs)?;
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C at the terminal is for the test, whose end the supervisor notices by itself.
            .process_group(0)
            .spawn()
            .context("start a shell in", folder.path())?;
        let server = Self { supervisor, kubeconfig, kubectl: programs.path(Component::Kubectl).to_owned() };
        // From here on the supervisor removes it.
        let folder = folder.keep();
        let client = server.client().await?;
        wait::until("the API server being ready", LIMIT, || async {
            check_alive(&folder)?;
            Ok(control_plane::ready(&client).await)
        })
        .await?;
        Ok(server)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}

/// Writes keys, kubeconfig and the two command lines; returns the kubeconfig.
fn write_files(folder: &Path, programs: &Programs) -> Result<PathBuf> {
    let authority = Authority::create(folder)?;
    let [client_port, peer_port, server_port] = free_ports()?;
    let client_url = format!("http://127.0.0.1:{client_port}");
    let etcd = [
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={client_url}"),
        format!("--advertise-client-urls={client_url}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}"),
        format!("--initial-cluster=default=http://127.0.0.1:{peer_port}"),
        "--unsafe-no-fsync".to_owned(),
    ];
    let serving = authority.sign(&Subject {
        name: "apiserver",
        common_name: "kube-apiserver",
        organization: None,
        host_names: &["localhost"],
        addresses: &[Ipv4Addr::LOCALHOST],
    })?;
    let flags = ApiServerFlags {
        authority: &authority,
        serving: &serving,
        etcd: &client_url,
        address: Ipv4Addr::LOCALHOST,
        port: server_port,
        folder,
    };
    let kubeconfig = folder.join("kubeconfig");
    let admin = Subject {
        name: "admin",
        common_name: "admin",
        organization: Some("system:masters"),
        host_names: &[],
        addresses: &[],
    };
    authority.kubeconfig(&admin, &format!("https://127.0.0.1:{server_port}"), &kubeconfig)?;
    // No controllers run here, so nothing would make service accounts.
    let mut server = flags.render();
    server.push("--disable-admission-plugins=ServiceAccount".to_owned());
    for (component, arguments) in [(Component::Etcd, &etcd[..]), (Component::KubeApiServer, &server)] {
        let path = folder.join(format!("{}.sh", component.program()));
        let line = shell_line(programs.path(component), arguments);
        std::fs::write(&path, line).context("write", path)?;
    }
    Ok(kubeconfig)
}

/// `exec program 'argument' …`, every word quoted.
fn shell_line(program: &Path, arguments: &[String]) -> String {
    let quote = |word: &str| format!("'{}'", word.replace('\'', r"'\''"));
    let words = std::iter::once(program.display().to_string()).chain(arguments.iter().cloned());
    format!("exec {}\n", words.map(|word| quote(&word)).collect::<Vec<_>>().join(" "))
}

/// Ports that are free now. All are held at once, so they differ.
fn free_ports() -> Result<[u16; 3]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let ports = || -> std::io::Result<[u16; 3]> {
        let held = [listen()?, listen()?, listen()?];
        Ok([held[0].local_addr()?.port(), held[1].local_addr()?.port(), held[2].local_addr()?.port()])
    };
    ports().context("listen on", "127.0.0.1")
}

/// An error when one of the two has ended.
fn check_alive(folder: &Path) -> Result<()> {
    let pids = std::fs::read_to_string(folder.join("pids")).unwrap_or_default();
    for (pid, component) in pids.split_whitespace().zip([Component::Etcd, Component::KubeApiServer]) {
        let alive = pid.parse().is_ok_and(|pid| crate::process::Identity::of(pid).is_some());
        if !alive {
            let log = folder.join(format!("{}.log", component.program()));
            return Err(Error::Ended {
                name: component.program().to_owned(),
                log_tail: command::tail(&log, 20),
                log,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_survives_the_shell() {
        let line =
            shell_line(Path::new("printf"), &["%s|".to_owned(), "it's".to_owned(), "a b$HOME".to_owned()]);
        assert_eq!(command::run("sh", ["-c", &line]).unwrap(), "it's|a b$HOME|");
    }
}
