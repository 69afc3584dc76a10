//! From the spec to the sidecar's configuration, checked by the sidecar's own rules, so that no pod is ever started with a
//! configuration that it refuses.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use connected_cache_api::{
    ConnectedCacheSpec, ports,
    spec::{ContentClass, ControlPlaneMode, IpFamilyPolicy, LogLevel, SharingMode},
};
use connected_cache_config::{self as sidecar, ByteSize, Config};

use super::ValidVolume;

/// Where the volumes are mounted; the name of the volume follows.
pub const MOUNT_ROOT: &str = "/cache";
/// Where the authorities of the control plane are mounted: a folder of their own, because only whole folders follow a change of
/// their ConfigMap.
pub const CONTROL_PLANE_CA_FOLDER: &str = "/etc/connected-cache-control-plane";
/// The file in it.
pub const CONTROL_PLANE_CA_FILE: &str = "ca.crt";
/// Where the pods' certificate, its key and their authorities are mounted, likewise.
pub const PEERS_TLS_FOLDER: &str = "/etc/connected-cache-peers";
/// The certificate of the pods in it, and key of its Secret.
pub const PEERS_CERTIFICATE_FILE: &str = "tls.crt";
/// The key of that certificate.
pub const PEERS_KEY_FILE: &str = "tls.key";
/// The authorities that pods trust each other by.
pub const PEERS_CA_FILE: &str = "ca.crt";
/// One part in so many of a claim is left free: what a file system needs for itself, and room to delete in.
const HEADROOM_DIVISOR: u64 = 10;
/// Free space that is kept where the spec does not say: so much at most, and no more than a twentieth of a volume.
const MIN_FREE: ByteSize = ByteSize::from_gibibytes(2);
const MIN_FREE_DIVISOR: u64 = 20;

/// Renders the configuration; what the sidecar would refuse is added to `problems`.
///
/// `pods_service` is the headless Service, as `namespace/name`.
pub(super) fn render(
    spec: &ConnectedCacheSpec,
    pods_service: String,
    volumes: &[ValidVolume],
    problems: &mut Vec<String>,
) -> Config {
    let mut config = Config::default();
    listen(spec, &mut config);
    storage(spec, volumes, &mut config, problems);
    content(spec, &mut config);
    upstream(spec, &mut config, problems);
    control_plane(spec, &mut config, problems);
    sharing(spec, pods_service, &mut config);
    config.shutdown.drain_seconds = u64::from(spec.rollout.drain_seconds);
    config.log.level = match spec.log.level {
        LogLevel::Error => sidecar::LogLevel::Error,
        LogLevel::Warn => sidecar::LogLevel::Warn,
        LogLevel::Info => sidecar::LogLevel::Info,
        LogLevel::Debug => sidecar::LogLevel::Debug,
        LogLevel::Trace => sidecar::LogLevel::Trace,
    };
    if problems.is_empty()
        && let Err(error) = config.validate()
    {
        problems.extend(error.problems.iter().map(ToString::to_string));
    }
    config
}

/// With both address families the listeners take both: a refused connection on one of them would make clients leave the
/// cache for 15 minutes. With one family they stay on IPv4, which also works on nodes whose kernel has no IPv6.
fn listen(spec: &ConnectedCacheSpec, config: &mut Config) {
    let everywhere: IpAddr = match spec.expose.ip_family_policy {
        IpFamilyPolicy::SingleStack => Ipv4Addr::UNSPECIFIED.into(),
        IpFamilyPolicy::PreferDualStack | IpFamilyPolicy::RequireDualStack => Ipv6Addr::UNSPECIFIED.into(),
    };
    let at = |port: i32| u16::try_from(port).ok().map(|port| SocketAddr::new(everywhere, port));
    config.listen.http = at(ports::HTTP_NUMBER);
    config.listen.admin = at(ports::ADMIN_NUMBER);
    // What nobody may ask needs no listener.
    let shares = spec.sharing.mode != SharingMode::Off;
    config.listen.swarm = at(ports::SWARM_NUMBER).filter(|_| shares);
    config.listen.peers = at(ports::PEERS_NUMBER).filter(|_| shares);
}

/// Whether the pods find and trust each other. It does not depend on their number, so that scaling replaces none: a pod that is
/// alone finds nobody and asks the origins, as it would without.
fn sharing(spec: &ConnectedCacheSpec, pods_service: String, config: &mut Config) {
    if spec.sharing.mode == SharingMode::Off {
        config.sharing.mode = sidecar::SharingMode::Off;
        return;
    }
    // Without a control plane there are no arrays to join.
    config.sharing.mode = match spec.control_plane.mode {
        ControlPlaneMode::None => sidecar::SharingMode::Members,
        ControlPlaneMode::Microsoft | ControlPlaneMode::Custom => sidecar::SharingMode::Auto,
    };
    config.sharing.service = Some(pods_service);
    let folder = PathBuf::from(PEERS_TLS_FOLDER);
    config.tls.peers = sidecar::TlsPeers {
        cert: Some(folder.join(PEERS_CERTIFICATE_FILE)),
        key: Some(folder.join(PEERS_KEY_FILE)),
        ca: Some(folder.join(PEERS_CA_FILE)),
    };
}

