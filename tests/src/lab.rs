//! The cluster under test, the chart and the images.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, ResourceExt};

use crate::helm::Helm;
use crate::kubernetes;

/// Namespace that holds the operator.
pub const OPERATOR_NAMESPACE: &str = "connected-cache-system";
/// Name of the Helm release.
pub const RELEASE: &str = "connected-cache";
/// Name of the custom resource definition.
pub const CRD_NAME: &str = "connectedcaches.connectedcache.dev";
/// Label on every namespace that the harness makes.
pub const LAB_LABEL: &str = "connectedcache.dev/lab";
/// Kubeconfig of the cluster, set by `cargo xtask test`.
pub const KUBECONFIG_VARIABLE: &str = "CONNECTEDCACHE_TEST_KUBECONFIG";
/// Path of the `helm` binary, set by `cargo xtask test`.
pub const HELM_VARIABLE: &str = "CONNECTEDCACHE_TEST_HELM";

/// A cluster with our images loaded.
#[derive(Clone)]
pub struct Lab {
    /// Client with the rights of the kubeconfig.
    pub client: Client,
    /// The `helm` binary.
    pub helm: Helm,
}

impl std::fmt::Debug for Lab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lab").field("helm", &self.helm).finish_non_exhaustive()
    }
}

impl Lab {
    /// The lab that `cargo xtask test` describes by environment variables.
    pub async fn from_environment() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .with_context(|| format!("{name} is not set: run these cases by `cargo xtask test`"))
        };
        Self::connect(&variable(KUBECONFIG_VARIABLE)?, &variable(HELM_VARIABLE)?).await
    }

    /// A lab on the cluster that a kubeconfig names.
    pub async fn connect(kubeconfig: &Path, helm: &Path) -> Result<Self> {
        let parsed = Kubeconfig::read_from(kubeconfig)
            .with_context(|| format!("unable to read {}", kubeconfig.display()))?;
        let config = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await?;
        Ok(Self {
            client: Client::try_from(config)?,
            helm: Helm { binary: helm.to_owned(), kubeconfig: kubeconfig.to_owned() },
        })
    }

    /// Installs the chart, or brings an installed release to this chart, and waits until the operator is available.
    pub async fn install(&self, extra: &[&str]) -> Result<String> {
        kubernetes::ensure_restricted_namespace(&self.client, OPERATOR_NAMESPACE).await?;
        let chart = chart_folder();
        let chart = chart.to_str().context("the chart's path is not UTF-8")?;
        let mut arguments = vec![
            "upgrade",
            "--install",
            RELEASE,
            chart,
            "--namespace",
            OPERATOR_NAMESPACE,
            "--wait",
            "--timeout",
            "3m",
        ];
        arguments.extend_from_slice(extra);
        self.helm.run(&arguments).await
    }

    /// An error when somebody uses this cluster for caches: what we remove afterwards must be ours alone.
    pub async fn refuse_if_in_use(&self) -> Result<()> {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = match (crds.get_opt(CRD_NAME).await?, namespaces.get_opt(OPERATOR_NAMESPACE).await?) {
            (Some(_), _) => format!("the CRD {CRD_NAME}"),
            (None, Some(_)) => format!("the namespace {OPERATOR_NAMESPACE}"),
            (None, None) => return Ok(()),
        };
        bail!(
            "the cluster has {found} already, and what is there would be removed in the end: use another cluster, or unset \
             KUBECONFIG for a throwaway one"
        )
    }

    /// Removes everything that the harness put into this cluster: its namespaces, the release, the CRD. Goes on after a
    /// failure and gives the first one.
    pub async fn remove_everything(&self) -> Result<()> {
        let ours = ListParams::default().labels(LAB_LABEL);
        let namespaces = Api::<Namespace>::all(self.client.clone()).list(&ours).await?;
        let mut outcome = Ok(());
        for namespace in
            namespaces.iter().map(ResourceExt::name_any).filter(|name| name != OPERATOR_NAMESPACE)
        {
            outcome = outcome.and(kubernetes::delete_namespace(&self.client, &namespace).await);
        }
        // A release that was never installed, or is removed already, is no failure.
        let release = self.helm.run(&["status", RELEASE, "--namespace", OPERATOR_NAMESPACE]).await;
        if release.is_ok() {
            outcome = outcome.and(self.uninstall().await);
        }
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        outcome = outcome.and(kubernetes::delete(&crds, CRD_NAME).await);
        outcome.and(kubernetes::delete_namespace(&self.client, OPERATOR_NAMESPACE).await)
    }

    /// Removes the release; caches that still exist are left to their owner.
    pub async fn uninstall(&self) -> Result<()> {
        self.helm
            .run(&["uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", "3m"])
            .await
            .map(drop)
    }
}

/// The chart in this checkout.
#[must_use]
pub fn chart_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/connected-cache")
}

/// Reference of one of our images in the version of this checkout.
#[must_use]
pub fn image(name: &str) -> String {
    format!("localhost/{name}:{}", env!("CARGO_PKG_VERSION"))
}
