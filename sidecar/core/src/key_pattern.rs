//! Which keys are meant, by host and by the beginning of path and query.

use crate::{ObjectKey, OriginPattern};

/// Keys of some host, below some path. What is not given matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPattern {
    /// Compared with the host in the key, which is the alias where one is configured. Its port doesn't matter.
    pub host: Option<OriginPattern>,
    /// How path and query begin, byte for byte.
    pub prefix: Option<String>,
}

impl KeyPattern {
    /// Whether the key, as [`ObjectKey::as_str`] gives it, is one of those.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        let (authority, rest) = ObjectKey::split(key);
        let host = authority.split_once(':').map_or(authority, |(host, _)| host);
        self.host.as_ref().is_none_or(|pattern| pattern.matches_canonical(host))
            && self.prefix.as_ref().is_none_or(|prefix| rest.starts_with(prefix.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_prefix_must_both_match_and_what_is_not_given_does() {
        let pattern = |host: Option<&str>, prefix: Option<&str>| KeyPattern {
            host: host.map(|host| host.parse().unwrap()),
            prefix: prefix.map(str::to_owned),
        };
        let key = "b.a.example/files/1?x=/y";
        for (host, prefix, expected) in [
            (None, None, true),
            (Some("*.a.example"), None, true),
            (Some("B.A.example"), None, true),
            (Some("a.example"), None, false),
            (Some("*.example"), Some("/files/1?x"), true),
            (None, Some("/files/1?x=/y"), true),
            (None, Some("/files/1?x=/yz"), false),
            (None, Some("/files/2"), false),
            (Some("c.example"), Some("/files"), false),
        ] {
            assert_eq!(pattern(host, prefix).matches(key), expected, "{host:?} {prefix:?}");
            let at_port = key.replacen('/', ":8080/", 1);
            assert_eq!(pattern(host, prefix).matches(&at_port), expected, "{host:?} {prefix:?}");
        }
    }
}
