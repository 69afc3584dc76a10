//! The CRD on a real API server: what it takes, what it refuses and with which words.
//!
//! `operator/api` tests every rule by itself without a server; here the server's own schema, defaulting and cost limits are
//! part of the game.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use connected_cache_api::ConnectedCache;
use connected_cache_api::spec::ControlPlaneMode;
use connected_cache_cluster::ApiServer;
use connected_cache_tests::kubernetes::{PATIENCE, apply, define_connected_cache};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

const NAMESPACE: &str = "default";

/// One API server with the CRD, for all steps: starting one takes longer than all of them.
#[tokio::test]
#[ignore = "needs etcd and kube-apiserver: run by cargo xtask test"]
async fn a_real_api_server_defaults_accepts_refuses_and_explains() -> Result<()> {
    let server = ApiServer::start().await?;
    let client = server.client().await?;
    define_connected_cache(&client).await?;

    an_empty_spec_is_stored_with_its_defaults(&client).await?;
    good_specs_are_taken(&client).await?;
    bad_specs_are_refused_with_words_that_help(&client).await?;
    forbidden_changes_are_refused(&client).await?;
    scaling_goes_through_its_subresource(&client).await?;
    the_manifest_of_the_mock_is_taken(&client).await?;
    explain_names_every_block(&server).await?;
    server.stop();
    Ok(())
}

fn object(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "connectedcache.dev/v1alpha1", "kind": "ConnectedCache",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    })
}

fn api(client: &Client) -> Api<ConnectedCache> {
    Api::namespaced(client.clone(), NAMESPACE)
}

