//! An operator whose API server is scripted, and the paths of what it makes for the cache `campus`.

use std::sync::Arc;

use connected_cache_operator::{
    Metrics,
    controller::{Context, ReconcileError, reconcile},
};
use kube::{Client, runtime::controller::Action};
use serde_json::{Value, json};

use super::{api_server::ApiServer, cache, default_image};

pub const CACHE: &str = "/apis/connectedcache.dev/v1alpha1/namespaces/caching/connectedcaches/campus";
pub const CONFIG_MAP: &str = "/api/v1/namespaces/caching/configmaps/campus-config";
pub const SERVICE: &str = "/api/v1/namespaces/caching/services/campus";
pub const PODS_SERVICE: &str = "/api/v1/namespaces/caching/services/campus-pods";
pub const STATEFUL_SET: &str = "/apis/apps/v1/namespaces/caching/statefulsets/campus";
pub const ACCOUNT: &str = "/api/v1/namespaces/caching/serviceaccounts/campus-pods";
pub const DEFAULT_ACCOUNT: &str = "/api/v1/namespaces/caching/serviceaccounts/default";
pub const ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/caching/roles/campus-pods";
pub const ROLE_BINDING: &str =
    "/apis/rbac.authorization.k8s.io/v1/namespaces/caching/rolebindings/campus-pods";
pub const PEERS_CA: &str = "/api/v1/namespaces/caching/secrets/campus-peers-ca";
pub const PEERS: &str = "/api/v1/namespaces/caching/secrets/campus-peers";
pub const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/caching/events";

pub struct Operator {
    pub server: ApiServer,
    pub context: Arc<Context>,
}

impl Operator {
    /// An operator whose API server has the cache `campus` with this spec.
    pub fn with(spec: &Value) -> Self {
        let (server, client): (ApiServer, Client) = ApiServer::start();
        server.put(CACHE, &cache(spec));
        let metrics = Metrics::new().expect("metrics");
        Self { server, context: Arc::new(Context::new(client, default_image(), metrics, "test")) }
    }

    pub async fn pass(&self) -> Result<Action, ReconcileError> {
        // What the watch delivered may be old: the reconciler reads for itself.
        reconcile(Arc::new(cache(&json!({}))), self.context.clone()).await
    }

    pub fn condition(&self, kind: &str) -> Value {
        let cache = self.server.get(CACHE).expect("the cache");
        let conditions = cache["status"]["conditions"].as_array().expect("conditions");
        conditions.iter().find(|condition| condition["type"] == kind).expect("every type is there").clone()
    }

    pub fn event_reasons(&self) -> Vec<String> {
        let calls = self.server.take_calls();
        let events = calls.iter().filter(|call| call.path == EVENTS);
        events.map(|call| call.body["reason"].as_str().expect("a reason").to_owned()).collect()
    }
}
