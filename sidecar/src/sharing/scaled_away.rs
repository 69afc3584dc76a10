//! Whether a pod that is told to end was scaled away, and does not come back as one that restarts does: its StatefulSet says so.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Api;

use super::members::{ClientSource, WatchError};

/// How long the API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A pod of a StatefulSet, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ordinal {
    pub(crate) stateful_set: String,
    pub(crate) number: i64,
}

impl Ordinal {
    /// `None` = no pod of a StatefulSet has such a name.
    pub(crate) fn of(pod: &str) -> Option<Self> {
        let (stateful_set, number) = pod.rsplit_once('-')?;
        let number = number.parse().ok().filter(|number: &i64| *number >= 0)?;
        (!stateful_set.is_empty()).then(|| Self { stateful_set: stateful_set.to_owned(), number })
    }

    /// Whether the set goes on without this pod. One that is being deleted leaves nobody to hand over to.
    pub(crate) fn is_beyond(&self, set: &StatefulSet) -> bool {
        let Some(spec) = set.spec.as_ref().filter(|_| set.metadata.deletion_timestamp.is_none()) else {
            return false;
        };
        let first = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
        let end = i64::from(first) + i64::from(spec.replicas.unwrap_or(1));
        self.number >= end
    }
}

/// Asks the API server. Who can't tell is taken for one that restarts.
pub(crate) async fn is_scaled_away(client: &ClientSource, namespace: &str, pod: &str) -> bool {
    let Some(ordinal) = Ordinal::of(pod) else { return false };
    let asking = async {
        let api = Api::<StatefulSet>::namespaced(client.client()?, namespace);
        Ok::<_, WatchError>(api.get(&ordinal.stateful_set).await?)
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok(set)) => ordinal.is_beyond(&set),
        Ok(Err(error)) => {
            tracing::warn!(%error, "unable to learn whether this pod was scaled away, nothing is handed over");
            false
        }
        Err(_) => {
            tracing::warn!(
                "the API server does not say whether this pod was scaled away, nothing is handed over"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(replicas: i32, start: Option<i32>, is_deleted: bool) -> StatefulSet {
        let mut value = serde_json::json!({
            "metadata": {"name": "cache"},
            "spec": {"replicas": replicas, "selector": {}, "template": {}, "serviceName": "cache-pods"},
        });
        if let Some(start) = start {
            value["spec"]["ordinals"] = serde_json::json!({"start": start});
        }
        if is_deleted {
            value["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_pod_beyond_the_replicas_was_scaled_away() {
        let pod = Ordinal::of("a-cache-2").unwrap();
        assert_eq!(pod, Ordinal { stateful_set: "a-cache".into(), number: 2 });
        assert!(pod.is_beyond(&set(2, None, false)));
        assert!(pod.is_beyond(&set(0, None, false)));
        assert!(!pod.is_beyond(&set(3, None, false)));
        assert!(!pod.is_beyond(&set(2, Some(1), false)));
        assert!(!pod.is_beyond(&set(0, None, true)), "nobody is left");
    }

    #[test]
    fn other_names_are_no_pods_of_a_set() {
        for name in ["cache", "cache-", "-1", "cache-x", "cache--1x", ""] {
            assert_eq!(Ordinal::of(name), None, "{name}");
        }
    }
}
