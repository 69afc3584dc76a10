//! The pods of a cache as one cache: what one of them has, the others don't fetch, whoever comes and goes.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use connected_cache_api::ConnectedCache;
use connected_cache_tests::kubernetes::{PATIENCE, is_ready, wait_for};
use connected_cache_tests::lab::LAB_LABEL;
use connected_cache_tests::origin::{Content, Origin};
use connected_cache_tests::windows_client::Download;
use connected_cache_tests::{CachePod, Case, in_namespace};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

const MIB: u64 = 1024 * 1024;
/// Eight groups of pieces and a bit, so that every pod is the home of some; the last piece is a short one.
const LENGTH: u64 = 64 * MIB + 12_345;
/// Of each hundred bytes of content, so many may cross the internet where pods share.
const ONE_COPY_PERCENT: u64 = 105;
/// The same where thirty clients begin at once.
const CROWD_PERCENT: u64 = 110;
/// How often what is not there yet is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Served by the origin for as long as the machines shall go on.
const GO_ON: &str = "/go-on";
/// Objects that are new to the cache while its certificates change.
const NEW_OBJECTS: usize = 60;

#[tokio::test]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn three_pods_cost_the_internet_link_one_copy() -> Result<()> {
    in_namespace("sharing", async |case: &Case| {
        let client = &case.lab.client;
        let length = LENGTH.to_string();
        let content = Content::formulas(&[("/turns", &length, 51), ("/crowd", &length, 52)]);
        let origin = case.start_cache(&content, 3).await?;
        let pods = case.wait_for_members("cache", 3).await?;
        let manifest = origin.manifest_url();

        // One after the other, each by its own address.
        for (index, pod) in pods.iter().enumerate() {
            let (name, url) = (format!("turn-{index}"), pod.url());
            let turn = Download { paths: &["/turns"], ..Download::whole(&name, &url, &manifest) };
            turn.run(client, &case.namespace).await?;
        }
        let turns = origin.body_bytes_of(client, "/turns").await?;
        ensure_at_most("three pods in turn", turns, LENGTH, ONE_COPY_PERCENT)?;

        // Thirty at once, ten through each pod.
        let machines = pods.iter().enumerate().map(async |(index, pod)| {
            let (name, url) = (format!("crowd-{index}"), pod.url());
            let crowd =
                Download { paths: &["/crowd"; 10], parallel: 10, ..Download::whole(&name, &url, &manifest) };
            crowd.run(client, &case.namespace).await
        });
        let reports = try_join_all(machines).await?;
        ensure!(reports.iter().map(|report| report.objects).sum::<u64>() == 30, "{reports:?}");
        let crowd = origin.body_bytes_of(client, "/crowd").await?;
        ensure_at_most("thirty clients at once", crowd, LENGTH, CROWD_PERCENT)?;

        // The pods know it themselves: all that they fetched, and of that what came once too often.
        let fetched: u64 = case.metric("cache", "connectedcache_origin_bytes_total").await?.values().sum();
        let strayed: u64 =
            case.metric("cache", "connectedcache_origin_strayed_bytes_total").await?.values().sum();
        ensure!(
            fetched == turns + crowd,
            "the pods counted {fetched} bytes of {} from the origin",
            turns + crowd
        );
        ensure_at_most("by the counts of the pods", fetched, fetched - strayed, CROWD_PERCENT)?;
        let shared: u64 = case.metric("cache", "connectedcache_sharing_bytes_total").await?.values().sum();
        println!("origin: {turns} bytes in turn, {crowd} with a crowd, of {LENGTH}; between pods: {shared}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn pods_come_and_go_and_the_internet_link_notices_nothing() -> Result<()> {
    in_namespace("sharing-scale", async |case: &Case| {
        let client = &case.lab.client;
        let length = LENGTH.to_string();
        let new: Vec<String> = (0..NEW_OBJECTS).map(|number| format!("/new/{number}")).collect();
        let mut objects = vec![("/early", length.as_str(), 61), ("/late", &length, 62), (GO_ON, "1", 63)];
        objects.extend(new.iter().zip(64..).map(|(path, seed)| (path.as_str(), "9000000", seed)));
        let origin = Origin::start(client, &case.namespace, &Content::formulas(&objects)).await?;
        let mut cache = case.cache_object("cache", &origin, 2);
        // As users get it: drained until every load balancer has noticed.
        cache["spec"]["rollout"] = json!({});
        case.apply(cache).await?;
        case.wait_for_replicas("cache", 2).await?;
        let two = case.wait_for_members("cache", 2).await?;
        read_from(case, &origin, "early", &two[0], &["/early"]).await?;

        // Step 1: a third pod comes, and fills from its siblings.
        scale(case, 3).await?;
        let three = case.wait_for_members("cache", 3).await?;
        read_from(case, &origin, "third", &three[2], &["/early"]).await?;
        let early = origin.body_bytes_of(client, "/early").await?;
        ensure_at_most("a pod that came", early, LENGTH, ONE_COPY_PERCENT)?;

        // Step 2: it goes, and hands over what only it has.
        read_from(case, &origin, "late", &three[2], &["/late"]).await?;
        let alone = stored_pieces(case, "/late", &three[..2]).await?;
        ensure!(alone < LENGTH.div_ceil(MIB), "the others have all {alone} pieces of /late by themselves");
        scale(case, 2).await?;
        let gone = |pod: Option<&Pod>| pod.is_none();
        wait_for(case.api::<Pod>(), &three[2].name, "gone", gone).await?;
        let two = case.wait_for_members("cache", 2).await?;
        for (index, pod) in two.iter().enumerate() {
            read_from(case, &origin, &format!("again-{index}"), pod, &["/early", "/late"]).await?;
        }
        for path in ["/early", "/late"] {
            let crossed = origin.body_bytes_of(client, path).await?;
            ensure_at_most(&format!("a pod that went: {path}"), crossed, LENGTH, ONE_COPY_PERCENT)?;
        }

        // Step 3: every pod is replaced, and step 4: gets another certificate, while machines download.
        rolling_restart(case, &origin).await?;
        for path in ["/early", "/late"] {
            let crossed = origin.body_bytes_of(client, path).await?;
            ensure_at_most(&format!("a rolling restart: {path}"), crossed, LENGTH, ONE_COPY_PERCENT)?;
        }
        rotate_certificates(case, &origin, &new).await
    })
    .await
}

/// Replaces all pods one after the other, while machines download what is there.
async fn rolling_restart(case: &Case, origin: &Origin) -> Result<()> {
    let client = &case.lab.client;
    let (url, manifest, go_on) = (case.service_url("cache"), origin.manifest_url(), origin.url(GO_ON));
    let machines = Download {
        parallel: 4,
        paths: &["/early", "/late", "/late", "/early"],
        repeat_while: Some(&go_on),
        ..Download::whole("machines", &url, &manifest)
    };
    let restart = async {
        let outcome = replace_pods(case).await;
        // Whatever came of it, the machines shall end.
        origin.set_faults(client, &json!([{"path": GO_ON, "status": 404}])).await?;
        outcome
    };
    let (report, restarted) = tokio::join!(machines.run(client, &case.namespace), restart);
    restarted?;
    println!("rolling restart: {:?}", report?);
    Ok(())
}

/// Changes what the pods run with, and waits until all of them are others.
async fn replace_pods(case: &Case) -> Result<()> {
    let uids = async || {
        let pods = case.cache_pods("cache").await?;
        let ready = pods.len() == 2 && pods.iter().all(is_ready);
        let uids: BTreeSet<_> = pods.into_iter().filter_map(|pod| pod.metadata.uid).collect();
        anyhow::Ok((ready, uids))
    };
    let (_, before) = uids().await?;
    let change = json!({"spec": {"rollout": {"drainSeconds": 16}}});
    case.api::<ConnectedCache>().patch("cache", &PatchParams::default(), &Patch::Merge(&change)).await?;
    let mut look = tokio::time::interval(LOOK_EVERY);
    let replaced = tokio::time::timeout(PATIENCE, async {
        loop {
            look.tick().await;
            let (ready, now) = uids().await?;
            if ready && now.is_disjoint(&before) {
                return anyhow::Ok(());
            }
        }
    });
    replaced.await.context("not all pods were replaced")??;
    case.wait_for_members("cache", 2).await.map(drop)
}

/// Has the certificate of the pods made anew, while machines ask for what is new to the cache. From one object to the next the
/// pods speak to each other with the old one, or the new one, or one with each.
async fn rotate_certificates(case: &Case, origin: &Origin, new: &[String]) -> Result<()> {
    let client = &case.lab.client;
    let (url, manifest) = (case.service_url("cache"), origin.manifest_url());
    let before = certificate_ends(case).await?;
    let secrets = case.api::<Secret>();
    let old = secrets.get("cache-peers").await.context("the pods have no certificate")?.uid();
    secrets.delete("cache-peers", &DeleteParams::default()).await?;
    // The operator may not watch Secrets; a change of the cache has it look now, and not within ten minutes.
    let change = json!({"metadata": {"annotations": {LAB_LABEL: "rotated"}}});
    case.api::<ConnectedCache>().patch("cache", &PatchParams::default(), &Patch::Merge(&change)).await?;
    wait_for(secrets, "cache-peers", "made again", |secret: Option<&Secret>| {
        secret.is_some_and(|secret| secret.uid() != old)
    })
    .await?;
    for pod in case.pods("cache").await? {
        // A change of the pod has its kubelet look at its volumes now, and not within a minute or two.
        case.api::<Pod>().patch(&pod.name, &PatchParams::default(), &Patch::Merge(&change)).await?;
    }
    let (mut fetched, mut rounds_after) = (0, 0);
    for (number, objects) in new.chunks(3).enumerate() {
        let paths: Vec<&str> = objects.iter().map(String::as_str).collect();
        let name = format!("rotation-{number}");
        let machines = Download { paths: &paths, parallel: 3, ..Download::whole(&name, &url, &manifest) };
        fetched += machines.run(client, &case.namespace).await?.bytes;
        let now = certificate_ends(case).await?;
        // One round more once all pods show the new one.
        rounds_after += usize::from(now.iter().zip(&before).all(|(now, before)| now != before));
        if rounds_after > 1 {
            break;
        }
    }
    ensure!(
        rounds_after > 1,
        "the pods still have their old certificates: {:?}",
        certificate_ends(case).await?
    );
    let mut crossed = 0;
    for path in new {
        crossed += origin.body_bytes_of(client, path).await?;
    }
    println!("certificates rotated under {fetched} bytes, {crossed} of them from the origin");
    ensure_at_most("other certificates", crossed, fetched, ONE_COPY_PERCENT)
}

/// When the certificates end that the pods show each other, in seconds since 1970.
async fn certificate_ends(case: &Case) -> Result<Vec<u64>> {
    let mut ends = Vec::new();
    for pod in case.pods("cache").await? {
        let listeners = case.samples(&pod, "connectedcache_tls_certificate_expiry_timestamp_seconds").await?;
        let end = listeners.into_iter().find(|(labels, _)| labels.contains(r#"listener="peers""#));
        ends.push(end.with_context(|| format!("{} has no certificate for its siblings", pod.name))?.1);
    }
    Ok(ends)
}

async fn scale(case: &Case, replicas: i32) -> Result<()> {
    let scale = json!({"spec": {"replicas": replicas}});
    let caches = case.api::<ConnectedCache>();
    caches.patch_scale("cache", &PatchParams::default(), &Patch::Merge(&scale)).await?;
    case.wait_for_replicas("cache", replicas).await.map(drop)
}

/// One machine reads these objects from one pod.
async fn read_from(case: &Case, origin: &Origin, name: &str, pod: &CachePod, paths: &[&str]) -> Result<()> {
    let (url, manifest) = (pod.url(), origin.manifest_url());
    let download = Download { paths, ..Download::whole(name, &url, &manifest) };
    download.run(&case.lab.client, &case.namespace).await.map(drop)
}

/// Pieces of an object that these pods store, in sum.
async fn stored_pieces(case: &Case, path: &str, pods: &[CachePod]) -> Result<u64> {
    let mut pieces = 0;
    for pod in pods {
        let stored = case.stored_in(&pod.name).await?;
        pieces +=
            stored.iter().filter(|stored| stored.is_at(path)).map(|stored| stored.stored_pieces).sum::<u64>();
    }
    Ok(pieces)
}

/// An error when more than so many percent of `of` bytes crossed the internet.
fn ensure_at_most(what: &str, bytes: u64, of: u64, percent: u64) -> Result<()> {
    ensure!(
        bytes * 100 <= of * percent,
        "{what}: {bytes} bytes from the origin for {of}, at most {percent} % are allowed"
    );
    Ok(())
}
