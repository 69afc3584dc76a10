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
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
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

    // Step 1: an empty spec becomes its children, each owned by the cache and by our field manager.
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
    owned(api::<ServiceAccount>(&client), "campus-pods", &cache).await?;
    owned(api::<Role>(&client), "campus-pods", &cache).await?;
    owned(api::<RoleBinding>(&client), "campus-pods", &cache).await?;
    owned(api::<Secret>(&client), "campus-peers-ca", &cache).await?;
    owned(api::<Secret>(&client), "campus-peers", &cache).await?;
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
    let change = json!({"rules": []});
    api::<Role>(&client).patch("campus-pods", &PatchParams::default(), &Patch::Merge(&change)).await?;
    wait_for(api::<Role>(&client), "campus-pods", "of two rules again", |role: Option<&Role>| {
        role.and_then(|role| role.rules.as_ref()).is_some_and(|rules| rules.len() == 2)
    })
    .await?;
    secrets_are_repaired(&client).await?;

    // Step 3: another pass over a cache at rest writes nothing.
    let before = Box::pin(versions(&client)).await?;
    // Twice: the first of two further passes may have begun before the first change.
    for note in ["touched", "touched again"] {
        let passes = passes(&metrics)?;
        touch(&client, note).await?;
        more_passes(&metrics, passes).await?;
    }
    let after = Box::pin(versions(&client)).await?;
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

    // Step 6: pods that stop sharing lose what they had for it.
    pods_stop_sharing(&client).await?;

    drop(stop);
    operator.await?;
    Ok(())
}

async fn pods_stop_sharing(client: &Client) -> Result<()> {
    let pod =
        |set: &StatefulSet| set.spec.as_ref().and_then(|spec| spec.template.spec.clone()).unwrap_or_default();
    let account = |set: &StatefulSet| pod(set).service_account_name;
    let before = api::<StatefulSet>(client).get("lab").await?;
    ensure!(account(&before).as_deref() == Some("lab-pods"), "the pods are {:?}", account(&before));
    let off = json!({"spec": {"sharing": {"mode": "Off"}}});
    api::<ConnectedCache>(client).patch("lab", &PatchParams::default(), &Patch::Merge(&off)).await?;
    let set = wait_for(api::<StatefulSet>(client), "lab", "alone", |set: Option<&StatefulSet>| {
        set.is_some_and(|set| account(set).as_deref() == Some("default"))
    });
    let set = set.await?.context("the StatefulSet went away")?;
    let volumes = pod(&set).volumes.unwrap_or_default();
    ensure!(volumes.iter().all(|volume| volume.secret.is_none()), "the pods mount {volumes:?}");
    ensure!(pod(&set).automount_service_account_token == Some(false), "the pods have a token");
    let service = api::<Service>(client).get("lab-pods").await?;
    let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
    let names: Vec<_> = ports.iter().filter_map(|port| port.name.as_deref()).collect();
    ensure!(names == ["http", "admin"], "the pods have the ports {names:?}");
    Ok(())
}

/// Secrets are not watched, so each repair is asked for by an edit of the cache.
async fn secrets_are_repaired(client: &Client) -> Result<()> {
    let secrets = api::<Secret>(client);
    let certificate = |secret: &Secret| secret.data.as_ref().and_then(|data| data.get("tls.crt").cloned());
    let before = certificate(&secrets.get("campus-peers").await?).context("no certificate")?;

    // Text that is no certificate is replaced.
    let change = json!({"stringData": {"tls.crt": "nonsense"}});
    secrets.patch("campus-peers", &PatchParams::default(), &Patch::Merge(&change)).await?;
    touch(client, "a certificate was edited").await?;
    let nonsense = k8s_openapi::ByteString(b"nonsense".to_vec());
    let repaired = wait_for(secrets.clone(), "campus-peers", "repaired", |secret: Option<&Secret>| {
        secret.and_then(certificate).is_some_and(|now| now != nonsense)
    });
    let repaired = repaired.await?.context("the certificate went away")?;
    ensure!(certificate(&repaired).as_ref() != Some(&before), "the key that was lost came back");

    // Without the authority, pods trust another one beside it, and keep their certificate meanwhile.
    secrets.delete("campus-peers-ca", &DeleteParams::default()).await?;
    touch(client, "the authority was deleted").await?;
    let trusted = |secret: &Secret| {
        let text = secret.data.as_ref().and_then(|data| data.get("ca.crt"));
        text.map_or(0, |text| String::from_utf8_lossy(&text.0).matches("BEGIN CERTIFICATE").count())
    };
    let both = wait_for(secrets.clone(), "campus-peers", "of two authorities", |secret: Option<&Secret>| {
        secret.is_some_and(|secret| trusted(secret) == 2)
    });
    let both = both.await?.context("the certificate went away")?;
    ensure!(
        certificate(&both) == certificate(&repaired),
        "a certificate that no pod can check was given out"
    );
    // The operator looks again by itself, and notes that it was seen.
    wait_for(secrets, "campus-peers-ca", "seen to be given to the pods", |secret: Option<&Secret>| {
        secret
            .and_then(|secret| secret.data.as_ref())
            .and_then(|data| data.get("published"))
            .is_some_and(|time| !time.0.is_empty())
    })
    .await?;
    Ok(())
}

async fn touch(client: &Client, note: &str) -> Result<()> {
    let touch = json!({"metadata": {"annotations": {"example.edu/note": note}}});
    api::<ConnectedCache>(client).patch("campus", &PatchParams::default(), &Patch::Merge(&touch)).await?;
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
        api::<ServiceAccount>(client).get("campus-pods").await?.resource_version(),
        api::<Role>(client).get("campus-pods").await?.resource_version(),
        api::<RoleBinding>(client).get("campus-pods").await?.resource_version(),
        api::<Secret>(client).get("campus-peers-ca").await?.resource_version(),
        api::<Secret>(client).get("campus-peers").await?.resource_version(),
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
