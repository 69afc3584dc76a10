//! Configuration files of a node's programs, as text.

use std::path::Path;

use serde_json::json;

use crate::network::DNS_SERVICE;

/// containerd's configuration: everything of it below the node's folder.
pub(super) fn containerd(folder: &Path, socket: &Path, plugins: &Path, pause_image: &str) -> String {
    let (folder, socket, plugins) = (folder.display(), socket.display(), plugins.display());
    format!(
        r#"version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"

[grpc]
  address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  # Without the right to lower it (containers, some CI machines) every pod would fail to start.
  restrict_oom_score_adj = true
  # No profile of ours stays in the host's kernel.
  disable_apparmor = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{folder}/cni"
"#
    )
}

/// The CNI configuration of a node: a bridge with the node's pods, and host ports.
pub(super) fn pod_network(folder: &Path, subnet: &str) -> String {
    let list = json!({
        "cniVersion": "0.4.0",
        "name": "cc-pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": folder.join("addresses"),
                    "ranges": [[{"subnet": subnet}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    format!("{list:#}\n")
}

/// What the kubelet's configuration is made of.
pub(super) struct Kubelet<'a> {
    pub(super) folder: &'a Path,
    pub(super) socket: &'a Path,
    pub(super) cgroup: &'a str,
    pub(super) client_authority: &'a Path,
    pub(super) certificate: &'a Path,
    pub(super) key: &'a Path,
    pub(super) resolver: &'a Path,
}

impl Kubelet<'_> {
    /// JSON, which is YAML too.
    pub(super) fn render(&self) -> String {
        let configuration = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.client_authority},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": self.certificate,
            "tlsPrivateKeyFile": self.key,
            "containerRuntimeEndpoint": format!("unix://{}", self.socket.display()),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.cgroup,
            "failCgroupV1": false,
            "enforceNodeAllocatable": [],
            "failSwapOn": false,
            "oomScoreAdj": 0,
            "clusterDNS": [DNS_SERVICE],
            "clusterDomain": "cluster.local",
            "resolvConf": self.resolver,
            "podLogsDir": self.folder.join("logs"),
            "volumePluginDir": self.folder.join("volume-plugins"),
            "staticPodPath": "",
            "nodeStatusUpdateFrequency": "2s",
            "serializeImagePulls": false,
            // Nothing can be pulled again, so nothing is collected, and a nearly full disk of a developer is no reason to evict.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
                "imagefs.inodesFree": "1%",
            },
        });
        format!("{configuration:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_containerd_lies_in_the_folder_of_its_node() {
        let text = containerd(
            Path::new("/run/n1"),
            Path::new("/run/n1/c.sock"),
            Path::new("/usr/lib/cni"),
            "localhost/pause:1",
        );
        for line in [
            r#"root = "/run/n1/containerd""#,
            r#"state = "/run/n1/containerd-state""#,
            r#"address = "/run/n1/c.sock""#,
            r#"path = "/run/n1/opt""#,
            r#"conf_dir = "/run/n1/cni""#,
            r#"sandbox_image = "localhost/pause:1""#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn the_pod_network_hands_out_the_subnet_of_its_node() {
        let list: serde_json::Value =
            serde_json::from_str(&pod_network(Path::new("/n2"), "10.244.2.0/24")).unwrap();
        let bridge = &list["plugins"][0];
        assert_eq!(bridge["ipam"]["ranges"][0][0]["subnet"], "10.244.2.0/24");
        assert_eq!(bridge["ipam"]["dataDir"], "/n2/addresses");
        assert_eq!(bridge["ipMasq"], false, "client addresses must stay");
    }

    #[test]
    fn the_kubelet_asks_cluster_dns_and_keeps_to_its_cgroup() {
        let path = Path::new("/n0");
        let kubelet = Kubelet {
            folder: path,
            socket: Path::new("/n0/c.sock"),
            cgroup: "/connected-cache-node0",
            client_authority: path,
            certificate: path,
            key: path,
            resolver: path,
        };
        let parsed: serde_json::Value = serde_json::from_str(&kubelet.render()).unwrap();
        assert_eq!(parsed["clusterDNS"], json!(["10.96.0.10"]));
        assert_eq!(parsed["cgroupRoot"], "/connected-cache-node0");
        assert_eq!(parsed["containerRuntimeEndpoint"], "unix:///n0/c.sock");
    }
}
