//! Every pod of a cache is replaced while many machines download.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use connected_cache_api::ConnectedCache;
use connected_cache_tests::kubernetes::is_ready;
use connected_cache_tests::origin::{Content, Origin};
use connected_cache_tests::windows_client::Download;
use connected_cache_tests::{Case, in_namespace};
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// Machines that download at once.
const MACHINES: u32 = 50;
/// Served by the origin for as long as they shall go on.
const GO_ON: &str = "/go-on";

#[tokio::test]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn fifty_machines_notice_nothing_of_a_rolling_restart() -> Result<()> {
    in_namespace("rolling-restart", async |case: &Case| {
        let client = &case.lab.client;
        let paths: Vec<String> = (0..MACHINES).map(|number| format!("/update/{number}.cab")).collect();
        let mut objects: Vec<(&str, &str, u64)> =
            paths.iter().zip(1..).map(|(path, seed)| (path.as_str(), "2100000", seed)).collect();
        objects.push((GO_ON, "1", 0));
        let origin = Origin::start(client, &case.namespace, &Content::formulas(&objects)).await?;
        let mut cache = case.cache_object("cache", &origin, 2);
        // As users get it: drained until every load balancer has noticed.
        cache["spec"]["rollout"] = json!({});
        case.apply(cache).await?;
        case.wait_for_replicas("cache", 2).await?;
        let (url, manifest, go_on) = (case.service_url("cache"), origin.manifest_url(), origin.url(GO_ON));
        let asked: Vec<&str> = paths.iter().map(String::as_str).collect();
        let machines = Download {
            parallel: MACHINES,
            paths: &asked,
            repeat_while: Some(&go_on),
            ..Download::whole("machines", &url, &manifest)
        };

        let restart = async {
            // All of them have begun: each object was asked for at the origin.
            let mut look = tokio::time::interval(std::time::Duration::from_millis(200));
            while origin.totals(client).await?.requests < u64::from(MACHINES) {
                look.tick().await;
            }
            let before = pod_uids(case).await?;
            // Any change of what the pods run with replaces them one after the other.
            let change = json!({"spec": {"rollout": {"drainSeconds": 16}}});
            case.api::<ConnectedCache>()
                .patch("cache", &PatchParams::default(), &Patch::Merge(&change))
                .await?;
            let replaced = async {
                loop {
                    look.tick().await;
                    let pods = case.cache_pods("cache").await?;
                    let uids: BTreeSet<_> = pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
                    if pods.len() == 2 && pods.iter().all(is_ready) && uids.is_disjoint(&before) {
                        return anyhow::Ok(());
                    }
                }
            };
            let outcome = tokio::time::timeout(connected_cache_tests::kubernetes::PATIENCE, replaced).await;
            // Whatever came of it, the machines shall end.
            origin.set_faults(client, &json!([{"path": GO_ON, "status": 404}])).await?;
            outcome??;
            anyhow::Ok(())
        };
        let (report, restarted) = tokio::join!(machines.run(client, &case.namespace), restart);
        restarted?;
        let report = report?;
        ensure!(report.errors == 0, "{report:?}");
        ensure!(report.objects > u64::from(MACHINES), "the machines downloaded once only: {report:?}");
        println!("{} downloads, {} bytes, none failed or wrong", report.objects, report.bytes);
        Ok(())
    })
    .await
}

async fn pod_uids(case: &Case) -> Result<BTreeSet<String>> {
    Ok(case.cache_pods("cache").await?.into_iter().filter_map(|pod| pod.metadata.uid).collect())
}