async fn refusal(client: &Client, name: &str, spec: &Value) -> Result<String> {
    match apply(client, object(name, spec)).await {
        Ok(_) => anyhow::bail!("accepted: {spec}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

async fn an_empty_spec_is_stored_with_its_defaults(client: &Client) -> Result<()> {
    apply(client, object("empty", &json!({}))).await?;
    let stored = api(client).get("empty").await?;
    ensure!(stored.spec.replicas == 2, "replicas: {}", stored.spec.replicas);
    let volumes: BTreeMap<_, _> = stored
        .spec
        .storage
        .volumes
        .iter()
        .map(|volume| (volume.name.as_str(), volume.size.as_str()))
        .collect();
    ensure!(volumes == BTreeMap::from([("data", "100Gi")]), "volumes: {volumes:?}");
    let mode = stored.spec.control_plane.mode;
    ensure!(mode == ControlPlaneMode::None, "nobody chose the control plane {mode:?}");
    Ok(())
}

async fn good_specs_are_taken(client: &Client) -> Result<()> {
    let specs = [
        json!({"replicas": 0}),
        json!({"storage": {"volumes": [{"name": "a", "size": "500Gi", "storageClassName": "fast"}, {"name": "b"}]}}),
        json!({"content": {"extraOrigins": [{"host": "*.example.edu"}], "denyOrigins": ["ads.example.com"]}}),
        json!({"upstream": {"resolve": [{"host": "dl.delivery.mp.microsoft.com", "address": "10.0.0.1:80"}]}}),
        json!({"expose": {"type": "ClusterIP", "hostnames": ["cache.example.edu"]}}),
        json!({"sharing": {"mode": "Off"}}),
        json!({"controlPlane": {"mode": "Microsoft"}}),
        json!({"controlPlane": {"mode": "Custom", "geoUrl": "https://geo.example.edu:8443/geo", "caConfigMap": {"name": "lab-ca"}}}),
    ];
    for (index, spec) in specs.iter().enumerate() {
        apply(client, object(&format!("good-{index}"), spec))
            .await
            .with_context(|| format!("refused: {spec}"))?;
    }
    Ok(())
}

async fn bad_specs_are_refused_with_words_that_help(client: &Client) -> Result<()> {
    let cases = [
        (json!({"replicas": 65}), "64"),
        (json!({"replicaCount": 2}), "replicaCount"),
        (json!({"storage": {"volumes": []}}), "spec.storage.volumes"),
        (json!({"storage": {"volumes": [{"name": "a"}, {"name": "a"}]}}), "duplicate entries for key"),
        (json!({"storage": {"volumes": [{"name": "data", "size": "512Mi"}]}}), "at least 1Gi"),
        (json!({"content": {"extraOrigins": [{"host": "https://example.edu"}]}}), "without scheme"),
        (json!({"expose": {"type": "Gateway"}}), "LoadBalancer"),
        (json!({"expose": {"type": "ClusterIP", "loadBalancerClass": "x"}}), "remove it or change the type"),
        (json!({"controlPlane": {"mode": "Private"}}), "Microsoft"),
        (json!({"sharing": {"mode": "Members"}}), "Off"),
        (json!({"controlPlane": {"mode": "Custom"}}), "geoUrl is required"),
        (
            json!({"controlPlane": {"mode": "Custom", "geoUrl": "http://geo.example.edu/geo"}}),
            "https URL without query",
        ),
        (json!({"controlPlane": {"geoUrl": "https://geo.example.edu/geo"}}), "set the mode to Custom"),
        (
            json!({"controlPlane": {"mode": "Microsoft", "caConfigMap": {"name": "lab-ca"}}}),
            "set the mode to Custom",
        ),
    ];
    for (spec, words) in cases {
        let message = refusal(client, "bad", &spec).await?;
        ensure!(message.contains(words), "{spec}: the refusal lacks {words:?}: {message}");
    }
    let long = "a".repeat(53);
    let message = refusal(client, &long, &json!({})).await?;
    ensure!(message.contains("at most 52"), "a name of 53 letters: {message}");
    Ok(())
}

async fn forbidden_changes_are_refused(client: &Client) -> Result<()> {
    let volumes = |size: &str, class: Option<&str>| {
        let mut volume = json!({"name": "data", "size": size});
        if let Some(class) = class {
            volume["storageClassName"] = json!(class);
        }
        json!({"storage": {"volumes": [volume]}})
    };
    apply(client, object("volumes", &volumes("100Gi", Some("fast")))).await?;
    apply(client, object("volumes", &volumes("0.2Ti", Some("fast"))))
        .await
        .map_or(Ok(()), |_| anyhow::bail!("a size with a fraction was accepted"))?;
    apply(client, object("volumes", &volumes("200Gi", Some("fast")))).await.context("growing was refused")?;
    let message = refusal(client, "volumes", &volumes("150Gi", Some("fast"))).await?;
    ensure!(message.contains("cannot shrink"), "shrinking: {message}");
    let message = refusal(client, "volumes", &volumes("200Gi", Some("slow"))).await?;
    ensure!(message.contains("storage class of a volume cannot change"), "another class: {message}");
    Ok(())
}

async fn scaling_goes_through_its_subresource(client: &Client) -> Result<()> {
    let scale = json!({"spec": {"replicas": 3}});
    api(client).patch_scale("empty", &PatchParams::default(), &Patch::Merge(&scale)).await?;
    let stored = api(client).get("empty").await?;
    ensure!(stored.spec.replicas == 3, "after scaling to 3: {}", stored.spec.replicas);
    Ok(())
}

async fn the_manifest_of_the_mock_is_taken(client: &Client) -> Result<()> {
    let manifest = include_str!("../control-plane/manifests/mock-control-plane.yaml");
    for text in manifest.split("\n---\n") {
        let mut object: Value = serde_saphyr::from_str(text)?;
        object["metadata"]["namespace"] = json!(NAMESPACE);
        // Server-side apply refuses every field that the kind does not have.
        apply(client, object).await?;
    }
    Ok(())
}

async fn explain_names_every_block(server: &ApiServer) -> Result<()> {
    let explain = || {
        let output = Command::new(server.kubectl())
            .args(["explain", "connectedcache.spec", "--kubeconfig"])
            .arg(server.kubeconfig())
            .output()?;
        anyhow::Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    // The API server publishes the schema a moment after the definition is established.
    let mut look = tokio::time::interval(Duration::from_millis(200));
    let published = tokio::time::timeout(PATIENCE, async {
        loop {
            look.tick().await;
            if let (true, text) = explain()? {
                return anyhow::Ok(text);
            }
        }
    });
    let text = published.await.context("kubectl explain never knew the kind")??;
    for field in
        ["replicas", "storage", "content", "upstream", "controlPlane", "sharing", "expose", "rollout"]
    {
        ensure!(text.contains(&format!("  {field}\t<")), "kubectl explain does not show {field}: {text}");
    }
    Ok(())
}
