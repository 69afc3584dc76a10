//! What every suite works with: the folder of a run, the origin, and servers whose caches are filled the same way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::abandoned::own_name;
use crate::content::Content;
use crate::control_plane::ControlPlane;
use crate::disk;
use crate::load::{Bodies, Group, Load, Order, Request, Target, Until};
use crate::machine::{self, Cores};
use crate::origin::{self, Origin, Pace};
use crate::packages;
use crate::pods::Pods;
use crate::progress;
use crate::server::{self, Certificate, Kind, Server, Settings};

/// Below it everything of a run lies: on a disk, which `/tmp` often is not.
const FOLDER: &str = "/var/tmp";

/// Length of a piece.
pub(crate) const PIECE: u64 = 1 << 20;
/// Length of the large object.
pub(crate) const LARGE: u64 = 1 << 30;
/// Length of a small object.
pub(crate) const SMALL: u64 = 4096;
/// Number of small objects.
const SMALL_OBJECTS: usize = 10_000;
/// How long anything may take that has an end of its own.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);
/// What every suite works with.
#[derive(Debug)]
pub(crate) struct Lab {
    folder: TempDir,
    cores: Cores,
    content: Arc<Content>,
    origin: Origin,
    /// Who vouches for the large object; started by the first who needs it.
    control_plane: Option<ControlPlane>,
    /// The certificates of pods; made by the first who needs them.
    pods: Option<Pods>,
    sidecar: PathBuf,
    rounds: usize,
    /// Servers whose folder holds the large and the small objects.
    filled: BTreeSet<Kind>,
    /// Those of them whose page cache is as misses wrote it.
    unread: BTreeSet<Kind>,
    /// Folders that were taken away from servers.
    wiped: usize,
    /// Servers whose bytes were compared.
    compared: BTreeSet<Kind>,
    large: Vec<Request>,
    small: Vec<Request>,
}

/// Whether the sidecar syncs what it stores; the others never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Syncing {
    /// In groups.
    AsUsual,
    Off,
}

