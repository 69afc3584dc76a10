//! Install, use, upgrade, uninstall: the life of a release, in numbered steps.
//!
//! The last step removes the release and its CRD, so this file runs after all others.

use anyhow::{Context, Result, ensure};
use connected_cache_api::ConnectedCache;
use connected_cache_tests::case::in_namespace_of;
use connected_cache_tests::kubernetes::{delete_namespace, wait_for};
use connected_cache_tests::lab::{CRD_NAME, OPERATOR_NAMESPACE, RELEASE};
use connected_cache_tests::origin::Content;
use connected_cache_tests::windows_client::Download;
use connected_cache_tests::{Case, Lab};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};

#[tokio::test]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn release_is_installed_tested_used_upgraded_and_removed_without_a_trace() -> Result<()> {
    let lab = Lab::from_environment().await?;

    // Step 1: install, and the notes name the next commands.
    let printed = lab.install(&[]).await?;
    for expected in ["kind: ConnectedCache", "kubectl"] {
        ensure!(printed.contains(expected), "the notes lack {expected:?}: {printed}");
    }

    in_namespace_of(&lab, "lifecycle", async |case: &Case| {
        // Step 2: a cache over the mock origin, ready, with an endpoint and columns that say so.
        let content = Content::formulas(&[("/mscomtest/wuidt.gif", "969710", 3)]);
        let origin = case.start_cache(&content, 2).await?;
        let row = table_row(case, "cache").await?;
        ensure!(row.iter().any(|cell| cell == "2/2"), "columns of kubectl get: {row:?}");

        // Step 3: `helm test` does a real GET, of content through the Service.
        let url = format!(
            "{}/mscomtest/wuidt.gif?cacheHostOrigin={}",
            case.service_url("cache"),
            connected_cache_tests::origin::ORIGIN_HOST
        );
        let set_url = format!("test.url={url}");
        lab.install(&["--set-string", &set_url]).await?;
        lab.helm.run(&["test", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--timeout", "2m"]).await?;

        // Step 4: an upgrade replaces the operator and leaves the cache pods alone.
        let pods_before = pod_identities(case).await?;
        let operator_before = operator_generation(&lab).await?;
        lab.install(&["--set", "logLevel=debug"]).await?;
        ensure!(
            operator_generation(&lab).await? > operator_before,
            "the upgrade did not change the operator"
        );
        case.wait_for_replicas("cache", 2).await?;
        ensure!(pod_identities(case).await? == pods_before, "the operator's upgrade restarted cache pods");
        let manifest = origin.manifest_url();
        let url = case.service_url("cache");
        Download::whole("after-upgrade", &url, &manifest).run(&lab.client, &case.namespace).await?;

        // Step 5: the new operator still reconciles: what somebody deleted comes back.
        let services: Api<Service> = case.api();
        let old = services.get("cache").await?.uid();
        services.delete("cache", &DeleteParams::default()).await?;
        wait_for(services, "cache", "made again", |service: Option<&Service>| {
            service.is_some_and(|service| service.uid() != old)
        })
        .await?;

        // Step 6: deleting the cache takes everything it owned with it, the volumes included.
        let caches: Api<ConnectedCache> = case.api();
        caches.delete("cache", &DeleteParams::default()).await?;
        wait_for(caches, "cache", "gone", |cache: Option<&ConnectedCache>| cache.is_none()).await?;
        wait_for(case.api::<StatefulSet>(), "cache", "gone", |set: Option<&StatefulSet>| set.is_none())
            .await?;
        wait_for(case.api::<Service>(), "cache", "gone", |service: Option<&Service>| service.is_none())
            .await?;
        let config = "cache-config";
        wait_for(case.api::<ConfigMap>(), config, "gone", |map: Option<&ConfigMap>| map.is_none()).await?;
        for replica in 0..2 {
            let claim = format!("data-cache-{replica}");
            let gone = |claim: Option<&PersistentVolumeClaim>| claim.is_none();
            wait_for(case.api::<PersistentVolumeClaim>(), &claim, "gone", gone).await?;
        }
        Ok(())
    })
    .await?;

    // Step 7: uninstall keeps the CRD by default, so that nobody loses caches by removing the operator …
    lab.uninstall().await?;
    let crds: Api<CustomResourceDefinition> = Api::all(lab.client.clone());
    ensure!(crds.get_opt(CRD_NAME).await?.is_some(), "helm uninstall removed the CRD in spite of crds.keep");

    // Step 8: … and removes it too when told so. After that nothing of ours is left.
    lab.install(&["--set", "crds.keep=false"]).await?;
    lab.uninstall().await?;
    wait_for(crds, CRD_NAME, "gone", |crd: Option<&CustomResourceDefinition>| crd.is_none()).await?;
    delete_namespace(&lab.client, OPERATOR_NAMESPACE).await?;
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/instance={RELEASE}"));
    let roles = Api::<ClusterRole>::all(lab.client.clone()).list(&ours).await?.items;
    let bindings = Api::<ClusterRoleBinding>::all(lab.client.clone()).list(&ours).await?.items;
    ensure!(roles.is_empty() && bindings.is_empty(), "left behind: {roles:?} {bindings:?}");
    Ok(())
}

/// Uid, start and restarts of every cache pod: equal before and after means that nothing was restarted.
async fn pod_identities(case: &Case) -> Result<Vec<(String, Option<String>, i32)>> {
    let identity = |pod: Pod| {
        let restarts = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref())
            .map_or(0, |containers| containers.iter().map(|container| container.restart_count).sum());
        (pod.name_any(), pod.uid(), restarts)
    };
    Ok(case.cache_pods("cache").await?.into_iter().map(identity).collect())
}

async fn operator_generation(lab: &Lab) -> Result<i64> {
    let deployments: Api<Deployment> = Api::namespaced(lab.client.clone(), OPERATOR_NAMESPACE);
    let list = deployments
        .list(&ListParams::default().labels(&format!("app.kubernetes.io/instance={RELEASE}")))
        .await?;
    let deployment = list.items.first().context("the release has no Deployment")?;
    deployment.metadata.generation.context("the Deployment has no generation")
}

/// The cells that `kubectl get connectedcache NAME` prints, as the API server makes them.
async fn table_row(case: &Case, name: &str) -> Result<Vec<String>> {
    let path =
        format!("/apis/connectedcache.dev/v1alpha1/namespaces/{}/connectedcaches/{name}", case.namespace);
    let request = http::Request::get(path)
        .header(http::header::ACCEPT, "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())?;
    let table: serde_json::Value = case.lab.client.request(request).await?;
    let cells = table["rows"][0]["cells"].as_array().context("the API server sent no table row")?;
    Ok(cells.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)).collect())
}
