//! Which cluster a command works on: that of `KUBECONFIG`, or a throwaway one that it makes and removes.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use connected_cache_cluster::components::Component;
use connected_cache_cluster::{Cluster, ClusterGuard, Lifetime, Options, interrupted};
use connected_cache_tests::Lab;
use kube::config::Kubeconfig;

use crate::image::Built;
use crate::{cluster, run};

/// A cluster to work on.
#[derive(Debug)]
pub(crate) struct Target {
    kubeconfig: PathBuf,
    helm: PathBuf,
    kubectl: PathBuf,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Made by us; removed at the end, also when something panics.
    Throwaway(Box<ClusterGuard>),
    /// One that `cargo xtask cluster up` made; stays.
    Running(Box<Cluster>),
    /// A kind cluster of this name; images are loaded by `kind load`; stays.
    Kind(String),
}

impl Target {
    /// The cluster of `KUBECONFIG` when that is set, else a throwaway one of three nodes that ends with this process, or
    /// outlives it when `keep` is set.
    pub(crate) async fn prepare(keep: bool) -> Result<Self> {
        match given() {
            Some(path) => Self::given(path).await,
            None => Self::throwaway(keep).await,
        }
    }

    /// Whether a `KUBECONFIG` names the cluster to use.
    pub(crate) fn is_given() -> bool {
        given().is_some()
    }

    async fn given(kubeconfig: PathBuf) -> Result<Self> {
        if std::env::split_paths(&kubeconfig).count() > 1 {
            bail!("KUBECONFIG lists several files: name the one whose current context is to be used");
        }
        let parsed = Kubeconfig::read_from(&kubeconfig)
            .with_context(|| format!("unable to read the kubeconfig {}", kubeconfig.display()))?;
        let running = Cluster::attach().ok().filter(|cluster| cluster.kubeconfig() == kubeconfig);
        let target = if let Some(cluster) = running {
            println!("using the cluster of `cargo xtask cluster up`");
            let (helm, kubectl) = (cluster.tools().helm.clone(), cluster.tools().kubectl.clone());
            Self { kubeconfig, helm, kubectl, source: Source::Running(Box::new(cluster)) }
        } else {
            let name = kind_name(&parsed.current_context.unwrap_or_default())?;
            println!("using the kind cluster {name} of KUBECONFIG");
            let helm = on_path_or_built("helm", Component::Helm).await?;
            let kubectl = on_path_or_built("kubectl", Component::Kubectl).await?;
            Self { kubeconfig, helm, kubectl, source: Source::Kind(name) }
        };
        target.lab().await?.refuse_if_in_use().await?;
        Ok(target)
    }

    async fn throwaway(keep: bool) -> Result<Self> {
        let lifetime = if keep { Lifetime::Detached } else { Lifetime::OfThisProcess };
        let cluster = cluster::up(Options { lifetime, ..Options::default() }).await?.guard();
        let (helm, kubectl) = (cluster.tools().helm.clone(), cluster.tools().kubectl.clone());
        Ok(Self {
            kubeconfig: cluster.kubeconfig(),
            helm,
            kubectl,
            source: Source::Throwaway(Box::new(cluster)),
        })
    }

    /// Client and helm for this cluster.
    pub(crate) async fn lab(&self) -> Result<Lab> {
        Lab::connect(&self.kubeconfig, &self.helm).await
    }

    /// The kubeconfig that `kubectl` and `helm` take.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The `helm` binary.
    pub(crate) fn helm(&self) -> &Path {
        &self.helm
    }

    /// The `kubectl` binary.
    pub(crate) fn kubectl(&self) -> &Path {
        &self.kubectl
    }

    /// Whether the cluster is ours to remove.
    pub(crate) fn is_throwaway(&self) -> bool {
        matches!(self.source, Source::Throwaway(_))
    }

    /// Loads images into every node.
    pub(crate) async fn load(&self, images: &[Built]) -> Result<()> {
        for image in images {
            match &self.source {
                Source::Throwaway(cluster) => cluster.load_image(&image.archive, None).await?,
                Source::Running(cluster) => cluster.load_image(&image.archive, None).await?,
                Source::Kind(name) => {
                    let mut load = Command::new("kind");
                    load.args(["load", "image-archive", "--name", name]).arg(&image.archive);
                    tokio::task::block_in_place(|| run::check(&mut load))?;
                }
            }
        }
        Ok(())
    }

    /// Runs `work` until it ends or Ctrl-C or SIGTERM comes; the caller cleans up after either.
    pub(crate) async fn interruptible<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            // First, so that a signal is caught from the beginning.
            biased;
            signal = interrupted() => bail!("{}; cleaning up", signal?),
            outcome = Box::pin(work) => outcome,
        }
    }

    /// Leaves the cluster running; `cargo xtask cluster down` removes it.
    pub(crate) fn keep(self) {
        if let Source::Throwaway(cluster) = self.source {
            drop(cluster.keep());
        }
    }

    /// Removes the cluster when it is ours; from somebody's cluster what we put there.
    pub(crate) async fn end(self) -> Result<()> {
        match self.source {
            Source::Throwaway(cluster) => Ok(cluster.down().await?),
            Source::Running(_) | Source::Kind(_) => self.lab().await?.remove_everything().await,
        }
    }
}

fn kind_name(context: &str) -> Result<String> {
    let Some(name) = context.strip_prefix("kind-") else {
        bail!(
            "the current context {context:?} of KUBECONFIG is no kind cluster, so images can't be loaded into it: choose a \
             kind context, or unset KUBECONFIG for a throwaway cluster, or install the chart by hand as the README says"
        );
    };
    if run::find("kind").is_none() {
        bail!(
            "the context {context:?} is a kind cluster, but `kind` is not on PATH: install kind to load images"
        );
    }
    Ok(name.to_owned())
}

fn given() -> Option<PathBuf> {
    std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A program of the person's own, or ours where there is none.
async fn on_path_or_built(program: &str, component: Component) -> Result<PathBuf> {
    match run::find(program) {
        Some(path) => Ok(path),
        None => cluster::component(component).await,
    }
}
