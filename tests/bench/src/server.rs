//! The servers that are measured, each as its makers would run it on one core.

mod nginx;
mod sidecar;
mod varnish;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::admin::Admin;
use crate::control_plane;
use crate::load::Target;
use crate::pods::{Pod, Pods};
use crate::process::Process;
use crate::usage::ProcessTree;

/// How long a server has to begin.
const START_WITHIN: Duration = Duration::from_secs(20);

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Ours.
    Sidecar,
    /// Ours, checking content by the hashes of a control plane.
    Verified,
    /// Ours, as one of two pods that share.
    Pod(Pod),
    /// nginx, `proxy_cache` in slices of 1 MiB.
    Nginx,
    /// Varnish, in memory.
    Varnish,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Verified => "verified-sidecar",
            Self::Pod(pod) => pod.name(),
            Self::Nginx => "nginx",
            Self::Varnish => "varnish",
        }
    }
}

/// Where a server is reached. Ports lie outside of the range that clients take theirs from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Plain HTTP.
    Http,
    /// HTTPS.
    Https,
    /// Ours: metrics and lists.
    Admin,
    /// Plain HTTP of nginx with `aio threads`.
    AioThreads,
}

const fn port(kind: Kind, door: Door) -> u16 {
    let base = match kind {
        Kind::Sidecar => 8100,
        Kind::Nginx => 8200,
        Kind::Varnish => 8300,
        Kind::Verified => 8400,
        // Told apart by their addresses.
        Kind::Pod(_) => 8500,
    };
    match door {
        Door::Http => base,
        Door::Https => base + 43,
        Door::AioThreads => base + 1,
        Door::Admin => base + 2,
    }
}

const fn address(kind: Kind, door: Door) -> SocketAddr {
    let host = match kind {
        Kind::Pod(pod) => pod.address(),
        Kind::Sidecar | Kind::Verified | Kind::Nginx | Kind::Varnish => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    SocketAddr::new(host, port(kind, door))
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) program: PathBuf,
    /// Configuration, output and the cache in `cache`; it exists.
    pub(crate) folder: PathBuf,
    pub(crate) origin: SocketAddr,
    pub(crate) core: usize,
    /// Serve HTTPS as well, by this chain and key.
    pub(crate) certificate: Option<Certificate>,
    /// Ours: write without syncing.
    pub(crate) unsynced: bool,
    /// Ours: whose hashes content is checked by; `None` = nobody is asked.
    pub(crate) control_plane: Option<control_plane::Access>,
    /// Ours: the certificates of pods, needed by [`Kind::Pod`].
    pub(crate) pods: Option<Pods>,
}

/// Files of a certificate in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Settings {
    /// The folder of what is cached.
    pub(crate) fn cache(&self) -> PathBuf {
        cache(&self.folder)
    }
}

/// The folder of what is cached, below the folder of a server.
pub(crate) fn cache(folder: &Path) -> PathBuf {
    folder.join("cache")
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    process: Process,
    target: Target,
}

impl Server {
    /// Starts a server and waits until it takes connections.
    pub(crate) fn start(kind: Kind, settings: &Settings) -> Result<Self> {
        std::fs::create_dir_all(settings.cache())
            .with_context(|| format!("unable to make {}", settings.cache().display()))?;
        let arguments = match kind {
            Kind::Sidecar | Kind::Verified | Kind::Pod(_) => sidecar::prepare(kind, settings)?,
            Kind::Nginx => nginx::prepare(settings)?,
            Kind::Varnish => varnish::prepare(settings)?,
        };
        let output = settings.folder.join("output");
        let mut process = Process::start(&settings.program, &arguments, settings.core, &output)?;
        let target = Target { address: address(kind, Door::Http), tls: None };
        process.wait_until(START_WITHIN, || TcpStream::connect(target.address).is_ok())?;
        Ok(Self { kind, process, target })
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its plain HTTP door.
    pub(crate) const fn target(&self) -> &Target {
        &self.target
    }

    /// The address of another door, which is open if the server was started with it.
    pub(crate) const fn address(&self, door: Door) -> SocketAddr {
        address(self.kind, door)
    }

    /// Its admin listener, if it is ours.
    pub(crate) const fn admin(&self) -> Admin {
        Admin::at(self.address(Door::Admin))
    }

    /// Its processes.
    pub(crate) fn tree(&self) -> ProcessTree {
        self.process.tree()
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("unable to write {}", path.display()))
}
