//! The closed vocabularies of status: condition types, reasons and the one-word state. Each reason carries a sentence on
//! what a user should do, so that a condition never leaves its reader without a next step.

use std::fmt;

/// Types of the conditions of a ConnectedCache. All are positive (True is good) save `Progressing` and `Degraded`.
/// Every type is always present; what is not known yet is `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// Summary: the cache is in the state that the spec asks for. What `kubectl wait` should wait for.
    Ready,
    /// The spec is valid and every part of it could be applied.
    Accepted,
    /// At least one pod serves content.
    Available,
    /// The cache is on its way to the state that the spec asks for.
    Progressing,
    /// Something works less well than the spec asks for and will not heal by waiting alone.
    Degraded,
    /// Clients outside the pod network have an address to use.
    Exposed,
    /// A pod can be replaced without a gap in service.
    RolloutSafe,
}

impl ConditionType {
    /// Every type, in the order in which status lists them.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Accepted,
        Self::Available,
        Self::Progressing,
        Self::Degraded,
        Self::Exposed,
        Self::RolloutSafe,
    ];

    /// The type's spelling in objects.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Accepted => "Accepted",
            Self::Available => "Available",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::Exposed => "Exposed",
            Self::RolloutSafe => "RolloutSafe",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known yet.
    Unknown,
}

impl ConditionStatus {
    /// The status' spelling in objects.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

macro_rules! reasons {
    ($($(#[$documentation:meta])* $variant:ident => $advice:literal,)+) => {
        /// Reasons of conditions: a stable interface, to be matched by alerts and scripts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$documentation])* $variant,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The reason's spelling in objects.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }

            /// What somebody who reads this reason should do.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice),+ }
            }
        }
    };
}

reasons! {
    /// All is as the spec asks for.
    AsSpecified => "nothing to do",
    /// The spec is valid and applied.
    Valid => "nothing to do",
    /// The spec contradicts itself or the cluster in a way that the schema cannot see.
    InvalidSpec => "change the named field; the cache keeps its previous state until then",
    /// An object that the spec names is not there, or lacks what is read from it.
    ReferenceMissing => "make the named object; the cache keeps its previous state until then and looks again within a minute",
    /// `spec.storage.volumes` differs from the claims that exist, which Kubernetes does not let anyone change in place.
    VolumesChanged => "the pods keep the volumes they have; to get other ones, delete the cache and create it anew. Everything else in the spec is applied",
    /// An object of the name that a child needs exists and belongs to somebody else.
    NameTaken => "give the cache another name, or delete the named object if nobody needs it",
    /// The API server refused a child object.
    ApplyFailed => "read the message: it is the API server's own; permissions come with the operator's chart, quotas with the namespace",
    /// The annotation connectedcache.dev/reconcile is `paused`.
    Paused => "remove the annotation connectedcache.dev/reconcile to let the operator work on this cache again",
    /// At least one pod serves.
    PodsReady => "nothing to do",
    /// No pod is ready, although some should be.
    NoPodReady => "see why with `kubectl get pods` and `kubectl describe pod` for the label app.kubernetes.io/instance; a pending claim means that no storage class fits",
    /// Some pods are ready, some are not.
    SomePodsNotReady => "wait for the pods to start; if it lasts, `kubectl describe pod` names the cause",
    /// `spec.replicas` is 0.
    Hibernating => "set spec.replicas to 1 or more to serve again; the volumes were kept",
    /// Pods are being replaced by new ones.
    RollingOut => "wait; clients are served by the other pods",
    /// Pods are being added or removed.
    Scaling => "wait for the number of pods to be reached",
    /// Kubernetes has not yet taken up the latest change.
    Observing => "wait a moment",
    /// Nothing is on its way.
    Settled => "nothing to do",
    /// Nothing is degraded.
    Healthy => "nothing to do",
    /// Pods have been missing for longer than a start takes.
    PodsMissing => "see why with `kubectl describe pod` for the label app.kubernetes.io/instance",
    /// The Service has an address that clients can use.
    AddressAssigned => "nothing to do",
    /// The Service waits for its load balancer.
    AddressPending => "install a load balancer such as MetalLB, or set expose.type to ClusterIP for use inside the cluster only",
    /// Clients inside the cluster only, as asked for.
    ClusterInternal => "set expose.type to LoadBalancer to serve Windows clients outside the cluster",
    /// Clients need a port of 30000 and above, which DOCacheHost cannot name.
    NodePortUnusable => "put a load balancer of your own with port 80 in front of the node port, or set expose.type to LoadBalancer",
    /// Two or more pods.
    SeveralReplicas => "nothing to do",
    /// One pod: replacing it is a gap.
    SingleReplica => "set spec.replicas to 2 or more, so that one pod serves while another is replaced",
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The one word of the STATUS column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SummaryState {
    /// No pod serves yet.
    Pending,
    /// All pods serve.
    Serving,
    /// Pods are being replaced, added or removed, while others serve.
    Rolling,
    /// Some or all pods do not serve, and nothing is on its way that would change it.
    Degraded,
    /// `spec.replicas` is 0.
    Hibernating,
    /// The spec is not accepted; an earlier state may still be served.
    Rejected,
    /// The operator leaves this cache alone.
    Paused,
}

impl SummaryState {
    /// The state's spelling in objects.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Serving => "Serving",
            Self::Rolling => "Rolling",
            Self::Degraded => "Degraded",
            Self::Hibernating => "Hibernating",
            Self::Rejected => "Rejected",
            Self::Paused => "Paused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_meet_the_pattern_of_kubernetes_and_say_what_to_do() {
        for reason in Reason::ALL {
            let spelling = reason.as_str();
            assert!(spelling.chars().all(|letter| letter.is_ascii_alphanumeric()), "{spelling}");
            assert!(spelling.starts_with(|letter: char| letter.is_ascii_uppercase()), "{spelling}");
            let advice = reason.advice();
            assert!(!advice.is_empty() && !advice.ends_with('.'), "{spelling}: {advice}");
            assert!(advice.starts_with(|letter: char| letter.is_ascii_lowercase()), "{spelling}: {advice}");
        }
    }
}
