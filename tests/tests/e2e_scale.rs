//! Scaling through the scale subresource.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use connected_cache_api::ConnectedCache;
use connected_cache_tests::kubernetes::node_names;
use connected_cache_tests::origin::Content;
use connected_cache_tests::windows_client::Download;
use connected_cache_tests::{Case, in_namespace};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

#[tokio::test]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn two_pods_become_three_on_volumes_of_their_own() -> Result<()> {
    in_namespace("scale", async |case: &Case| {
        let client = &case.lab.client;
        let content = Content::formulas(&[("/a", "8Mi", 11)]);
        let origin = case.start_cache(&content, 2).await?;
        let before: BTreeSet<_> =
            case.cache_pods("cache").await?.into_iter().map(|pod| pod.metadata.uid).collect();

        let scale = json!({"spec": {"replicas": 3}});
        case.api::<ConnectedCache>()
            .patch_scale("cache", &PatchParams::default(), &Patch::Merge(&scale))
            .await?;
        let cache = case.wait_for_replicas("cache", 3).await?;
        ensure!(cache.spec.replicas == 3, "spec.replicas is {}", cache.spec.replicas);
        let pods = case.cache_pods("cache").await?;
        let after: BTreeSet<_> = pods.iter().map(|pod| pod.metadata.uid.clone()).collect();
        ensure!(before.is_subset(&after), "scaling replaced pods that were serving");
        let nodes: BTreeSet<_> =
            pods.iter().filter_map(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone())).collect();
        // Spreading is a preference, so more than one node is all that is promised.
        ensure!(nodes.len() > 1 || node_names(client).await?.len() == 1, "three pods on {nodes:?} alone");

        let claims = case.api::<PersistentVolumeClaim>().list(&ListParams::default()).await?;
        let bound = claims.iter().filter(|claim| {
            claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
        });
        ensure!(bound.count() == 3, "claims: {:?}", claims.items);

        // Each pod by its own address: all three serve, whatever the Service picks.
        for (index, pod) in pods.iter().enumerate() {
            let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default();
            let name = format!("client-{index}");
            let cache = format!("http://{address}:8080");
            Download::whole(&name, &cache, &origin.manifest_url()).run(client, &case.namespace).await?;
        }
        Ok(())
    })
    .await
}
