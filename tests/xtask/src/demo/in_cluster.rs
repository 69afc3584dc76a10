//! The demo on a real cluster.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use connected_cache_tests::diagnose::describe_namespace;
use connected_cache_tests::kubernetes::{PATIENCE, ensure_restricted_namespace, node_names};
use connected_cache_tests::lab::{CRD_NAME, Lab, OPERATOR_NAMESPACE};
use connected_cache_tests::origin::{self, Origin};
use connected_cache_tests::windows_client::{Download, Mode};
use connected_cache_tests::{Case, ControlPlane};
use serde::Deserialize;
use serde_json::json;

use super::Options;
use super::content::Content;
use super::figures::{self, Row, table};
use crate::image::{self, Built};
use crate::run;
use crate::target::Target;

const NAMESPACE: &str = "connected-cache-demo";
const CACHE: &str = "demo";
const REPLICAS: i32 = 2;

/// Brings everything up, shows it, and removes it again.
pub(super) async fn show(options: &Options) -> Result<()> {
    let started = Instant::now();
    let say = |text: &str| println!("\n[{:>4.0} s] {text}", started.elapsed().as_secs_f64());

    say("building the container images");
    let binaries = image::binaries()?;
    let mut images = image::of_binaries(&binaries)?;
    say("a Kubernetes cluster");
    let target = Target::prepare(options.keep).await?;
    let outcome = target
        .interruptible(async {
            say("reading the files to download");
            let content = Content::choose(options.content.as_deref(), &binaries).await?;
            let origin_image = image::with_content(&binaries, &content.tag(), &content.folder)?;
            images.push(origin_image.clone());
            say("loading the images");
            target.load(&images).await?;
            let lab = target.lab().await?;
            let shown = on_lab(&lab, &target, &content, &origin_image, &say).await;
            if shown.is_err() {
                for namespace in [NAMESPACE, OPERATOR_NAMESPACE] {
                    eprintln!("{}", describe_namespace(&lab.client, namespace).await);
                }
            }
            shown
        })
        .await;
    if options.keep {
        say("kept, as asked");
        keep_hint(&target);
        target.keep();
        return outcome;
    }
    say("removing everything");
    let removed = target.end().await;
    let outcome = outcome.and(removed);
    say(if outcome.is_ok() { "done" } else { "failed" });
    outcome
}

async fn on_lab(
    lab: &Lab,
    target: &Target,
    content: &Content,
    origin_image: &Built,
    say: &dyn Fn(&str),
) -> Result<()> {
    say("helm install");
    println!("{}", lab.install(&[]).await?.trim_end());

    say("the \"internet\": a mock origin that counts what it sends");
    ensure_restricted_namespace(&lab.client, NAMESPACE).await?;
    let served = origin::Content {
        image: Some(origin_image.reference.clone()),
        content: json!({"folder": "/content"}),
        control_plane: Some(json!({})),
    };
    let origin = Origin::start(&lab.client, NAMESPACE, &served).await?;
    check_manifest(lab, &origin, content).await?;
    say("the Delivery Optimization services, mocked by the same pod: they vouch for the hash of each piece");
    let control_plane = ControlPlane::of(&lab.client, &origin).await?;
    println!("{} pieces of 1 MiB", control_plane.make_piece_hashes(&lab.client).await?);

    say("kubectl apply");
    let case = Case { lab: lab.clone(), namespace: NAMESPACE.to_owned() };
    let mut object = case.cache_object(CACHE, &origin, REPLICAS.unsigned_abs());
    // The machines of the demo are pods, and the cluster has no load balancer.
    object["spec"]["storage"]["volumes"][0]["size"] = json!(claim_size(content.length()));
    object["spec"]["expose"] = json!({"type": "ClusterIP"});
    object["spec"]["controlPlane"] = control_plane.spec();
    println!("{}", serde_saphyr::to_string(&object)?.trim_end());
    case.apply(object).await?;
    case.wait_for_replicas(CACHE, REPLICAS).await?;
    say("the cache is Ready");
    kubectl(target, &["get", "connectedcache,statefulset,pod,pvc,service", "-n", NAMESPACE, "-o", "wide"])?;

    say("downloads through the Service, as a Windows machine asks");
    let (rows, crossed) = downloads(&case, &origin, content).await?;
    println!("{}", table(&rows));
    let copies = u64::from(REPLICAS.unsigned_abs());
    ensure!(
        crossed <= copies * content.length(),
        "{crossed} bytes crossed the internet, more than a copy for each of {copies} pods of {} bytes",
        content.length()
    );
    println!("every SHA-256 is that of the file on this machine");
    println!("{}", figures::checked(&case.stored(CACHE).await?));
    Ok(())
}

