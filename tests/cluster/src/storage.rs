//! The default StorageClass: local-path-provisioner as a process, volumes as folders of the node where the pod runs.

use std::fmt::Write;

use kube::Client;
use serde_json::json;

use crate::{
    apply, components::Component, control_plane::ControlPlane, error::Result, images::BUSYBOX_IMAGE,
    node::Node, run_folder::write_whole,
};

const NAMESPACE: &str = "local-path-storage";
const SERVICE_ACCOUNT: &str = "local-path-provisioner";
const CONFIG_MAP: &str = "local-path-config";

/// The name of the default StorageClass, as kind calls it.
pub(crate) const STORAGE_CLASS: &str = "standard";

/// Anybody may write a new volume: pods run as any user, and folders know no fsGroup.
const SETUP: &str = "#!/bin/sh\nset -eu\nmkdir -m 0777 -p \"$VOL_DIR\"\n";
const TEARDOWN: &str = "#!/bin/sh\nset -eu\nrm -rf \"$VOL_DIR\"\n";

/// Makes the StorageClass and starts the provisioner.
pub(crate) async fn start(control_plane: &ControlPlane<'_>, client: &Client, nodes: &[Node]) -> Result<()> {
    let config = render_config(nodes);
    let helper_pod = render_helper_pod();
    apply::apply(
        client,
        vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
            json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": SERVICE_ACCOUNT, "namespace": NAMESPACE},
            }),
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE},
                "data": {"config.json": config, "setup": SETUP, "teardown": TEARDOWN, "helperPod.yaml": helper_pod},
            }),
            json!({
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {
                    "name": STORAGE_CLASS,
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                },
                "provisioner": "rancher.io/local-path",
                "volumeBindingMode": "WaitForFirstConsumer",
                "reclaimPolicy": "Delete",
            }),
        ],
    )
    .await?;
    let run = control_plane.run;
    let config_file = run.join("local-path.json");
    write_whole(&config_file, config.as_bytes(), 0o644)?;
    let helper_file = run.join("local-path-helper.yaml");
    write_whole(&helper_file, helper_pod.as_bytes(), 0o644)?;
    let arguments = [
        "start".to_owned(),
        format!("--config={}", config_file.display()),
        format!("--kubeconfig={}", run.kubeconfig().display()),
        format!("--namespace={NAMESPACE}"),
        format!("--configmap-name={CONFIG_MAP}"),
        format!("--service-account-name={SERVICE_ACCOUNT}"),
        format!("--helper-image={BUSYBOX_IMAGE}"),
        format!("--helper-pod-file={}", helper_file.display()),
    ];
    control_plane.launch(
        "local-path-provisioner",
        Component::LocalPathProvisioner,
        &arguments,
        &[("POD_NAMESPACE", NAMESPACE)],
    )
}

fn render_config(nodes: &[Node]) -> String {
    let map: Vec<_> =
        nodes.iter().map(|node| json!({"node": node.name(), "paths": [node.volumes()]})).collect();
    json!({"nodePathMap": map}).to_string()
}

fn render_helper_pod() -> String {
    let mut text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: helper-pod\nspec:\n".to_owned();
    let _ = write!(
        text,
        "  priorityClassName: system-node-critical
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  containers:
  - name: helper-pod
    image: {BUSYBOX_IMAGE}
    imagePullPolicy: IfNotPresent
"
    );
    text
}
