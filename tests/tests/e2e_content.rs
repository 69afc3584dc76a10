//! Content through the Service, from another node, as Windows machines ask for it.

use anyhow::{Result, ensure};
use connected_cache_tests::kubernetes::{PATIENCE, node_names};
use connected_cache_tests::origin::Content;
use connected_cache_tests::windows_client::{Download, Mode};
use connected_cache_tests::{Case, in_namespace};
use kube::ResourceExt;
use serde_json::json;

const MIB: u64 = 1024 * 1024;
/// Not a multiple of the piece length, so that the last piece is a short one.
const LENGTH: u64 = 24 * MIB + 12_345;

#[tokio::test]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn content_reaches_a_client_on_another_node_and_crosses_the_internet_once() -> Result<()> {
    in_namespace("content", async |case: &Case| {
        let client = &case.lab.client;
        let length = LENGTH.to_string();
        let content =
            Content::formulas(&[("/update/a.cab", &length, 1), ("/empty", "0", 2), ("/one", "1", 3)]);
        let origin = case.start_cache(&content, 1).await?;

        let pods = case.cache_pods("cache").await?;
        let cache_node = pods[0].spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let nodes = node_names(client).await?;
        let client_node = nodes.iter().find(|node| **node != cache_node).or(nodes.first()).cloned();
        let (url, manifest) = (case.service_url("cache"), origin.manifest_url());
        let download = |name: &'static str, mode: Mode| Download {
            node: client_node.as_deref(),
            mode,
            parallel: 4,
            ..Download::whole(name, &url, &manifest)
        };

        origin.clear(client).await?;
        let cold = download("cold", Mode::Whole).run(client, &case.namespace).await?;
        ensure!(cold.objects == 3 && cold.bytes == LENGTH + 1, "cold: {cold:?}");
        let crossed = origin.totals(client).await?;
        ensure!(crossed.body_bytes == LENGTH + 1, "cold cost the internet {} bytes", crossed.body_bytes);

        let warm = download("warm", Mode::Whole).run(client, &case.namespace).await?;
        let ranges = download("ranges", Mode::Ranges).run(client, &case.namespace).await?;
        ensure!(warm.misses == 0 && ranges.misses == 0, "warm {warm:?}, ranges {ranges:?}");
        let crossed = origin.totals(client).await?;
        // The empty object has no piece to keep; asking the origin for it again moves no byte.
        ensure!(
            crossed.body_bytes == LENGTH + 1,
            "warm reads cost the internet {} bytes",
            crossed.body_bytes
        );

        let received = cold.bytes + warm.bytes + ranges.bytes;
        // A client may be done a moment before its last bytes are counted.
        let mut look = tokio::time::interval(std::time::Duration::from_millis(100));
        let counted = tokio::time::timeout(PATIENCE, async {
            loop {
                look.tick().await;
                let served = case.metric("cache", "connectedcache_served_bytes_total").await?;
                if served.values().sum::<u64>() >= received {
                    return anyhow::Ok(served.values().sum::<u64>());
                }
            }
        });
        let served = counted.await??;
        ensure!(served == received, "clients received {received} bytes, the pod counted {served}");
        let fetched: u64 = case.metric("cache", "connectedcache_origin_bytes_total").await?.values().sum();
        ensure!(fetched == LENGTH + 1, "the pod counted {fetched} bytes from the origin");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn a_dead_origin_does_not_stop_what_is_cached() -> Result<()> {
    in_namespace("dead-origin", async |case: &Case| {
        let client = &case.lab.client;
        let content = Content::formulas(&[("/kept", "4Mi", 7)]);
        let origin = case.start_cache(&content, 1).await?;
        let (url, manifest) = (case.service_url("cache"), origin.manifest_url());
        let download = |name: &'static str| Download {
            mode: Mode::Ranges,
            parallel: 2,
            ..Download::whole(name, &url, &manifest)
        };
        download("first").run(client, &case.namespace).await?;

        origin.set_faults(client, &json!([{"path": "/kept", "status": 500}])).await?;
        origin.clear(client).await?;
        let again = download("again").run(client, &case.namespace).await?;
        ensure!(again.misses == 0 && again.bytes >= 4 * MIB, "{again:?}");
        ensure!(origin.totals(client).await?.body_bytes == 0, "the failing origin was asked for bytes");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn clients_notice_nothing_of_an_origin_that_cuts_stalls_and_knows_no_ranges() -> Result<()> {
    in_namespace("bad-origin", async |case: &Case| {
        let client = &case.lab.client;
        let paths = ["/cut", "/stalled", "/no-ranges"];
        let objects: Vec<_> = paths.into_iter().zip(1..).map(|(path, seed)| (path, "5Mi", seed)).collect();
        let origin = case.start_cache(&Content::formulas(&objects), 1).await?;
        let (url, manifest) = (case.service_url("cache"), origin.manifest_url());
        let faults = json!([
            {"path": "/cut", "cutAfterBytes": 300_000, "times": 3},
            {"path": "/stalled", "stallAfterBytes": 100_000, "times": 1},
            {"path": "/no-ranges", "status": 200},
        ]);
        for (name, mode) in [("in-ranges", Mode::Ranges), ("whole", Mode::Whole)] {
            origin.set_faults(client, &faults).await?;
            let download = Download { mode, parallel: 2, ..Download::whole(name, &url, &manifest) };
            let report = download.run(client, &case.namespace).await?;
            ensure!(report.bytes >= 15 * MIB, "{report:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn deleting_the_pod_keeps_the_cache() -> Result<()> {
    in_namespace("pod-deletion", async |case: &Case| {
        let client = &case.lab.client;
        let content = Content::formulas(&[("/big", "16Mi", 5)]);
        let origin = case.start_cache(&content, 1).await?;
        let (url, manifest) = (case.service_url("cache"), origin.manifest_url());
        let download = |name: &'static str| Download::whole(name, &url, &manifest);
        download("before").run(client, &case.namespace).await?;
        origin.clear(client).await?;

        let pod = case.cache_pods("cache").await?.remove(0);
        let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = case.api();
        let old = pod.uid();
        pods.delete(&pod.name_any(), &kube::api::DeleteParams::default()).await?;
        connected_cache_tests::kubernetes::wait_for(
            pods.clone(),
            &pod.name_any(),
            "replaced and ready",
            |pod: Option<&k8s_openapi::api::core::v1::Pod>| {
                pod.is_some_and(|pod| pod.uid() != old && connected_cache_tests::kubernetes::is_ready(pod))
            },
        )
        .await?;

        let after = download("after").run(client, &case.namespace).await?;
        ensure!(after.misses == 0, "after the pod's replacement: {after:?}");
        ensure!(origin.totals(client).await?.body_bytes == 0, "the origin was asked again after the restart");
        Ok(())
    })
    .await
}
