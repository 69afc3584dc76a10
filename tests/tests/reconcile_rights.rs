//! What the chart lets the operator do, and what the operator lets the pods do, by the rules of a real API server: enough for
//! their work, and nothing that the chart's README rules out.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use connected_cache_api::ConnectedCache;
use connected_cache_cluster::ApiServer;
use connected_cache_cluster::components::{self, Component};
use connected_cache_operator::Metrics;
use connected_cache_operator::controller::{self, Context};
use connected_cache_tests::kubernetes::{apply, define_connected_cache, wait_for};
use connected_cache_tests::lab::{OPERATOR_NAMESPACE, RELEASE, chart_folder};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

/// The namespace of the cache.
const CACHES: &str = "caches";

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver: run by cargo xtask test"]
async fn the_rights_of_the_chart_are_enough_and_those_of_pods_are_few() -> Result<()> {
    let server = ApiServer::start().await?;
    let admin = server.client().await?;
    define_connected_cache(&admin).await?;
    for name in [OPERATOR_NAMESPACE, CACHES] {
        apply(&admin, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await?;
    }
    let rules = rules_of_the_chart().await?;
    let subject = rules.iter().find_map(|rule| rule["subjects"][0]["name"].as_str().map(str::to_owned));
    let subject = subject.context("the chart binds its roles to nobody")?;
    for rule in rules {
        apply(&admin, rule).await?;
    }

    // Step 1: the operator, with nothing but these rights, makes a cache.
    let operator = client_as(&server, OPERATOR_NAMESPACE, &subject).await?;
    let image = "localhost/connected-cache-sidecar:test".parse()?;
    let context = Arc::new(Context::new(operator.clone(), image, Metrics::new()?, "test"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(async move {
        let shutdown = Box::pin(async move { drop(stopped.await) });
        controller::run(context, None, 1, futures::FutureExt::shared(shutdown)).await;
    });
    apply(
        &admin,
        json!({
            "apiVersion": "connectedcache.dev/v1alpha1", "kind": "ConnectedCache",
            "metadata": {"name": "campus", "namespace": CACHES}, "spec": {},
        }),
    )
    .await?;
    let caches: Api<ConnectedCache> = Api::namespaced(admin.clone(), CACHES);
    wait_for(caches, "campus", "accepted", |cache: Option<&ConnectedCache>| {
        let status = cache.and_then(|cache| cache.status.as_ref());
        status.is_some_and(|status| {
            status
                .conditions
                .iter()
                .any(|condition| condition.type_ == "Accepted" && condition.status == "True")
        })
    })
    .await?;

    // Step 2: what it watches, which no failed write would show, and what it may not do.
    for (group, resource) in [
        ("connectedcache.dev", "connectedcaches"),
        ("", "configmaps"),
        ("", "services"),
        ("", "serviceaccounts"),
        ("apps", "statefulsets"),
        ("rbac.authorization.k8s.io", "roles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
    ] {
        for verb in ["list", "watch"] {
            ensure!(may(&operator, verb, group, resource, CACHES, None).await?, "it can't {verb} {resource}");
        }
    }
    for (verb, group, resource) in [
        ("list", "", "secrets"),
        ("watch", "", "secrets"),
        ("delete", "", "secrets"),
        ("delete", "apps", "statefulsets"),
        ("escalate", "rbac.authorization.k8s.io", "roles"),
        ("bind", "rbac.authorization.k8s.io", "roles"),
        ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
        ("create", "", "pods"),
        ("impersonate", "", "serviceaccounts"),
        ("create", "", "serviceaccounts/token"),
    ] {
        let may = may(&operator, verb, group, resource, CACHES, None).await?;
        ensure!(!may, "the operator may {verb} {resource}");
    }

    // Step 3: what the pods may, which is the same with a token of theirs.
    let pods = client_as(&server, CACHES, "campus-pods").await?;
    for (verb, group, resource, namespace, name, expected) in [
        ("list", "discovery.k8s.io", "endpointslices", CACHES, None, true),
        ("watch", "discovery.k8s.io", "endpointslices", CACHES, None, true),
        ("list", "discovery.k8s.io", "endpointslices", OPERATOR_NAMESPACE, None, false),
        ("patch", "discovery.k8s.io", "endpointslices", CACHES, None, false),
        ("get", "apps", "statefulsets", CACHES, Some("campus"), true),
        ("get", "apps", "statefulsets", CACHES, Some("another"), false),
        ("list", "apps", "statefulsets", CACHES, None, false),
        ("patch", "apps", "statefulsets", CACHES, Some("campus"), false),
        ("get", "", "secrets", CACHES, Some("campus-peers-ca"), false),
        ("get", "", "secrets", CACHES, Some("campus-peers"), false),
        ("get", "", "configmaps", CACHES, Some("campus-config"), false),
    ] {
        let may = may(&pods, verb, group, resource, namespace, name).await?;
        ensure!(may == expected, "pods may {verb} {resource} {name:?} of {namespace}: {may}");
    }

    drop(stop);
    running.await?;
    Ok(())
}

/// Roles and bindings as helm renders them.
async fn rules_of_the_chart() -> Result<Vec<Value>> {
    let helm = components::ensure(&[Component::Helm]).await?;
    let mut render = Command::new(helm.path(Component::Helm));
    render.args(["template", RELEASE]).arg(chart_folder()).args(["--namespace", OPERATOR_NAMESPACE]);
    let output = render.args(["--show-only", "templates/rbac.yaml"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let rules: Vec<Value> = text
        .split("\n---\n")
        .filter(|document| document.contains("kind:"))
        .map(|document| serde_saphyr::from_str(document).context("helm rendered what is not YAML"))
        .collect::<Result<_>>()?;
    ensure!(rules.len() == 6, "the chart has {} roles and bindings", rules.len());
    Ok(rules)
}

/// A client that the API server takes for this ServiceAccount.
async fn client_as(server: &ApiServer, namespace: &str, account: &str) -> Result<Client> {
    let mut kubeconfig = Kubeconfig::read_from(server.kubeconfig())?;
    let user = kubeconfig.auth_infos.first_mut().and_then(|user| user.auth_info.as_mut());
    let user = user.context("a kubeconfig without a user")?;
    user.impersonate = Some(format!("system:serviceaccount:{namespace}:{account}"));
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// What the API server says to whom the client stands for.
async fn may(
    client: &Client,
    verb: &str,
    group: &str,
    resource: &str,
    namespace: &str,
    name: Option<&str>,
) -> Result<bool> {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                namespace: Some(namespace.to_owned()),
                name: name.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.context("a review without an answer")?.allowed)
}
