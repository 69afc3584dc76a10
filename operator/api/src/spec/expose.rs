//! `spec.expose`: the Service that clients use.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How clients reach the cache.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.loadBalancerClass) || self.type == 'LoadBalancer'").message(
        "expose.loadBalancerClass only has a meaning with expose.type LoadBalancer: remove it or change the type"
    ),
    validation = Rule::new(
        "self.type != 'LoadBalancer' || oldSelf.type != 'LoadBalancer' || (has(self.loadBalancerClass) ? \
         (has(oldSelf.loadBalancerClass) && self.loadBalancerClass == oldSelf.loadBalancerClass) : \
         !has(oldSelf.loadBalancerClass))"
    ).message(
        "expose.loadBalancerClass cannot change while the type is LoadBalancer: set expose.type to ClusterIP first, then \
         back to LoadBalancer with the new class"
    )
)]
pub struct ExposeSpec {
    /// LoadBalancer gives the cache an address of its own and needs a load balancer in the cluster (a cloud's, MetalLB,
    /// kube-vip). ClusterIP serves only inside the cluster. NodePort opens a port of 30000 and above on each node, which
    /// DOCacheHost cannot name: use it behind a load balancer of your own. Default: LoadBalancer.
    #[serde(rename = "type", default)]
    pub type_: ExposeType,

    /// Names under which clients know the cache, for example `cache.example.edu`; the first is shown as its endpoint.
    /// Creating the DNS entries is up to you; at most 16. Default: none, the endpoint is the Service's address.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new(
        "self.all(host, host.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))"
    ).message("give bare host names such as cache.example.edu: lower-case, without scheme, port, path and wildcard"))]
    pub hostnames: Vec<String>,

    /// Which load balancer implementation serves the Service. Default: the cluster's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,

    /// Annotations for the Service, as load balancers ask for; at most 64. Default: none.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64), with = "BTreeMap<String, AnnotationValue>")]
    pub annotations: BTreeMap<String, String>,

    /// Local keeps the client's address visible and sends traffic only to nodes that run a cache pod; Cluster spreads it
    /// over all nodes and hides the address. Unused with ClusterIP. Default: Local.
    #[serde(default)]
    pub external_traffic_policy: ExternalTrafficPolicy,

    /// Whether the Services have IPv4 and IPv6 addresses. SingleStack listens on IPv4 only. PreferDualStack takes both where
    /// the cluster has both, so that no client walks past the cache over the other family; its pods need nodes whose kernel
    /// has IPv6. RequireDualStack fails where the cluster has only one. Default: SingleStack.
    #[serde(default)]
    pub ip_family_policy: IpFamilyPolicy,
}

/// Schema of an annotation's value.
struct AnnotationValue;

impl JsonSchema for AnnotationValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AnnotationValue".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 4096})
    }
}

/// Types of the clients' Service.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ExposeType {
    #[default]
    LoadBalancer,
    ClusterIP,
    NodePort,
}

/// Where external traffic may go.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ExternalTrafficPolicy {
    #[default]
    Local,
    Cluster,
}

/// Address families of the Services.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum IpFamilyPolicy {
    #[default]
    SingleStack,
    PreferDualStack,
    RequireDualStack,
}

macro_rules! as_str {
    ($type:ty { $($variant:ident),+ }) => {
        impl $type {
            /// The value's spelling in Kubernetes objects.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }
    };
}

as_str!(ExposeType { LoadBalancer, ClusterIP, NodePort });
as_str!(ExternalTrafficPolicy { Local, Cluster });
as_str!(IpFamilyPolicy { SingleStack, PreferDualStack, RequireDualStack });
