//! etcd, API server, controller manager and scheduler: plain processes in the first node's network namespace.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use kube::Client;

use crate::{
    command,
    components::{Component, Programs},
    error::{Error, Result},
    network::{self, API_SERVICE, Layout, SERVICE_SUBNET},
    pki::{Authority, Signed, Subject},
    process::{Launch, Record},
    run_folder::RunFolder,
    wait,
};

/// The API server's port on the first node.
const PORT: u16 = 6443;

/// Files and addresses of an API server, shared by the cluster and the bare one.
pub(crate) struct ApiServerFlags<'a> {
    pub(crate) authority: &'a Authority,
    pub(crate) serving: &'a Signed,
    pub(crate) etcd: &'a str,
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) folder: &'a Path,
}

impl ApiServerFlags<'_> {
    pub(crate) fn render(&self) -> Vec<String> {
        let public_key = self.authority.service_account_public_key();
        vec![
            format!("--etcd-servers={}", self.etcd),
            format!("--bind-address={}", self.address),
            format!("--advertise-address={}", self.address),
            format!("--secure-port={}", self.port),
            format!("--cert-dir={}", self.folder.display()),
            format!("--tls-cert-file={}", self.serving.certificate_file.display()),
            format!("--tls-private-key-file={}", self.serving.key_file.display()),
            format!("--client-ca-file={}", self.authority.certificate_file().display()),
            format!("--service-account-key-file={}", public_key.display()),
            format!("--service-account-signing-key-file={}", self.authority.service_account_key().display()),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-cluster-ip-range={SERVICE_SUBNET}"),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--profiling=false".to_owned(),
        ]
    }
}

/// Starts what belongs to the first node's network namespace.
pub(crate) struct ControlPlane<'a> {
    pub(crate) run: &'a RunFolder,
    pub(crate) layout: &'a Layout,
    pub(crate) programs: &'a Programs,
    pub(crate) authority: &'a Authority,
}

impl ControlPlane<'_> {
    /// Where clients find the API server.
    pub(crate) fn server(&self) -> String {
        format!("https://{}:{PORT}", self.layout.node_address(0))
    }

    fn address(&self) -> Result<Ipv4Addr> {
        self.layout.node_address_number(0).ok_or_else(|| Error::Unsuitable {
            problem: format!("{} is no address", self.layout.node_address(0)),
            advice: "give three numbers such as 10.217.88".to_owned(),
        })
    }

    /// Starts etcd and the API server and writes the administrator's kubeconfig.
    pub(crate) fn start_api_server(&self) -> Result<()> {
        let address = self.address()?;
        let admin = Subject {
            name: "admin",
            common_name: "admin",
            organization: Some("system:masters"),
            host_names: &[],
            addresses: &[],
        };
        self.authority.kubeconfig(&admin, &self.server(), &self.run.kubeconfig())?;
        let etcd = [
            format!("--data-dir={}", self.run.join("etcd").display()),
            "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
            "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
            "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
            // Nothing here survives the machine, so nothing has to survive a power cut.
            "--unsafe-no-fsync".to_owned(),
        ];
        self.launch("etcd", Component::Etcd, &etcd, &[])?;
        let serving = self.authority.sign(&Subject {
            name: "apiserver",
            common_name: "kube-apiserver",
            organization: None,
            host_names: &["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"],
            addresses: &[Ipv4Addr::LOCALHOST, address, API_SERVICE],
        })?;
        let to_kubelets = self.authority.sign(&Subject {
            name: "apiserver-kubelet-client",
            common_name: "kube-apiserver-kubelet-client",
            organization: Some("system:masters"),
            host_names: &[],
            addresses: &[],
        })?;
        let flags = ApiServerFlags {
            authority: self.authority,
            serving: &serving,
            etcd: "http://127.0.0.1:2379",
            address,
            port: PORT,
            folder: &self.run.pki(),
        };
        let mut arguments = flags.render();
        arguments.extend([
            // Node names are in no DNS.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--kubelet-certificate-authority={}", self.authority.certificate_file().display()),
            format!("--kubelet-client-certificate={}", to_kubelets.certificate_file.display()),
            format!("--kubelet-client-key={}", to_kubelets.key_file.display()),
        ]);
        self.launch("kube-apiserver", Component::KubeApiServer, &arguments, &[])
    }

    /// Waits until the API server is ready, and fails early when it or etcd ends.
    pub(crate) async fn ready(&self, limit: Duration) -> Result<Client> {
        let client = client(&self.run.kubeconfig()).await?;
        wait::until("the API server being ready", limit, || async {
            for name in ["etcd", "kube-apiserver"] {
                Record::read(self.run, name).ok_or(Error::NotRunning)?.check_alive(self.run)?;
            }
            Ok(ready(&client).await)
        })
        .await?;
        Ok(client)
    }

    /// Starts the controller manager and the scheduler.
    pub(crate) fn start_controllers(&self) -> Result<()> {
        let kubeconfig = |user: &str| -> Result<PathBuf> {
            let path = self.run.join(format!("{user}.kubeconfig"));
            let common_name = format!("system:{user}");
            let subject = Subject {
                name: user,
                common_name: &common_name,
                organization: None,
                host_names: &[],
                addresses: &[],
            };
            self.authority.kubeconfig(&subject, &self.server(), &path)?;
            Ok(path)
        };
        let manager = kubeconfig("kube-controller-manager")?;
        let arguments = [
            format!("--kubeconfig={}", manager.display()),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--service-account-private-key-file={}", self.authority.service_account_key().display()),
            format!("--root-ca-file={}", self.authority.certificate_file().display()),
            format!("--cluster-signing-cert-file={}", self.authority.certificate_file().display()),
            format!("--cluster-signing-key-file={}", self.authority.key_file().display()),
            "--use-service-account-credentials=true".to_owned(),
            "--allocate-node-cidrs=false".to_owned(),
            "--leader-elect=false".to_owned(),
        ];
        self.launch("kube-controller-manager", Component::KubeControllerManager, &arguments, &[])?;
        let scheduler = kubeconfig("kube-scheduler")?;
        let arguments = [
            format!("--kubeconfig={}", scheduler.display()),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
        ];
        self.launch("kube-scheduler", Component::KubeScheduler, &arguments, &[])
    }

    /// Starts a program in the first node's network namespace.
    pub(crate) fn launch(
        &self,
        name: &str,
        component: Component,
        arguments: &[String],
        environment: &[(&str, &str)],
    ) -> Result<()> {
        let mut all = vec![
            format!("--net={}", network::namespace_path(0).display()),
            self.programs.path(component).display().to_string(),
        ];
        all.extend(arguments.iter().cloned());
        let launch = Launch {
            name: name.to_owned(),
            program: command::program_path("nsenter"),
            arguments: all,
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        Record::start(self.run, launch).map(drop)
    }
}

/// A client for that kubeconfig, never through a proxy of the environment.
pub(crate) async fn client(kubeconfig: &Path) -> Result<Client> {
    let read = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let mut config =
        kube::Config::from_custom_kubeconfig(read, &kube::config::KubeConfigOptions::default()).await?;
    config.proxy_url = None;
    Ok(Client::try_from(config)?)
}

/// Asks the API server whether it is ready.
pub(crate) async fn ready(client: &Client) -> Result<(), String> {
    let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
    client.request_text(request).await.map(drop).map_err(|error| error.to_string())
}
