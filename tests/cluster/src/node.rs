//! One node: a network namespace, a mount namespace, a cgroup, and in them containerd, kubelet and kube-proxy.
//!
//! The mount namespace is private to the node and begins with an anchor process that prepares it:
//! - `/run` and the folders which CNI, kubelet and the runtime share by fixed names are the node's own, so nodes do not meet
//!   there, pods' network namespaces (`cni-…`) are not the host's, and all of it ends with the node's last process;
//! - the kernel settings that a kubelet insists on are shielded: it finds the values it wants and changes none of the host's;
//! - its mounts propagate among containerd, kubelet and pods, and never to the host.

mod config;

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cgroups, command,
    components::{Component, Programs},
    error::{Error, FileContext, Result},
    network::{self, FABRIC, Layout, POD_SUBNET},
    packages,
    pki::{Authority, Subject},
    process::{Launch, Record},
    run_folder::{RunFolder, create_folder, write_whole},
    wait,
};

/// A node of the cluster.
#[derive(Clone, Debug)]
pub struct Node {
    index: usize,
    address: String,
    folder: PathBuf,
    run: RunFolder,
}

/// Prepares a node's mount namespace and then does nothing. `$1` is the node's folder, then come folders to hide behind
/// empty ones, `--`, and settings to shield as `path=value`.
const ANCHOR_SCRIPT: &str = r#"
folder=$1; shift
while [ "$1" != -- ]; do
  mount -t tmpfs -o mode=0755 tmpfs "$1"
  shift
done
shift
mkdir -p /run/netns /run/lock "$folder/shield"
for setting; do
  path=/proc/sys/${setting%%=*}
  if [ -e "$path" ]; then
    file=$folder/shield/$(echo "${setting%%=*}" | tr / .)
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "$path"
  fi
done
mount --make-rshared /
: >"$folder/anchored"
exec sleep infinity
"#;

/// What a kubelet wants of the kernel; see the module's words on shielding.
const SHIELDED_SETTINGS: [&str; 6] = [
    "vm/overcommit_memory=1",
    "vm/panic_on_oom=0",
    "kernel/panic=10",
    "kernel/panic_on_oops=1",
    "kernel/keys/root_maxkeys=1000000",
    "kernel/keys/root_maxbytes=25000000",
];

