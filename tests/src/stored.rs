//! What the admin endpoint of a cache's pods says of the objects that they store.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use kube::ResourceExt;
use serde::Deserialize;

use crate::Case;
use crate::case::ADMIN_PORT;
use crate::kubernetes::{PATIENCE, pod_get};

/// The first page of the list.
const LIST: &str = "/objects?limit=1000";
/// How often what is not there yet is looked for.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(200);

/// One object in one pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// Host, path and query, as the cache tells objects apart.
    pub key: String,
    /// Pieces of the whole content.
    pub pieces: u64,
    /// Pieces that are stored.
    pub stored_pieces: u64,
    /// Whether its pieces were checked by hashes of the control plane.
    pub verification: Option<Verification>,
}

impl Stored {
    /// Whether it is the object of this path.
    #[must_use]
    pub fn is_at(&self, path: &str) -> bool {
        has_path(&self.key, path)
    }
}

/// Whether the pieces of an object were checked, and if not, why.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// `authenticated`, `simple` or `pending`.
    pub state: String,
    /// Why it is in simple mode.
    pub reason: Option<String>,
    /// The id that the control plane gave it.
    pub content_id: Option<String>,
    /// The hash over its piece hashes, in base64: its name in the swarm.
    pub hash_of_hashes: Option<String>,
    /// Stored pieces that were checked by hashes of the control plane.
    pub authenticated_pieces: u64,
    /// Every piece is stored and was checked so.
    pub complete: bool,
}

impl Verification {
    /// Every piece is stored and was checked by hashes of the control plane.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.state == "authenticated" && self.complete
    }

    /// It is served without such hashes, for this reason.
    #[must_use]
    pub fn is_simple(&self, reason: &str) -> bool {
        self.state == "simple" && self.reason.as_deref() == Some(reason)
    }
}

impl Case {
    /// The objects that the pods of a cache store, pod by pod.
    pub async fn stored(&self, cache: &str) -> Result<Vec<Stored>> {
        let mut stored = Vec::new();
        for pod in self.cache_pods(cache).await? {
            stored.extend(self.stored_in(&pod.name_any()).await?);
        }
        Ok(stored)
    }

    /// The objects that one pod stores.
    pub async fn stored_in(&self, pod: &str) -> Result<Vec<Stored>> {
        #[derive(Deserialize)]
        struct Page {
            objects: Vec<Stored>,
            next: Option<String>,
        }
        let (mut stored, mut target) = (Vec::new(), LIST.to_owned());
        loop {
            let text = pod_get(&self.lab.client, &self.namespace, pod, ADMIN_PORT, &target).await?;
            let page: Page =
                serde_json::from_str(&text).with_context(|| format!("the list of {pod}: {text}"))?;
            stored.extend(page.objects);
            let Some(next) = page.next else { return Ok(stored) };
            target = format!("{LIST}&after={}", encoded(&next));
        }
    }

    /// Waits until the objects of this path, in every pod that has one, are as `holds` says; gives them. What a client
    /// has received may be stored and counted a moment later.
    pub async fn wait_for_verification(
        &self,
        cache: &str,
        path: &str,
        holds: impl Fn(&Verification) -> bool,
    ) -> Result<Vec<Stored>> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut seen = Vec::new();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                look.tick().await;
                seen = self.stored(cache).await?;
                seen.retain(|stored| stored.is_at(path));
                if !seen.is_empty()
                    && seen.iter().all(|stored| stored.verification.as_ref().is_some_and(&holds))
                {
                    return anyhow::Ok(());
                }
            }
        })
        .await;
        match waited {
            Ok(outcome) => outcome?,
            Err(_) => anyhow::bail!("{path} is not verified as expected: {seen:?}"),
        }
        Ok(seen)
    }
}

/// Whether the key of an object ends with this path.
fn has_path(key: &str, path: &str) -> bool {
    let key = key.split('?').next().unwrap_or_default();
    key.strip_suffix(path).is_some_and(|host| !host.contains('/'))
}

/// Percent-encoded for a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::{Stored, encoded, has_path};

    #[test]
    fn a_key_goes_into_a_query_as_one_value() {
        assert_eq!(encoded("a.example/b?c=d&e"), "a%2Eexample%2Fb%3Fc%3Dd%26e");
        assert_eq!(encoded("\u{fc}"), "%C3%BC");
    }

    #[test]
    fn a_path_is_that_of_its_object_alone() {
        assert!(has_path("dl.example.edu/a/b.cab?x=/c", "/a/b.cab"));
        assert!(!has_path("dl.example.edu/a/b.cab/pieceshash", "/a/b.cab"));
        assert!(!has_path("dl.example.edu/a/b.cab", "/b.cab"));
    }

    #[test]
    fn an_object_is_read_with_and_without_verification() -> serde_json::Result<()> {
        let plain = r#"{"key": "h/a", "class": "Other", "length": 1, "pieces": 1, "storedPieces": 1}"#;
        assert!(serde_json::from_str::<Stored>(plain)?.verification.is_none());
        let simple = r#"{"key": "h/a", "pieces": 1, "storedPieces": 1, "verification": {"state": "simple",
            "reason": "unreachable", "code": "0x80D0380A", "contentId": null, "hashOfHashes": null,
            "authenticatedPieces": 0, "storedPieces": 1, "complete": false}}"#;
        let simple = serde_json::from_str::<Stored>(simple)?.verification.expect("it is there");
        assert!(simple.is_simple("unreachable") && !simple.is_authenticated());
        Ok(())
    }
}