fn storage(
    spec: &ConnectedCacheSpec,
    volumes: &[ValidVolume],
    config: &mut Config,
    problems: &mut Vec<String>,
) {
    config.storage.volumes = volumes
        .iter()
        .map(|volume| sidecar::Volume {
            path: PathBuf::from(MOUNT_ROOT).join(&volume.name),
            limit: ByteSize::from_bytes(volume.size.bytes() - volume.size.bytes() / HEADROOM_DIVISOR),
        })
        .collect();
    let smallest = volumes.iter().map(|volume| volume.size.bytes()).min().unwrap_or(u64::MAX);
    config.storage.min_free = ByteSize::from_bytes(MIN_FREE.bytes().min(smallest / MIN_FREE_DIVISOR));
    if let Some(min_free) = &spec.storage.min_free {
        match min_free.parse() {
            Ok(min_free) => config.storage.min_free = min_free,
            Err(error) => problems.push(format!("storage.minFree: {error}")),
        }
    }
}

fn content(spec: &ConnectedCacheSpec, config: &mut Config) {
    config.content.extra_origins = spec
        .content
        .extra_origins
        .iter()
        .map(|origin| sidecar::ExtraOrigin {
            host: origin.host.clone(),
            class: Some(content_class(origin.class)),
            alias: origin.alias.clone(),
        })
        .collect();
    config.content.deny_origins.clone_from(&spec.content.deny_origins);
    config.content.allow_private_targets = spec.content.allow_private_targets;
}

fn content_class(class: ContentClass) -> sidecar::ContentClass {
    match class {
        ContentClass::WindowsUpdate => sidecar::ContentClass::WindowsUpdate,
        ContentClass::Edge => sidecar::ContentClass::Edge,
        ContentClass::Office => sidecar::ContentClass::Office,
        ContentClass::Intune => sidecar::ContentClass::Intune,
        ContentClass::Teams => sidecar::ContentClass::Teams,
        ContentClass::Outlook => sidecar::ContentClass::Outlook,
        ContentClass::Xbox => sidecar::ContentClass::Xbox,
        ContentClass::DeviceUpdate => sidecar::ContentClass::DeviceUpdate,
        ContentClass::Other => sidecar::ContentClass::Other,
    }
}

fn upstream(spec: &ConnectedCacheSpec, config: &mut Config, problems: &mut Vec<String>) {
    for (index, entry) in spec.upstream.resolve.iter().enumerate() {
        match entry.address.parse::<SocketAddr>() {
            Ok(address) => {
                config.upstream.resolve.insert(entry.host.clone(), address);
            }
            Err(_) => problems.push(format!(
                "upstream.resolve[{index}].address: `{}` is no IP address with port: write it as 192.0.2.10:80",
                entry.address
            )),
        }
    }
    if let Some(timeouts) = &spec.upstream.timeouts {
        config.upstream.timeouts = sidecar::UpstreamTimeouts {
            connect_seconds: u64::from(timeouts.connect_seconds),
            first_byte_seconds: u64::from(timeouts.first_byte_seconds),
            idle_seconds: u64::from(timeouts.idle_seconds),
        };
    }
}

fn control_plane(spec: &ConnectedCacheSpec, config: &mut Config, problems: &mut Vec<String>) {
    let wanted = &spec.control_plane;
    config.control_plane.mode = match wanted.mode {
        ControlPlaneMode::None => sidecar::ControlPlaneMode::None,
        ControlPlaneMode::Microsoft => sidecar::ControlPlaneMode::Microsoft,
        ControlPlaneMode::Custom => sidecar::ControlPlaneMode::Custom,
    };
    // Pods share with each other alone, so no foreign peer is to hear of them.
    config.sharing.array_join.enabled = wanted.mode == ControlPlaneMode::None;
    if let Some(url) = &wanted.geo_url {
        match url.parse() {
            Ok(url) => config.control_plane.geo_url = Some(url),
            Err(error) => problems.push(format!(
                "controlPlane.geoUrl: `{url}` is no URL ({error}): write it as https://geo.example.edu/geo"
            )),
        }
    }
    // What the ConfigMap holds is no part of the configuration, so that its change replaces no pod.
    config.control_plane.ca_file = wanted
        .ca_config_map
        .as_ref()
        .map(|_| PathBuf::from(CONTROL_PLANE_CA_FOLDER).join(CONTROL_PLANE_CA_FILE));
}
