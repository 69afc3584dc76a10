//! What makes two requests ask for the same object (dossier delivery-optimization 1.5): origin or its alias, path, and the
//! query where it is more than a signature. The scheme is not part of it: http and https share their objects.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::CacheHostOrigin;

/// Name of one object in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// Whether queries that are only signatures are left out of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryRule {
    /// They are, on paths whose query is known to be one.
    DropSignatures,
    /// Every query is part of the key.
    KeepAll,
}

/// Below it stands a GUID that names the file; the query is an expiry time and a signature.
const SIGNED_FILES: &str = "/filestreamingservice/files/";

impl ObjectKey {
    /// The key of a path and query at an origin, both as they go upstream.
    #[must_use]
    pub fn new(origin: &CacheHostOrigin, path: &str, query: Option<&str>, rule: QueryRule) -> Self {
        let host = origin.key_host();
        let query = query.filter(|_| rule == QueryRule::KeepAll || !has_signature_query(path));
        let length = host.len() + path.len() + query.map_or(0, |query| 1 + query.len());
        let mut key = String::with_capacity(length);
        key.push_str(&host);
        key.push_str(path);
        if let Some(query) = query {
            key.push('?');
            key.push_str(query);
        }
        Self(key)
    }

    /// A key as it was read back from the store.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// Host, path and query. Queries may hold signatures: not for logs or metrics.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the query is part of it.
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.0.contains('?')
    }

    /// A key taken apart: its host, with a port if it has one, and path and query.
    #[must_use]
    pub fn split(key: &str) -> (&str, &str) {
        key.split_at(key.find('/').unwrap_or(key.len()))
    }

    /// SHA-256 of the key in lower-case hexadecimal: 64 characters, fit for a file name.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.0.as_bytes()))
    }
}

impl fmt::Display for ObjectKey {
    /// Without the query, so that signatures don't reach logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.split_once('?').map_or(self.0.as_str(), |(before, _)| before))
    }
}

/// `/filestreamingservice/files/<guid>`, also with a file name behind the GUID.
fn has_signature_query(path: &str) -> bool {
    let Some(rest) = path.strip_prefix(SIGNED_FILES) else { return false };
    let guid = rest.split('/').next().unwrap_or_default();
    let groups: Vec<usize> = guid.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && guid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use connected_cache_wire::delivery_optimization::{OriginAuthority, OriginName};

    use super::*;
    use crate::{AllowList, AllowedOrigin, ContentClass};

    fn key(host: &str, path: &str, query: Option<&str>, rule: QueryRule) -> ObjectKey {
        let alias = OriginName::parse("shared.example").ok();
        let regional = AllowedOrigin {
            pattern: "*.example".parse().unwrap(),
            port: None,
            class: ContentClass::Other,
            alias,
        };
        let list = AllowList::new(vec![regional], Vec::new());
        let origin = list.admit(&OriginAuthority::parse(host).unwrap(), 80).unwrap();
        ObjectKey::new(&origin, path, query, rule)
    }

    const FILE: &str = "/filestreamingservice/files/52fa8751-747d-479d-8f22-e32730cc0eb1";
    const HOST: &str = "dl.delivery.mp.microsoft.com";

    #[test]
    fn signatures_of_streamed_files_are_left_out() {
        let first = key(HOST, FILE, Some("P1=1&P4=a"), QueryRule::DropSignatures);
        assert_eq!(first, key(HOST, FILE, Some("P1=2&P4=b"), QueryRule::DropSignatures));
        assert_eq!(first, key(HOST, FILE, None, QueryRule::DropSignatures));
        assert_ne!(first, key(HOST, FILE, Some("P1=1&P4=a"), QueryRule::KeepAll));
        let named = format!("{FILE}/Microsoft.png");
        assert_eq!(
            key(HOST, &named, Some("x"), QueryRule::DropSignatures),
            key(HOST, &named, None, QueryRule::DropSignatures)
        );
    }

    #[test]
    fn other_queries_count() {
        for path in ["/f", "/filestreamingservice/files/not-a-guid", "/x/filestreamingservice/files/"] {
            let with = key(HOST, path, Some("a=1"), QueryRule::DropSignatures);
            assert_ne!(with, key(HOST, path, Some("a=2"), QueryRule::DropSignatures), "{path}");
            assert_ne!(with, key(HOST, path, None, QueryRule::DropSignatures), "{path}");
        }
    }

    #[test]
    fn hosts_with_one_alias_share_and_others_do_not() {
        let rule = QueryRule::DropSignatures;
        assert_eq!(key("eu.example", "/f", None, rule), key("us.example", "/f", None, rule));
        assert_ne!(key("eu.example", "/f", None, rule), key(HOST, "/f", None, rule));
    }

    #[test]
    fn the_digest_is_sha_256_and_the_query_is_not_displayed() {
        // printf 'shared.example/f?secret' | sha256sum
        let key = key("eu.example", "/f", Some("secret"), QueryRule::DropSignatures);
        assert_eq!(key.as_str(), "shared.example/f?secret");
        assert_eq!(key.digest(), "1fa4347610c34ce8479dbb303a6056a57bd082ec34885a53d38ccd388c0d5a04");
        assert_eq!(key.to_string(), "shared.example/f");
    }
}
