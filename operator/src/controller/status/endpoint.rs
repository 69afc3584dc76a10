//! What clients put into DOCacheHost, and whether they can reach it.

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use connected_cache_api::{ConditionStatus, Reason, spec::ExposeType};

use super::{Facts, Judgement};

/// Shown while the load balancer has given no address.
const PENDING: &str = "<pending>";

/// The endpoint for the column and for DOCacheHost.
pub(super) fn endpoint(facts: &Facts<'_>) -> String {
    let expose = &facts.cache.spec.expose;
    if let Some(hostname) = expose.hostnames.first() {
        return hostname.clone();
    }
    match expose.type_ {
        ExposeType::LoadBalancer => {
            facts.service.and_then(load_balancer_address).unwrap_or_else(|| PENDING.to_owned())
        }
        ExposeType::ClusterIP => {
            format!("{}.{}.svc", facts.cache.name_any(), facts.cache.namespace().unwrap_or_default())
        }
        ExposeType::NodePort => facts
            .service
            .and_then(node_port)
            .map_or_else(|| PENDING.to_owned(), |port| format!("<node>:{port}")),
    }
}

/// Whether clients outside the pod network have an address to use.
pub(super) fn judge(facts: &Facts<'_>) -> Judgement {
    match facts.cache.spec.expose.type_ {
        ExposeType::LoadBalancer => match facts.service.and_then(load_balancer_address) {
            Some(address) => Judgement::new(
                ConditionStatus::True,
                Reason::AddressAssigned,
                format!("clients reach the cache at {address}, port 80"),
            ),
            None => Judgement::with_advice(
                ConditionStatus::False,
                Reason::AddressPending,
                "no load-balancer address yet",
            ),
        },
        ExposeType::ClusterIP => Judgement::with_advice(
            ConditionStatus::False,
            Reason::ClusterInternal,
            "only clients inside the cluster reach the cache, as expose.type says",
        ),
        ExposeType::NodePort => Judgement::with_advice(
            ConditionStatus::False,
            Reason::NodePortUnusable,
            "clients would need a port of 30000 and above, which DOCacheHost cannot name",
        ),
    }
}

fn load_balancer_address(service: &Service) -> Option<String> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    ingress.iter().find_map(|entry| entry.ip.clone().or_else(|| entry.hostname.clone()))
}

fn node_port(service: &Service) -> Option<i32> {
    service.spec.as_ref()?.ports.as_ref()?.first()?.node_port
}
