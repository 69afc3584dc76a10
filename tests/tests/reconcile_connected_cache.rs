//! The reconciler against a real API server: children, ownership, drift, rest. No controller runs there, so pods never
//! come to be; that part is for the cluster.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use connected_cache_api::{ConnectedCache, annotations, field_managers};
use connected_cache_cluster::ApiServer;
use connected_cache_operator::Metrics;
use connected_cache_operator::controller::{self, Context};
use connected_cache_tests::kubernetes::{apply, define_connected_cache, wait_for};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt as _};
use serde_json::json;

const NAMESPACE: &str = "default";

fn api<K>(client: &Client) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    Api::namespaced(client.clone(), NAMESPACE)
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver: run by cargo xtask test"]
async fn children_are_made_owned_repaired_and_left_alone_at_rest() -> Result<()> {
    let server = ApiServer::start().await?;
    let client = server.client().await?;
    define_connected_cache(&client).await?;

    let metrics = Metrics::new()?;
    let image = "localhost/connected-cache-sidecar:test".parse()?;
    let context = Arc::new(Context::new(client.clone(), image, metrics.clone(), "test"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let operator = tokio::spawn(async move {
        let shutdown = Box::pin(async move { drop(stopped.await) });
        controller::run(context, None, 4, futures::FutureExt::shared(shutdown)).await;
    });

    // Step 1: an empty spec becomes four children, each owned by the cache and by our field manager.
    apply(
        &client,
        json!({
            "apiVersion": "connectedcache.dev/v1alpha1", "kind": "ConnectedCache",
            "metadata": {"name": "campus", "namespace": NAMESPACE}, "spec": {},
        }),
    )
    .await?;
    let cache =
        wait_for(api::<ConnectedCache>(&client), "campus", "observed", |cache: Option<&ConnectedCache>| {
            cache
                .and_then(|cache| cache.status.as_ref())
                .is_some_and(|status| status.observed_generation == Some(1))
        })
        .await?
        .context("the cache went away")?;
    let set = owned(api::<StatefulSet>(&client), "campus", &cache).await?;
    owned(api::<ConfigMap>(&client), "campus-config", &cache).await?;
    owned(api::<Service>(&client), "campus", &cache).await?;
    owned(api::<Service>(&client), "campus-pods", &cache).await?;
    let spec = set.spec.context("a StatefulSet without spec")?;
    ensure!(spec.replicas == Some(2), "replicas: {:?}", spec.replicas);

    // Step 2: what somebody changes or deletes is put right.
    let change = json!({"spec": {"replicas": 7}});
    api::<StatefulSet>(&client).patch("campus", &PatchParams::default(), &Patch::Merge(&change)).await?;
    wait_for(api::<StatefulSet>(&client), "campus", "back at 2 replicas", |set: Option<&StatefulSet>| {
        set.and_then(|set| set.spec.as_ref()).is_some_and(|spec| spec.replicas == Some(2))
    })
    .await?;
    let old = api::<ConfigMap>(&client).get("campus-config").await?.uid();
    api::<ConfigMap>(&client).delete("campus-config", &DeleteParams::default()).await?;
    wait_for(api::<ConfigMap>(&client), "campus-config", "made again", |map: Option<&ConfigMap>| {
        map.is_some_and(|map| map.uid() != old)
    })
    .await?;

    // Step 3: another pass over a cache at rest writes nothing.
    let before = versions(&client).await?;
    // Twice: the first of two further passes may have begun before the first change.
    for note in ["touched", "touched again"] {
        let passes = passes(&metrics)?;
        let touch = json!({"metadata": {"annotations": {"example.edu/note": note}}});
        api::<ConnectedCache>(&client)
            .patch("campus", &PatchParams::default(), &Patch::Merge(&touch))
            .await?;
        more_passes(&metrics, passes).await?;
    }
    let after = versions(&client).await?;
    ensure!(before == after, "a pass at rest wrote: {before:?} became {after:?}");

    // Step 4: a paused cache is left alone, and says so.
    let pause = json!({"metadata": {"annotations": {annotations::RECONCILE: annotations::RECONCILE_PAUSED}}});
    api::<ConnectedCache>(&client).patch("campus", &PatchParams::default(), &Patch::Merge(&pause)).await?;
    wait_for(api::<ConnectedCache>(&client), "campus", "paused", |cache: Option<&ConnectedCache>| {
        cache
            .and_then(|cache| cache.status.as_ref())
            .is_some_and(|status| status.conditions.iter().any(|condition| condition.reason == "Paused"))
    })
    .await?;

    // Step 5: authorities of a control plane are waited for, and mounted once they are there.
    authorities_are_waited_for_and_mounted(&client).await?;

    drop(stop);
    operator.await?;
    Ok(())
}

async fn authorities_are_waited_for_and_mounted(client: &Client) -> Result<()> {
    let control_plane = json!({
        "mode": "Custom", "geoUrl": "https://geo.example.edu/geo", "caConfigMap": {"name": "lab-ca"},
    });
    let cache = json!({
        "apiVersion": "connectedcache.dev/v1alpha1", "kind": "ConnectedCache",
        "metadata": {"name": "lab", "namespace": NAMESPACE}, "spec": {"controlPlane": control_plane},
    });
    apply(client, cache).await?;
    let caches = api::<ConnectedCache>(client);
    wait_for(caches.clone(), "lab", "waiting for its authorities", |cache: Option<&ConnectedCache>| {
        accepted_reason(cache) == Some("ReferenceMissing")
    })
    .await?;
    let set = api::<StatefulSet>(client).get_opt("lab").await?;
    ensure!(set.is_none(), "pods were made that can't start");

    let text = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let authorities = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "lab-ca", "namespace": NAMESPACE},
        "data": {"ca.crt": text},
    });
    apply(client, authorities).await?;
    // The operator looks again by itself; an edit makes it look now.
    let touch = json!({"metadata": {"annotations": {"example.edu/note": "made"}}});
    caches.patch("lab", &PatchParams::default(), &Patch::Merge(&touch)).await?;
    wait_for(caches, "lab", "accepted", |cache: Option<&ConnectedCache>| {
        accepted_reason(cache) == Some("Valid")
    })
    .await?;
    let pod = api::<StatefulSet>(client).get("lab").await?.spec.and_then(|spec| spec.template.spec);
    let volumes = pod.and_then(|pod| pod.volumes).unwrap_or_default();
    let mounted =
        volumes.iter().filter_map(|volume| volume.config_map.as_ref()).find(|map| map.name == "lab-ca");
    ensure!(mounted.is_some_and(|map| map.optional == Some(true)), "the pods mount {volumes:?}");
    Ok(())
}

