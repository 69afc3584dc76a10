//! One case, one namespace: created before, shown when the case fails, deleted after.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use anyhow::{Context, Result, anyhow};
use connected_cache_api::ConnectedCache;
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use rand::RngExt;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::diagnose::describe_namespace;
use crate::kubernetes::{apply, delete, ensure_restricted_namespace, pod_get, wait_for};
use crate::lab::{Lab, OPERATOR_NAMESPACE};
use crate::origin::{Content, ORIGIN_HOST, Origin};

/// Port of a cache pod's admin endpoint.
pub(crate) const ADMIN_PORT: u16 = 5001;

/// The namespace of one case and what it needs to act on it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The cluster.
    pub lab: Lab,
    /// The case's own namespace, with Pod Security "restricted" enforced.
    pub namespace: String,
}

/// Runs `body` in a fresh namespace of a cluster in which the chart is installed, prints what is to be seen there when it
/// fails, and deletes the namespace in any case.
pub async fn in_namespace<F>(name: &str, body: F) -> Result<()>
where
    F: AsyncFnOnce(&Case) -> Result<()>,
{
    let lab = Lab::from_environment().await?;
    in_namespace_of(&lab, name, body).await
}

/// As [`in_namespace`], on a lab that is at hand.
pub async fn in_namespace_of<F>(lab: &Lab, name: &str, body: F) -> Result<()>
where
    F: AsyncFnOnce(&Case) -> Result<()>,
{
    let namespace = format!("{name}-{:06x}", rand::rng().random_range(0..0x100_0000_u32));
    ensure_restricted_namespace(&lab.client, &namespace).await?;
    let case = Case { lab: lab.clone(), namespace };
    // A panic ends the case like an error, after what is to be seen was printed and removed.
    let outcome = AssertUnwindSafe(body(&case))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(anyhow!("the case panicked")));
    if outcome.is_err() {
        for namespace in [case.namespace.as_str(), OPERATOR_NAMESPACE] {
            eprintln!("{}", describe_namespace(&lab.client, namespace).await);
        }
    }
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(lab.client.clone());
    let cleaned = delete(&namespaces, &case.namespace).await;
    outcome.and(cleaned)
}

