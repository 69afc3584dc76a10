//! The two Services: one that clients use, one that gives every pod a name.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use connected_cache_api::{
    ports,
    spec::{ExposeType, IpFamilyPolicy},
};

use super::{metadata, names, selector_labels};
use crate::controller::validate::ValidatedCache;

/// The clients' Service. Clients can only name a host in DOCacheHost, so the port is always 80.
pub(super) fn service(cache: &ValidatedCache) -> Service {
    let expose = &cache.expose;
    let mut metadata = metadata(cache, names::service(&cache.name));
    metadata.annotations = (!expose.annotations.is_empty()).then(|| expose.annotations.clone());
    let external = expose.type_ != ExposeType::ClusterIP;
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(expose.type_.as_str().to_owned()),
            load_balancer_class: expose.load_balancer_class.clone(),
            external_traffic_policy: external.then(|| expose.external_traffic_policy.as_str().to_owned()),
            ports: Some(vec![port(ports::HTTP, ports::HTTP_SERVICE_NUMBER)]),
            ..common(cache)
        }),
        ..Service::default()
    }
}

/// The headless Service. Pods that are not ready have names too: they must find each other in order to get ready.
pub(super) fn pods_service(cache: &ValidatedCache) -> Service {
    let mut ports = vec![port(ports::HTTP, ports::HTTP_NUMBER), port(ports::ADMIN, ports::ADMIN_NUMBER)];
    if cache.shares {
        ports.extend([port(ports::SWARM, ports::SWARM_NUMBER), port(ports::PEERS, ports::PEERS_NUMBER)]);
    }
    Service {
        metadata: metadata(cache, names::pods_service(&cache.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            ports: Some(ports),
            ..common(cache)
        }),
        ..Service::default()
    }
}

fn common(cache: &ValidatedCache) -> ServiceSpec {
    // A single family is the API server's default and stays unsaid: which family it is, is the cluster's choice.
    let policy = cache.expose.ip_family_policy;
    ServiceSpec {
        selector: Some(selector_labels(&cache.name)),
        ip_family_policy: (policy != IpFamilyPolicy::SingleStack).then(|| policy.as_str().to_owned()),
        ..ServiceSpec::default()
    }
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}
