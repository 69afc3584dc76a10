//! The StatefulSet: one pod for each replica, with its own volumes, restricted as far as Kubernetes can restrict it.

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::{
            Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource,
            HTTPGetAction, KeyToPath, ObjectFieldSelector, PersistentVolumeClaim, PersistentVolumeClaimSpec,
            PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile,
            SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
            VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use connected_cache_api::{CONTAINER_NAME, annotations, ports, spec::CaConfigMap};
use connected_cache_config::Config;

use super::{CONFIG_KEY, DEFAULT_ACCOUNT, all_labels, metadata, names, selector_labels};
use crate::controller::validate::{
    CONTROL_PLANE_CA_FILE, CONTROL_PLANE_CA_FOLDER, MOUNT_ROOT, PEERS_CA_FILE, PEERS_CERTIFICATE_FILE,
    PEERS_KEY_FILE, PEERS_TLS_FOLDER, ValidVolume, ValidatedCache,
};

/// User and group of the image.
const USER: i64 = 65532;
/// Folder of the configuration file in the pods.
const CONFIG_FOLDER: &str = "/etc/connected-cache";
/// Name of the pod volume that holds the configuration. A claim can never have this name: theirs have at most 32 letters.
const CONFIG_VOLUME_NAME: &str = "connected-cache-sidecar-configuration";
/// Name of the pod volume that holds the authorities of the control plane; no claim can have it either.
const CONTROL_PLANE_CA_VOLUME_NAME: &str = "connected-cache-control-plane-authorities";
/// Name of the pod volume that holds the pods' certificate; no claim can have it either.
const PEERS_TLS_VOLUME_NAME: &str = "connected-cache-peers-certificate";
/// Between the end of the grace time and the kill, so that the last log line gets out.
const TERMINATION_MARGIN_SECONDS: i64 = 5;

pub(super) fn stateful_set(cache: &ValidatedCache, config_hash: &str) -> StatefulSet {
    StatefulSet {
        metadata: metadata(cache, names::stateful_set(&cache.name)),
        spec: Some(StatefulSetSpec {
            replicas: Some(cache.replicas),
            // Pods of a cache need not wait for each other: in parallel, a broken pod never blocks the repaired ones.
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            // Scaling down keeps the content for the next scaling up; removing the cache removes its content.
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Delete".to_owned()),
                when_scaled: Some("Retain".to_owned()),
            }),
            revision_history_limit: Some(5),
            selector: LabelSelector {
                match_labels: Some(selector_labels(&cache.name)),
                ..LabelSelector::default()
            },
            service_name: Some(names::pods_service(&cache.name)),
            template: pod_template(cache, config_hash),
            volume_claim_templates: Some(
                cache.volumes.iter().map(|volume| claim_template(cache, volume)).collect(),
            ),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn pod_template(cache: &ValidatedCache, config_hash: &str) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(all_labels(&cache.name)),
            annotations: Some([(annotations::CONFIG_HASH.to_owned(), config_hash.to_owned())].into()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            // Pods that share ask the API server who the others are. It does not depend on their number, so that scaling up
            // replaces none. Others never talk to it.
            service_account_name: Some(if cache.shares {
                names::pods_account(&cache.name)
            } else {
                // Said aloud: left out, Kubernetes would keep the one that was said before.
                DEFAULT_ACCOUNT.to_owned()
            }),
            automount_service_account_token: Some(cache.shares),
            enable_service_links: Some(false),
            containers: vec![container(cache)],
            security_context: Some(pod_security_context()),
            termination_grace_period_seconds: Some(termination_grace_period_seconds(cache)),
            topology_spread_constraints: Some(
                ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
                    .map(|key| soft_spread(cache, key))
                    .into(),
            ),
            volumes: Some(pod_volumes(cache)),
            ..PodSpec::default()
        }),
    }
}

fn pod_volumes(cache: &ValidatedCache) -> Vec<Volume> {
    let config =
        ConfigMapVolumeSource { name: names::config_map(&cache.name), ..ConfigMapVolumeSource::default() };
    let volume = |name: &str| Volume { name: name.to_owned(), ..Volume::default() };
    let mut volumes = vec![Volume { config_map: Some(config), ..volume(CONFIG_VOLUME_NAME) }];
    if let Some(named) = &cache.control_plane_ca {
        let config_map = Some(authorities(named));
        volumes.push(Volume { config_map, ..volume(CONTROL_PLANE_CA_VOLUME_NAME) });
    }
    if cache.shares {
        let secret = Some(peers_certificate(&cache.name));
        volumes.push(Volume { secret, ..volume(PEERS_TLS_VOLUME_NAME) });
    }
    volumes
}

