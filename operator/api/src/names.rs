//! Names that more than one part of the system must spell alike.

/// Name of the controller in events and logs.
pub const CONTROLLER_NAME: &str = "connected-cache-operator";

/// Name of the one container in a cache pod.
pub const CONTAINER_NAME: &str = "sidecar";

/// Field managers of server-side apply.
pub mod field_managers {
    /// Owns every field of the child objects that the operator renders.
    pub const OPERATOR: &str = "connected-cache-operator";
    /// Owns the status of a ConnectedCache. It is a manager of its own, so that status and spec can never take
    /// fields from each other.
    pub const STATUS: &str = "connected-cache-operator-status";
}

/// Label keys and values on every object that belongs to a cache.
pub mod labels {
    /// Key of the application's name.
    pub const NAME: &str = "app.kubernetes.io/name";
    /// Value of [`NAME`].
    pub const NAME_VALUE: &str = "connected-cache";
    /// Key of the cache's name.
    pub const INSTANCE: &str = "app.kubernetes.io/instance";
    /// Key of the part within the application.
    pub const COMPONENT: &str = "app.kubernetes.io/component";
    /// Value of [`COMPONENT`] on everything that serves content.
    pub const COMPONENT_VALUE: &str = "cache";
    /// Key that names who manages the object.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// Value of [`MANAGED_BY`].
    pub const MANAGED_BY_VALUE: &str = "connected-cache-operator";
}

/// Annotation keys.
pub mod annotations {
    /// On the pod template: hash of the rendered configuration, so that a new configuration rolls the pods.
    pub const CONFIG_HASH: &str = "connectedcache.dev/config-hash";
    /// On each child: hash of what was applied last, so that a child at rest is not written again.
    pub const APPLIED_HASH: &str = "connectedcache.dev/applied-hash";
    /// On a ConnectedCache: the value `paused` makes the operator leave all children alone.
    pub const RECONCILE: &str = "connectedcache.dev/reconcile";
    /// Value of [`RECONCILE`] that pauses.
    pub const RECONCILE_PAUSED: &str = "paused";
    /// On a ConnectedCache: every new value gives its pods another certificate authority, without an interruption.
    pub const ROTATE_PEERS_CA: &str = "connectedcache.dev/rotate-peers-ca";
}

/// Names and numbers of the ports of a cache pod.
pub mod ports {
    /// Port name of content over HTTP.
    pub const HTTP: &str = "http";
    /// Container port of content over HTTP.
    pub const HTTP_NUMBER: i32 = 8080;
    /// Port at which clients reach the Service.
    pub const HTTP_SERVICE_NUMBER: i32 = 80;
    /// Port name of health, metrics and summary.
    pub const ADMIN: &str = "admin";
    /// Container port of health, metrics and summary.
    pub const ADMIN_NUMBER: i32 = 5001;
    /// Port name of the swarm between pods.
    pub const SWARM: &str = "swarm";
    /// Container port of the swarm between pods.
    pub const SWARM_NUMBER: i32 = 7680;
    /// Port name of the pods' interface for each other, over mutual TLS.
    pub const PEERS: &str = "peers";
    /// Container port of the pods' interface for each other.
    pub const PEERS_NUMBER: i32 = 7681;
}