impl Lab {
    pub(crate) fn new(sidecar: &Path, rounds: usize, cores: Cores) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        disk::remove_abandoned(Path::new(FOLDER));
        let folder = tempfile::Builder::new()
            .prefix(&format!("{}-", own_name()))
            // Varnish becomes another user, who has to get in.
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in(FOLDER)
            .with_context(|| format!("unable to make a folder in {FOLDER}"))?;
        let content = Arc::new(Content::new());
        let origin = Origin::start(Arc::clone(&content), origin::PORT, cores.load)?;
        machine::pin(cores.load)?;
        let small = (0..SMALL_OBJECTS).map(|number| Request::whole(&format!("small-{number}"), SMALL));
        Ok(Self {
            folder,
            cores,
            content,
            origin,
            control_plane: None,
            pods: None,
            sidecar: sidecar.to_owned(),
            rounds,
            filled: BTreeSet::new(),
            unread: BTreeSet::new(),
            wiped: 0,
            compared: BTreeSet::new(),
            large: Request::pieces("large", LARGE, PIECE),
            small: small.collect(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) const fn cores(&self) -> Cores {
        self.cores
    }

    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// The origin itself, for a client without a cache.
    pub(crate) const fn direct(&self) -> Target {
        Target { address: self.origin.address(), tls: None }
    }

    /// Every piece of the large object.
    pub(crate) fn large(&self) -> &[Request] {
        &self.large
    }

    /// Every small object.
    pub(crate) fn small(&self) -> &[Request] {
        &self.small
    }

    /// The numbers of the rounds; says which one begins.
    pub(crate) fn rounds(&self, name: &'static str) -> impl Iterator<Item = usize> + use<> {
        let rounds = self.rounds;
        (0..rounds)
            .inspect(move |round| progress::say(format_args!("{name}, round {} of {rounds}", round + 1)))
    }

    /// Starts a control plane that vouches for the large object, unless it runs. It is needed before [`Kind::Verified`] is
    /// started.
    pub(crate) fn provide_control_plane(&mut self) -> Result<()> {
        if self.control_plane.is_none() {
            progress::say("make the hashes of the large object");
            let path = format!("/o/{LARGE}/large");
            let folder = self.folder.path();
            let started = ControlPlane::start(&self.content, &path, LARGE, folder, self.cores.load)?;
            self.control_plane = Some(started);
        }
        Ok(())
    }

    /// Makes the certificates of pods, unless they are there. They are needed before a [`Kind::Pod`] is started.
    pub(crate) fn provide_pods(&mut self) -> Result<()> {
        if self.pods.is_none() {
            self.pods = Some(Pods::make(self.folder.path())?);
        }
        Ok(())
    }

    /// Starts a server on what its folder holds.
    pub(crate) fn start(&self, kind: Kind, certificate: Option<&Certificate>) -> Result<Server> {
        self.start_as(kind, certificate, Syncing::AsUsual, self.cores.server)
    }

    /// Starts a server on what its folder holds, on the core of the load: it stands in for a machine of its own, so that it
    /// does not take the time of the server that is measured.
    pub(crate) fn start_beside_load(&self, kind: Kind) -> Result<Server> {
        self.start_as(kind, None, Syncing::AsUsual, self.cores.load)
    }

    fn start_as(
        &self,
        kind: Kind,
        certificate: Option<&Certificate>,
        syncing: Syncing,
        core: usize,
    ) -> Result<Server> {
        let program = match kind {
            Kind::Sidecar | Kind::Verified | Kind::Pod(_) => self.sidecar.clone(),
            Kind::Nginx => packages::path("nginx")?,
            Kind::Varnish => packages::path("varnishd")?,
        };
        let control_plane = self.control_plane.as_ref().filter(|_| kind == Kind::Verified);
        let settings = Settings {
            program,
            folder: self.server_folder(kind),
            origin: self.origin.address(),
            core,
            certificate: certificate.cloned(),
            unsynced: syncing == Syncing::Off,
            control_plane: control_plane.map(|control_plane| control_plane.access().clone()),
            pods: self.pods.clone(),
        };
        Server::start(kind, &settings)
    }

    /// Takes everything away that a server keeps. It must not run. The files are emptied and stay until the end of the run:
    /// ext4 looks for a long time for the place of a new file where many were removed a moment ago.
    pub(crate) fn wipe(&mut self, kind: Kind) -> Result<()> {
        self.filled.remove(&kind);
        self.unread.remove(&kind);
        let folder = self.server_folder(kind);
        if !folder.exists() {
            return Ok(());
        }
        disk::empty(&folder)?;
        self.wiped += 1;
        let aside = self.path().join(format!("wiped-{}", self.wiped));
        std::fs::rename(&folder, &aside).with_context(|| format!("unable to move {}", folder.display()))
    }

    /// Starts a server on a fresh folder, and on a disk that has nothing left to do for the one before.
    pub(crate) fn start_empty(&mut self, kind: Kind, syncing: Syncing) -> Result<Server> {
        self.wipe(kind)?;
        disk::sync(self.path())?;
        self.start_as(kind, None, syncing, self.cores.server)
    }

    /// Starts a server that has the large and the small objects, brought to it by misses, its bytes compared once.
    pub(crate) fn start_filled(&mut self, kind: Kind, certificate: Option<&Certificate>) -> Result<Server> {
        let keeps = kind != Kind::Varnish && self.unread.contains(&kind);
        if !keeps {
            self.wipe(kind)?;
        }
        let server = self.start(kind, certificate)?;
        if !keeps {
            progress::say(format_args!("fill {}", kind.name()));
            self.fill(&server).with_context(|| format!("{} is not filled", kind.name()))?;
            self.filled.insert(kind);
            self.unread.insert(kind);
        }
        if self.compared.insert(kind) {
            progress::say(format_args!("compare every byte of {}", kind.name()));
            self.compare(&server).with_context(|| format!("the content of {}", kind.name()))?;
        } else {
            self.pass_through(&server)?;
        }
        Ok(server)
    }

    /// A certificate for the origin's name.
    pub(crate) fn write_certificate(&self, chain: &str, key: &str) -> Result<Certificate> {
        let files = Certificate { chain: self.path().join("chain.pem"), key: self.path().join("key.pem") };
        std::fs::write(&files.chain, chain)?;
        std::fs::write(&files.key, key)?;
        Ok(files)
    }

    /// Starts a server that has the large and the small objects on disk and nothing of them in memory.
    pub(crate) fn start_evicted(&mut self, kind: Kind) -> Result<Server> {
        if !self.filled.contains(&kind) {
            drop(self.start_filled(kind, None)?);
        }
        self.unread.remove(&kind);
        disk::evict(&server::cache(&self.server_folder(kind)))?;
        self.start(kind, None)
    }

    fn server_folder(&self, kind: Kind) -> PathBuf {
        self.path().join(kind.name())
    }

    fn fill(&self, server: &Server) -> Result<()> {
        self.origin.set_pace(Pace::NONE);
        // Varnish fetches the whole object for any range of it.
        let whole = [Request::whole("large", LARGE)];
        let large = if server.kind() == Kind::Varnish { &whole[..] } else { &self.large };
        ask_once(server.target(), 4, large, Bodies::Dropped)?;
        ask_once(server.target(), 8, &self.small, Bodies::Dropped)?;
        // What is not on disk yet would be written during the measurements.
        disk::sync(self.path())
    }

    /// Reads everything once, so that what is on disk is in the page cache and open.
    fn pass_through(&self, server: &Server) -> Result<()> {
        ask_once(server.target(), 4, &self.large, Bodies::Dropped)?;
        ask_once(server.target(), 8, &self.small, Bodies::Dropped)
    }

    fn compare(&self, server: &Server) -> Result<()> {
        let bodies = Bodies::Compared(&self.content);
        ask_once(server.target(), 4, &self.large, bodies)?;
        ask_once(server.target(), 8, &self.small, bodies)?;
        ask_once(server.target(), 4, &odd_ranges(), bodies)
    }
}

/// Sends each request once.
pub(crate) fn ask_once(
    to: &Target,
    connections: usize,
    requests: &[Request],
    bodies: Bodies<'_>,
) -> Result<()> {
    let group = Group { to, connections, requests, order: Order::Once };
    Load::connect(&[group], bodies)?.run(Until::Done(PATIENCE))?;
    Ok(())
}

/// Ranges that begin and end anywhere, most of them over the end of a piece.
fn odd_ranges() -> Vec<Request> {
    (0..500)
        .map(|number| Request::range("large", LARGE, number * 2_099_999 % (LARGE - 200_000), 100_003))
        .collect()
}

/// Servers in the order of a round: every other round the other way round, so that nobody is always first.
pub(crate) fn turns<Item: Copy, const COUNT: usize>(round: usize, items: [Item; COUNT]) -> Vec<Item> {
    let mut items = items.to_vec();
    if !round.is_multiple_of(2) {
        items.reverse();
    }
    items
}