impl Case {
    /// A typed interface to objects of the case's namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.lab.client.clone(), &self.namespace)
    }

    /// A cache whose origin is the mock: small volumes, the Windows Update host resolved to the origin's Service.
    #[must_use]
    pub fn cache_object(&self, name: &str, origin: &Origin, replicas: u32) -> Value {
        json!({
            "apiVersion": "connectedcache.dev/v1alpha1", "kind": "ConnectedCache",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "replicas": replicas,
                "storage": {"volumes": [{"name": "data", "size": "2Gi"}], "minFree": "64Mi"},
                "content": {"allowPrivateTargets": true},
                "upstream": {"resolve": [{"host": ORIGIN_HOST, "address": origin.address()}]},
                "rollout": {"drainSeconds": 1},
            },
        })
    }

    /// Starts an origin with `content` and a cache named `cache` over it, and waits until all its pods serve.
    pub async fn start_cache(&self, content: &Content, replicas: u16) -> Result<Origin> {
        let origin = Origin::start(&self.lab.client, &self.namespace, content).await?;
        self.apply(self.cache_object("cache", &origin, replicas.into())).await?;
        self.wait_for_replicas("cache", replicas.into()).await?;
        Ok(origin)
    }

    /// As [`Self::start_cache`], with a control plane that knows `content` as well, in a pod of its own. `content` has piece
    /// hashes, which are made before anybody asks for them.
    pub async fn start_verified_cache(
        &self,
        content: &Content,
        replicas: u16,
    ) -> Result<(Origin, ControlPlane)> {
        let client = &self.lab.client;
        let origin = Origin::start(client, &self.namespace, content).await?;
        origin.make_piece_hashes(client).await?;
        let control_plane = ControlPlane::start(client, &self.namespace, content).await?;
        control_plane.make_piece_hashes(client).await?;
        origin.clear(client).await?;
        control_plane.clear(client).await?;
        let mut cache = self.cache_object("cache", &origin, replicas.into());
        cache["spec"]["controlPlane"] = control_plane.spec();
        self.apply(cache).await?;
        self.wait_for_replicas("cache", replicas.into()).await?;
        Ok((origin, control_plane))
    }

    /// Applies any object.
    pub async fn apply(&self, object: Value) -> Result<()> {
        apply(&self.lab.client, object).await.map(drop)
    }

    /// Waits until a condition of a cache is `True` for its present generation.
    pub async fn wait_for_condition(&self, cache: &str, condition: &'static str) -> Result<ConnectedCache> {
        self.wait_for_cache(cache, condition, move |cache| {
            let generation = cache.metadata.generation;
            cache.status.as_ref().is_some_and(|status| {
                status.conditions.iter().any(|found| {
                    found.type_ == condition
                        && found.status == "True"
                        && found.observed_generation == generation
                })
            })
        })
        .await
    }

    /// Waits until all of `replicas` pods of a cache are ready and its Ready condition says so.
    pub async fn wait_for_replicas(&self, cache: &str, replicas: i32) -> Result<ConnectedCache> {
        self.wait_for_condition(cache, "Ready").await?;
        self.wait_for_cache(cache, "at its number of replicas", move |cache| {
            cache.status.as_ref().is_some_and(|status| status.ready_replicas == replicas)
        })
        .await
    }

    /// Waits until `holds` is true of a cache.
    pub async fn wait_for_cache(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&ConnectedCache) -> bool,
    ) -> Result<ConnectedCache> {
        let condition = |cache: Option<&ConnectedCache>| cache.is_some_and(&holds);
        wait_for(self.api::<ConnectedCache>(), name, what, condition).await?.context("the cache went away")
    }

    /// The URL under which machines in the cluster reach a cache.
    #[must_use]
    pub fn service_url(&self, cache: &str) -> String {
        format!("http://{cache}.{}.svc", self.namespace)
    }

    /// The pods of a cache, in order of their names.
    pub async fn cache_pods(&self, cache: &str) -> Result<Vec<Pod>> {
        let selector = format!("app.kubernetes.io/instance={cache},app.kubernetes.io/component=cache");
        let mut pods = self.api::<Pod>().list(&ListParams::default().labels(&selector)).await?.items;
        pods.sort_by_key(ResourceExt::name_any);
        Ok(pods)
    }

    /// Sum over the pods of a cache of every sample of one counter, by the text of its labels.
    pub async fn metric(&self, cache: &str, name: &str) -> Result<BTreeMap<String, u64>> {
        let mut sums = BTreeMap::new();
        for pod in self.cache_pods(cache).await? {
            let text =
                pod_get(&self.lab.client, &self.namespace, &pod.name_any(), ADMIN_PORT, "/metrics").await?;
            for (labels, value) in samples(&text, name) {
                *sums.entry(labels).or_insert(0) += value;
            }
        }
        Ok(sums)
    }
}

/// The samples of one counter of whole numbers in Prometheus' text format.
pub(crate) fn samples(text: &str, name: &str) -> Vec<(String, u64)> {
    text.lines()
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, labels) = series.split_once('{').unwrap_or((series, ""));
            (found == name).then_some(())?;
            Some((labels.trim_end_matches('}').to_owned(), value.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::samples;

    #[test]
    fn samples_of_one_metric_are_found_with_their_labels() {
        let text = "# HELP a_total x\na_total{source=\"disk\"} 5\na_total{source=\"origin\"} 7\na_total_more 1\nb 2\n";
        assert_eq!(
            samples(text, "a_total"),
            [("source=\"disk\"".to_owned(), 5), ("source=\"origin\"".to_owned(), 7)]
        );
        assert_eq!(samples(text, "b"), [(String::new(), 2)]);
    }
}