/// The pods' certificate, its key and their authorities, and nothing else that may stand in the Secret. A pod that comes before
/// its Secret serves all the same, by itself; a new text reaches the running pods without replacing them.
fn peers_certificate(cache: &str) -> SecretVolumeSource {
    let files = [PEERS_CERTIFICATE_FILE, PEERS_KEY_FILE, PEERS_CA_FILE];
    SecretVolumeSource {
        secret_name: Some(names::peers(cache)),
        items: Some(
            files
                .map(|file| KeyToPath { key: file.to_owned(), path: file.to_owned(), ..KeyToPath::default() })
                .into(),
        ),
        // The key is for the user of the pod alone, who reads it by the group of its volumes.
        default_mode: Some(0o440),
        optional: Some(false),
    }
}

/// The one key under the name that the configuration says. A pod that moves while it is not there serves all the same: it trusts
/// nobody until it is, and content goes unchecked.
fn authorities(named: &CaConfigMap) -> ConfigMapVolumeSource {
    ConfigMapVolumeSource {
        name: named.name.clone(),
        items: Some(vec![KeyToPath {
            key: named.key.clone(),
            path: CONTROL_PLANE_CA_FILE.to_owned(),
            ..KeyToPath::default()
        }]),
        optional: Some(true),
        ..ConfigMapVolumeSource::default()
    }
}

fn read_only_mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn container(cache: &ValidatedCache) -> Container {
    let mut mounts = vec![read_only_mount(CONFIG_VOLUME_NAME, CONFIG_FOLDER)];
    if cache.control_plane_ca.is_some() {
        mounts.push(read_only_mount(CONTROL_PLANE_CA_VOLUME_NAME, CONTROL_PLANE_CA_FOLDER));
    }
    mounts.extend(cache.volumes.iter().map(|volume| VolumeMount {
        name: volume.name.clone(),
        mount_path: format!("{MOUNT_ROOT}/{}", volume.name),
        ..VolumeMount::default()
    }));
    if cache.shares {
        mounts.push(read_only_mount(PEERS_TLS_VOLUME_NAME, PEERS_TLS_FOLDER));
    }
    Container {
        name: CONTAINER_NAME.to_owned(),
        image: Some(cache.image.to_string()),
        image_pull_policy: Some(cache.pull_policy.to_owned()),
        args: Some(vec!["serve".to_owned(), "--config".to_owned(), format!("{CONFIG_FOLDER}/{CONFIG_KEY}")]),
        env: Some(vec![EnvVar {
            name: "CONNECTEDCACHE_NODE__NAME".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: "metadata.name".to_owned(),
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        }]),
        ports: Some(container_ports(cache)),
        // Five minutes to read the index of a full volume after a start.
        startup_probe: Some(probe("/livez", 2, 150)),
        readiness_probe: Some(probe("/readyz", 5, 2)),
        liveness_probe: Some(probe("/livez", 10, 6)),
        resources: Some(ResourceRequirements {
            requests: Some(cache.resources.requests.clone()),
            limits: Some(cache.resources.limits.clone()),
            ..ResourceRequirements::default()
        }),
        security_context: Some(container_security_context()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn container_ports(cache: &ValidatedCache) -> Vec<ContainerPort> {
    let mut ports = vec![
        container_port(ports::HTTP, ports::HTTP_NUMBER),
        container_port(ports::ADMIN, ports::ADMIN_NUMBER),
    ];
    if cache.shares {
        ports.push(container_port(ports::SWARM, ports::SWARM_NUMBER));
        ports.push(container_port(ports::PEERS, ports::PEERS_NUMBER));
    }
    ports
}

fn container_port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(ports::ADMIN.to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(3),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

/// As Pod Security "restricted" asks for.
fn pod_security_context() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        // Changing the owner of a full cache volume at every start would take minutes.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

fn container_security_context() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        ..SecurityContext::default()
    }
}

/// Replicas on different nodes and zones where there are any; one node is enough to run all the same.
fn soft_spread(cache: &ValidatedCache, topology_key: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(selector_labels(&cache.name)),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    }
}

fn termination_grace_period_seconds(cache: &ValidatedCache) -> i64 {
    let Config { shutdown, sharing, .. } = &cache.config;
    // One after the other, for a pod that was scaled away; any other ends sooner.
    let handover = if cache.shares { sharing.handover_seconds } else { 0 };
    let seconds = shutdown.drain_seconds.saturating_add(handover).saturating_add(shutdown.grace_seconds);
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_add(TERMINATION_MARGIN_SECONDS)
}

fn claim_template(cache: &ValidatedCache, volume: &ValidVolume) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(volume.name.clone()),
            labels: Some(all_labels(&cache.name)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(volume.size.to_string()))].into()),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: volume.storage_class_name.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
