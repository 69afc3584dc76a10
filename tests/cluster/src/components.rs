//! The Go programs of a cluster: built once from pinned modules and kept under `<target>/components/<module>-<stamp>/`.
//!
//! Versions are pinned by `components/<module>/go.mod` beside this crate. The stamp is a hash of go.mod, go.sum, linker
//! flags and the Go version, so a changed pin builds anew and an unchanged one costs nothing. A program appears under its
//! final name only when it is whole (built under a temporary name, then renamed), and a lock keeps two builds of one
//! machine from doing the same work twice.

mod go;

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use crate::{
    error::{FileContext, Result},
    progress::Step,
};

/// A program that a cluster (or a bare API server, or a test) needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The store of the API server.
    Etcd,
    /// The API server.
    KubeApiServer,
    /// Controllers: Deployments, StatefulSets, endpoints, garbage collection and so on.
    KubeControllerManager,
    /// Places pods on nodes.
    KubeScheduler,
    /// The agent of a node.
    Kubelet,
    /// Services on a node.
    KubeProxy,
    /// The command line client.
    Kubectl,
    /// The chart installer.
    Helm,
    /// Cluster DNS.
    CoreDns,
    /// Makes persistent volumes of folders on a node.
    LocalPathProvisioner,
}

impl Component {
    /// Every component, in the order they are built (what a bare API server needs comes first).
    pub const ALL: [Self; 10] = [
        Self::Etcd,
        Self::KubeApiServer,
        Self::Kubectl,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::CoreDns,
        Self::LocalPathProvisioner,
        Self::Helm,
    ];

    /// What a bare API server needs.
    pub const API_SERVER: [Self; 3] = [Self::Etcd, Self::KubeApiServer, Self::Kubectl];

    /// The program's file name.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiServer => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
            Self::CoreDns => "coredns",
            Self::LocalPathProvisioner => "local-path-provisioner",
        }
    }

    /// The folder of its go.mod below `components/`.
    const fn module_folder(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Helm => "helm",
            Self::CoreDns => "coredns",
            Self::LocalPathProvisioner => "local-path-provisioner",
            _ => "kubernetes",
        }
    }

    /// The Go module that holds it.
    const fn module(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::Helm => "helm.sh/helm/v3",
            Self::CoreDns => "github.com/coredns/coredns",
            Self::LocalPathProvisioner => "github.com/rancher/local-path-provisioner",
            _ => "k8s.io/kubernetes",
        }
    }

    /// The Go package to build.
    fn package(self) -> String {
        match self {
            Self::Etcd | Self::CoreDns | Self::LocalPathProvisioner => self.module().to_owned(),
            _ => format!("{}/cmd/{}", self.module(), self.program()),
        }
    }
}

/// Where the programs lie.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    paths: BTreeMap<Component, PathBuf>,
}

impl Programs {
    /// The path of a program that was asked for in [`ensure`].
    ///
    /// # Panics
    /// When the component was not among those asked for: a mistake of the caller, not of the machine.
    #[must_use]
    pub fn path(&self, component: Component) -> &Path {
        self.paths.get(&component).expect("the caller of ensure() lists every component it uses")
    }
}

/// Builds what is missing of `components` and returns where they all lie.
///
/// Takes seconds when everything is cached except for the first time after a change of pins: then about six CPU minutes for
/// all of them. Needs `go` on the `PATH`, and its module proxy (or a filled module cache).
pub async fn ensure(components: &[Component]) -> Result<Programs> {
    let target = target_folder().join("components");
    let wanted = || Component::ALL.into_iter().filter(|component| components.contains(component));
    // All plans before the first build: a Go that is too old for one of them shows at once.
    let mut plans: BTreeMap<&'static str, go::Plan> = BTreeMap::new();
    for component in wanted() {
        let module_folder = component.module_folder();
        if !plans.contains_key(module_folder) {
            plans.insert(
                module_folder,
                go::Plan::of(&pins_folder().join(module_folder), component.module()).await?,
            );
        }
    }
    let mut programs = Programs::default();
    for component in wanted() {
        let plan = &plans[component.module_folder()];
        let folder = target.join(format!("{}-{}", component.module_folder(), plan.stamp));
        programs.paths.insert(component, ensure_one(component, plan, &folder).await?);
    }
    Ok(programs)
}

/// The folder with one go.mod per Go module.
fn pins_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("components")
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, or `target` in the workspace.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/")).join("target"),
        |folder| std::path::absolute(&folder).unwrap_or_else(|_| PathBuf::from(folder)),
    )
}

async fn ensure_one(component: Component, plan: &go::Plan, folder: &Path) -> Result<PathBuf> {
    let program = component.program();
    let path = folder.join(program);
    if path.is_file() {
        return path.canonicalize().context("resolve", path);
    }
    std::fs::create_dir_all(folder).context("create", folder)?;
    let _lock = lock(folder).await?;
    if !path.is_file() {
        let step = Step::start(format!("build {program} {} (once)", plan.version));
        let temporary = folder.join(format!(".{program}.{}", std::process::id()));
        let built = plan.build(&component.package(), &temporary).await;
        if built.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        built?;
        std::fs::rename(&temporary, &path).context("rename", &temporary)?;
        step.done();
    }
    path.canonicalize().context("resolve", path)
}

/// Waits until no other process builds into `folder`; freed when the file is dropped.
async fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::create(&path).context("create", &path)?;
    tokio::task::spawn_blocking(move || {
        file.lock().context("lock", path)?;
        Ok(file)
    })
    .await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_names_a_package_of_a_pinned_module() {
        for component in Component::ALL {
            let pins = pins_folder().join(component.module_folder()).join("go.mod");
            let text = std::fs::read_to_string(&pins).unwrap();
            assert!(
                text.contains(&component.package()),
                "{component:?}: {} is no tool of {}",
                component.package(),
                pins.display()
            );
        }
    }

    #[test]
    fn a_bare_api_server_is_a_part_of_everything() {
        assert!(Component::API_SERVER.iter().all(|component| Component::ALL.contains(component)));
    }
}