/// The downloads, one after the other, each on the next node; and the bytes of content that crossed the "internet".
async fn downloads(case: &Case, origin: &Origin, content: &Content) -> Result<(Vec<Row>, u64)> {
    let client = &case.lab.client;
    let nodes = node_names(client).await?;
    ensure!(!nodes.is_empty(), "the cluster has no node that takes pods");
    let (url, manifest) = (case.service_url(CACHE), origin.manifest_url());
    let plan = [
        ("first machine, cold, whole files", "machine-1", Mode::Whole),
        ("second machine, whole files", "machine-2", Mode::Whole),
        ("third machine, ranges of 1 MiB", "machine-3", Mode::Ranges),
        ("fourth machine, whole files", "machine-4", Mode::Whole),
    ];
    // Room for a slow disk: a megabyte a second.
    let patience = PATIENCE + Duration::from_secs(content.length() / 1_000_000);
    let (mut rows, mut content_bytes) = (Vec::new(), 0);
    for (index, (what, name, mode)) in plan.into_iter().enumerate() {
        origin.clear(client).await?;
        let node = &nodes[(index + 1) % nodes.len()];
        let whole = Download::whole(name, &url, &manifest);
        let download = Download { node: Some(node), mode, parallel: 4, patience, ..whole };
        let report = download.run(client, NAMESPACE).await?;
        ensure!(report.objects == content.files.len() as u64, "{what}: {} objects", report.objects);
        let crossed = origin.totals(client).await?.body_bytes;
        content_bytes += origin.content_bytes(client).await?;
        rows.push(Row {
            what: format!("{what} ({node})"),
            bytes: report.bytes,
            seconds: report.seconds,
            hits: report.hits,
            misses: report.misses,
            crossed,
        });
    }
    Ok((rows, content_bytes))
}

/// The client checks hashes against the origin's list; this checks that list against the files on this machine.
async fn check_manifest(lab: &Lab, origin: &Origin, content: &Content) -> Result<()> {
    #[derive(Deserialize)]
    struct Object {
        path: String,
        length: u64,
        sha256: String,
    }
    let text = origin.manifest(&lab.client).await?;
    let objects: Vec<Object> =
        serde_json::from_str(&text).context("the origin's list of objects can't be read")?;
    ensure!(objects.len() == content.files.len(), "the origin serves {} objects", objects.len());
    for object in objects {
        let entry = content.files.get(&decoded(&object.path));
        let same = entry.is_some_and(|entry| entry.length == object.length && entry.sha256 == object.sha256);
        ensure!(same, "{} at the origin is not the file on this machine", object.path);
    }
    println!("{} files, {} bytes", content.files.len(), content.length());
    Ok(())
}

fn keep_hint(target: &Target) {
    let (kubeconfig, kubectl) = (target.kubeconfig().display(), target.kubectl().display());
    println!("look:    export KUBECONFIG={kubeconfig}; {kubectl} get connectedcaches -A");
    if target.is_throwaway() {
        println!("remove:  cargo xtask cluster down");
    } else {
        println!(
            "remove:  kubectl delete namespace {NAMESPACE}; helm uninstall connected-cache -n {OPERATOR_NAMESPACE}; kubectl \
             delete namespace {OPERATOR_NAMESPACE}; kubectl delete crd {CRD_NAME}"
        );
    }
}

/// Runs the real kubectl, so that what is shown is what a person sees.
fn kubectl(target: &Target, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(target.kubectl());
    command.env("KUBECONFIG", target.kubeconfig()).args(arguments);
    run::check(&mut command)
}

/// A claim that holds all of the content with room to spare, so that the demo shows no eviction.
fn claim_size(content: u64) -> String {
    format!("{}Gi", 2 + content.div_ceil(1 << 30) * 5 / 4)
}

/// A request path as the name of a file: `%20` is a space.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%');
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{claim_size, decoded};

    #[test]
    fn escaped_paths_name_files() {
        assert_eq!(decoded("/a%20b/%C3%BC%25.cab"), "/a b/\u{fc}%.cab");
        assert_eq!(decoded("/50%/x%zz"), "/50%/x%zz");
    }

    #[test]
    fn a_claim_is_larger_than_its_content() {
        assert_eq!(claim_size(1), "3Gi");
        assert_eq!(claim_size(8 << 30), "12Gi");
    }
}