/// Folders of fixed names that every node needs for itself. They must exist on the host to be hidden.
const HIDDEN_FOLDERS: [&str; 5] =
    ["/run", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods"];

/// The list of [`HIDDEN_FOLDERS`] which did not exist before, one a line; the clean-up removes those.
pub(crate) const MADE_FOLDERS_FILE: &str = "made-folders";

impl Node {
    pub(crate) fn new(run: &RunFolder, layout: &Layout, index: usize) -> Self {
        Self { index, address: layout.node_address(index), folder: run.node(index), run: run.clone() }
    }

    /// Its place, from 0; node 0 also runs the control plane.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its name in Kubernetes: `node0`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("node{}", self.index)
    }

    /// Its address, reachable from the host.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its network namespace, as `ip netns` names it. Enter it by `nsenter --net=/run/netns/<name>` or [`Node::command`].
    #[must_use]
    pub fn network_namespace(&self) -> String {
        network::namespace_name(self.index)
    }

    /// The folder below which its persistent volumes lie.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.folder.join("volumes")
    }

    /// Takes its network away (API server included): everything on it runs on, and nobody reaches it.
    pub fn disconnect(&self) -> Result<()> {
        command::run("ip", ["-n", FABRIC, "link", "set", &network::fabric_port(self.index), "down"]).map(drop)
    }

    /// Gives its network back.
    pub fn reconnect(&self) -> Result<()> {
        command::run("ip", ["-n", FABRIC, "link", "set", &network::fabric_port(self.index), "up"]).map(drop)
    }

    /// A command that will run in the node's network and mount namespaces, such as `iptables` or `mount`.
    pub fn command(&self, program: &str) -> Result<std::process::Command> {
        let mut command = std::process::Command::new(command::program_path("nsenter"));
        command.args(self.enter()?).arg(command::program_path(program));
        Ok(command)
    }

    /// Arguments of nsenter that lead into both namespaces.
    fn enter(&self) -> Result<Vec<String>> {
        let anchor = Record::read(&self.run, &self.process("anchor")).ok_or(Error::NotRunning)?;
        Ok(vec![
            format!("--net={}", network::namespace_path(self.index).display()),
            format!("--mount=/proc/{}/ns/mnt", anchor.identity.pid),
        ])
    }

    /// The recorded name of one of its processes.
    fn process(&self, program: &str) -> String {
        format!("{}-{program}", self.name())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }

    /// Makes folders, cgroup and namespace, and starts containerd in them.
    pub(crate) async fn start_runtime(&self, pause_image: &str) -> Result<()> {
        for folder in ["cni", "logs", "volumes", "kubelet"] {
            create_folder(&self.folder.join(folder))?;
        }
        cgroups::create(Path::new(cgroups::ROOT), self.index)?;
        self.start_anchor().await?;
        let plugins = packages::cni_folder().ok_or_else(|| Error::MissingProgram {
            program: "the CNI plugins".to_owned(),
            advice: "install containernetworking-plugins".to_owned(),
        })?;
        let containerd_config = self.folder.join("containerd.toml");
        let text = config::containerd(&self.folder, &self.socket(), &plugins, pause_image);
        write_whole(&containerd_config, text.as_bytes(), 0o644)?;
        let network = config::pod_network(&self.folder, &network::pod_subnet(self.index));
        write_whole(&self.folder.join("cni/10-pods.conflist"), network.as_bytes(), 0o644)?;
        let arguments = ["--config".to_owned(), containerd_config.display().to_string()];
        let record = self.launch("containerd", &command::program_path("containerd"), &arguments)?;
        let socket = self.socket();
        wait::until("containerd answering", Duration::from_secs(30), || async {
            record.check_alive(&self.run)?;
            Ok(std::os::unix::net::UnixStream::connect(&socket).map(drop).map_err(|error| error.to_string()))
        })
        .await
    }

    async fn start_anchor(&self) -> Result<()> {
        make_hidden_folders(&self.run)?;
        let ready = self.folder.join("anchored");
        let mut arguments = vec![
            format!("--net={}", network::namespace_path(self.index).display()),
            command::program_path("unshare").display().to_string(),
            "--mount".to_owned(),
            "--propagation".to_owned(),
            "private".to_owned(),
            "sh".to_owned(),
            "-ec".to_owned(),
            ANCHOR_SCRIPT.to_owned(),
            "anchor".to_owned(),
            self.folder.display().to_string(),
        ];
        arguments.extend(HIDDEN_FOLDERS.map(str::to_owned));
        arguments.push("--".to_owned());
        arguments.extend(SHIELDED_SETTINGS.map(str::to_owned));
        let launch = Launch {
            name: self.process("anchor"),
            program: command::program_path("nsenter"),
            arguments,
            environment: Vec::new(),
        };
        let record = Record::start(&self.run, launch)?;
        wait::until("the mount namespace of a node", Duration::from_secs(10), || async {
            record.check_alive(&self.run)?;
            Ok(if ready.exists() { Ok(()) } else { Err("its anchor is at work".to_owned()) })
        })
        .await
    }

    /// Starts kubelet and kube-proxy; the API server must answer by now.
    pub(crate) fn start_agents(
        &self,
        programs: &Programs,
        authority: &Authority,
        server: &str,
    ) -> Result<()> {
        let name = self.name();
        let user = format!("system:node:{name}");
        let address = self.address.parse().map_err(|_| Error::Unsuitable {
            problem: format!("{} is no address", self.address),
            advice: "give three numbers such as 10.217.88".to_owned(),
        })?;
        let subject = Subject {
            name: &name,
            common_name: &user,
            organization: Some("system:nodes"),
            host_names: &[&name],
            addresses: &[address],
        };
        let kubeconfig = self.folder.join("kubelet.kubeconfig");
        authority.kubeconfig(&subject, server, &kubeconfig)?;
        let serving = authority.sign(&subject)?;
        let resolver = self.folder.join("resolv.conf");
        write_whole(
            &resolver,
            b"# Pods ask cluster DNS; nothing of the host's resolvers comes in.\n",
            0o644,
        )?;
        let kubelet = config::Kubelet {
            folder: &self.folder,
            socket: &self.socket(),
            cgroup: &cgroups::node_path(self.index),
            client_authority: &authority.certificate_file(),
            certificate: &serving.certificate_file,
            key: &serving.key_file,
            resolver: &resolver,
        };
        let kubelet_config = self.folder.join("kubelet.yaml");
        write_whole(&kubelet_config, kubelet.render().as_bytes(), 0o644)?;
        let arguments = [
            format!("--config={}", kubelet_config.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--hostname-override={name}"),
            format!("--node-ip={}", self.address),
            format!("--root-dir={}", self.folder.join("kubelet").display()),
        ];
        self.launch("kubelet", programs.path(Component::Kubelet), &arguments)?;

        let proxy_kubeconfig = self.folder.join("kube-proxy.kubeconfig");
        let proxy = Subject {
            name: &format!("{name}-proxy"),
            common_name: "system:kube-proxy",
            organization: None,
            ..subject
        };
        authority.kubeconfig(&proxy, server, &proxy_kubeconfig)?;
        let arguments = [
            format!("--kubeconfig={}", proxy_kubeconfig.display()),
            format!("--hostname-override={name}"),
            "--proxy-mode=iptables".to_owned(),
            // Pods' addresses stay as they are; what comes from outside to a cluster address is masqueraded, for the reply to find back.
            format!("--cluster-cidr={POD_SUBNET}"),
            // These belong to the whole machine.
            "--conntrack-max-per-core=0".to_owned(),
            "--conntrack-tcp-timeout-established=0".to_owned(),
            "--conntrack-tcp-timeout-close-wait=0".to_owned(),
        ];
        self.launch("kube-proxy", programs.path(Component::KubeProxy), &arguments).map(drop)
    }

    /// Starts a program of this node in both of its namespaces.
    fn launch(&self, name: &str, program: &Path, arguments: &[String]) -> Result<Record> {
        let mut all = self.enter()?;
        all.push(program.display().to_string());
        all.extend(arguments.iter().cloned());
        let launch = Launch {
            name: self.process(name),
            program: command::program_path("nsenter"),
            arguments: all,
            environment: vec![("PATH".to_owned(), node_path())],
        };
        Record::start(&self.run, launch)
    }
}

/// A `PATH` with the administration folders, where containerd, kubelet and kube-proxy look for runc, mount and iptables.
fn node_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

/// Makes those of [`HIDDEN_FOLDERS`] that the host lacks, and notes them first.
fn make_hidden_folders(run: &RunFolder) -> Result<()> {
    let list = run.join(MADE_FOLDERS_FILE);
    for folder in HIDDEN_FOLDERS.iter().map(Path::new).filter(|folder| !folder.exists()) {
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(&list).context("open", &list)?;
        writeln!(file, "{}", folder.display()).context("write", &list)?;
        std::fs::create_dir_all(folder).context("create", folder)?;
    }
    Ok(())
}