fn accepted_reason(cache: Option<&ConnectedCache>) -> Option<&str> {
    let conditions = &cache?.status.as_ref()?.conditions;
    conditions.iter().find(|condition| condition.type_ == "Accepted").map(|found| found.reason.as_str())
}

/// The child, after checking who owns it.
async fn owned<K>(api: Api<K>, name: &str, cache: &ConnectedCache) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let child =
        wait_for(api, name, "there", |child: Option<&K>| child.is_some()).await?.context("it went away")?;
    let owners = child.owner_references();
    ensure!(
        owners
            .iter()
            .any(|owner| Some(&owner.uid) == cache.meta().uid.as_ref() && owner.controller == Some(true)),
        "{name} is not controlled by its cache: {owners:?}"
    );
    let managers: Vec<_> =
        child.managed_fields().iter().filter_map(|entry| entry.manager.as_deref()).collect();
    ensure!(managers.contains(&field_managers::OPERATOR), "{name} is managed by {managers:?}");
    Ok(child)
}

/// Resource versions of all children.
async fn versions(client: &Client) -> Result<Vec<Option<String>>> {
    Ok(vec![
        api::<StatefulSet>(client).get("campus").await?.resource_version(),
        api::<ConfigMap>(client).get("campus-config").await?.resource_version(),
        api::<Service>(client).get("campus").await?.resource_version(),
        api::<Service>(client).get("campus-pods").await?.resource_version(),
    ])
}

/// Passes that the operator has ended.
fn passes(metrics: &Metrics) -> Result<u64> {
    let text = metrics.text()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("connectedcache_operator_reconcile_duration_seconds_count "));
    Ok(line.context("the operator has not counted a pass")?.parse()?)
}

/// Waits until another pass ended.
async fn more_passes(metrics: &Metrics, before: u64) -> Result<()> {
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let waited = tokio::time::timeout(Duration::from_mins(1), async {
        while passes(metrics).is_ok_and(|now| now <= before) {
            look.tick().await;
        }
    });
    waited.await.context("the operator made no further pass within a minute")
}
