//! The bare API server: no root, a fresh one per test, and nothing stays.

use std::{path::Path, process::Command};

use connected_cache_cluster::ApiServer;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};

#[tokio::test]
#[ignore = "needs Go, and minutes when the components must be built first"]
async fn an_api_server_takes_objects_and_leaves_nothing() {
    let server = ApiServer::start().await.unwrap();
    let folder = server.kubeconfig().parent().unwrap().to_owned();
    let api: Api<ConfigMap> = Api::namespaced(server.client().await.unwrap(), "default");
    let object = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    api.patch("a", &PatchParams::apply("test"), &Patch::Apply(object)).await.unwrap();

    let kubectl = |arguments: &[&str]| {
        let output = Command::new(server.kubectl())
            .arg("--kubeconfig")
            .arg(server.kubeconfig())
            .args(arguments)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(kubectl(&["get", "configmap", "a", "-o", "jsonpath={.data.k}"]), "v");
    let version = kubectl(&["version"]);
    assert_eq!(
        version.matches("v1.34.").count(),
        2,
        "client and server report their pinned version: {version}"
    );

    let pids = std::fs::read_to_string(folder.join("pids")).unwrap();
    server.stop();
    assert!(!folder.exists(), "{} is still there", folder.display());
    for pid in pids.split_whitespace() {
        assert!(!Path::new("/proc").join(pid).exists(), "process {pid} still runs");
    }
}

#[tokio::test]
#[ignore = "needs Go, and minutes when the components must be built first"]
async fn two_api_servers_do_not_meet() {
    let (first, second) = tokio::join!(ApiServer::start(), ApiServer::start());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.kubeconfig(), second.kubeconfig());
    for server in [first, second] {
        let version = server.client().await.unwrap().apiserver_version().await.unwrap();
        assert_eq!(version.git_version, "v1.34.4");
    }
}
