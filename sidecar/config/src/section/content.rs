//! `content`: which origins are cached, for how long, and under which key.

mod classes;
mod pins;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use classes::ClassOptions;
pub use pins::Pin;

/// What may be cached and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Content {
    /// Origins beside the built-in list.
    pub extra_origins: Vec<ExtraOrigin>,
    /// Host patterns that are never served; wins over every other list.
    pub deny_origins: Vec<String>,
    /// Origins may resolve to private or loopback addresses (labs). `false` protects the cluster's own services.
    pub allow_private_targets: bool,
    /// The two objects by which a cache is tested, `/mscomtest/wuidt.gif` and the `Microsoft.png` of Delivery Optimization's
    /// troubleshooting, are answered by stand-ins of the same length and type while their origin can't be reached: for clusters
    /// without internet. Their bytes are others, and they are never stored.
    pub test_objects: bool,
    /// Ages.
    pub ttl: TimeToLive,
    /// How a URL becomes a cache key.
    pub key: ContentKey,
    /// What is fetched beyond the asked range.
    pub read_ahead: ReadAhead,
    /// What goes when a volume is full.
    pub eviction: Eviction,
    /// What differs for one class.
    pub classes: BTreeMap<ContentClass, ClassOptions>,
    /// What stays although nobody asks for it.
    pub pins: Vec<Pin>,
}

/// One origin or a family of origins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ExtraOrigin {
    /// `name` or `*.name`; the star also covers the bare name. With `:port` behind it that port is allowed and asked instead of 80
    /// or 443, and no other. No scheme. Required.
    pub host: String,
    /// The class it counts as. `None` = `Other`.
    pub class: Option<ContentClass>,
    /// Host name used in the cache key instead of the real one, so that several hosts share their objects.
    pub alias: Option<String>,
}

impl ExtraOrigin {
    /// The pattern of names in `host`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.split_once(':').map_or(&self.host, |(name, _)| name)
    }

    /// The port in `host`. `None` = none stands there, or something that validation refuses.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let (_, port) = self.host.split_once(':')?;
        port.parse().ok()
    }
}

/// What kind of content an origin delivers: a closed set, used as a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the products' names")]
pub enum ContentClass {
    WindowsUpdate,
    Edge,
    Office,
    Intune,
    Teams,
    Outlook,
    Xbox,
    DeviceUpdate,
    Other,
}

/// Ages in seconds since the last use of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct TimeToLive {
    /// Unused for so long = gone.
    pub max_age_seconds: u64,
    /// Served for so long past its freshness while a newer state is asked for, but never longer than it was fresh.
    pub stale_while_revalidate_seconds: u64,
    /// Served for so long past its freshness while the origin fails.
    pub stale_if_error_seconds: u64,
}

impl Default for TimeToLive {
    fn default() -> Self {
        Self {
            max_age_seconds: 2_592_000,
            stale_while_revalidate_seconds: 86_400,
            stale_if_error_seconds: 604_800,
        }
    }
}

/// How a URL becomes a cache key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ContentKey {
    /// Whether queries that are only signatures are left out.
    pub ignore_query: IgnoreQuery,
}

/// Whether queries that are only signatures are left out of the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IgnoreQuery {
    /// On the paths whose query is known to be only a signature.
    #[default]
    Auto,
    /// Every query is part of the key.
    Never,
}

/// What is fetched beyond the asked range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ReadAhead {
    /// How far.
    pub mode: ReadAheadMode,
}

/// What is fetched beyond the asked range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadAheadMode {
    /// Only what was asked, one piece at a time.
    Off,
    /// A few pieces ahead inside the asked range, and behind it once pieces before it were asked for one after the other.
    #[default]
    Adaptive,
    /// Any request fetches the whole object.
    WholeObject,
}

/// What goes when a volume is full.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Eviction {
    /// The order.
    pub policy: EvictionPolicy,
    /// Classes that go last.
    pub protect: Vec<ContentClass>,
}

/// Order of eviction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EvictionPolicy {
    /// The best order that this release knows.
    #[default]
    Auto,
    /// Least recently used object first.
    Lru,
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn of_host(host: &str) -> Result<Config, crate::ConfigError> {
        Config::from_yaml(&format!("content: {{extraOrigins: [{{host: '{host}'}}]}}"))
    }

    #[test]
    fn an_origin_is_a_name_with_or_without_a_port() {
        for (host, name, port) in [
            ("a.example", "a.example", None),
            ("a.example:1", "a.example", Some(1)),
            ("*.a.example:65535", "*.a.example", Some(65535)),
        ] {
            let config = of_host(host).unwrap();
            let origin = &config.content.extra_origins[0];
            assert_eq!((origin.name(), origin.port()), (name, port), "{host}");
        }
    }

    #[test]
    fn a_port_that_is_none_is_refused_by_the_name_of_its_key() {
        for port in ["", "0", "080", "+80", "65536", "http", "80:80"] {
            let error = of_host(&format!("a.example:{port}")).unwrap_err().to_string();
            assert!(
                error.contains("content.extraOrigins[0].host") && error.contains("1 to 65535"),
                "{error}"
            );
        }
        for host in ["http://a.example", "http://a.example:80", "10.0.0.1:80", ":80", "[::1]:80"] {
            let error = of_host(host).unwrap_err().to_string();
            assert!(
                error.contains("content.extraOrigins[0].host") && error.contains("not a host name"),
                "{error}"
            );
        }
    }
}
