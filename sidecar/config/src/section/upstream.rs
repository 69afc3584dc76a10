//! `upstream`: how origins are reached.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use url::Url;

use super::ClientAddress;

/// How origins are reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Upstream {
    /// Host name to address and port, like `curl --resolve`: content, metadata and redirects alike. The address is
    /// checked against `content.allowPrivateTargets` like any other.
    pub resolve: BTreeMap<String, SocketAddr>,
    /// DNS servers, asked instead of the system's; its hosts file and search domains are left out too. Answers are kept
    /// for their time to live. Empty = the system's way.
    pub resolvers: Vec<SocketAddr>,
    /// `http://` or `https://` URL of a proxy, with `user:password@` where it wants that. http origins are asked in absolute
    /// form, https ones through CONNECT. It is the proxy that resolves the origins' names: `resolve` and `resolvers` only
    /// count for its own name, and `content.allowPrivateTargets` can only refuse hosts that are addresses themselves, so
    /// the proxy must keep origins with private addresses away. Its own address may be private.
    #[serde(deserialize_with = "proxy_url")]
    pub proxy: Option<Url>,
    /// Host patterns (`name`, `*.name`) and IP addresses that are reached without the proxy.
    pub no_proxy: Vec<String>,
    /// `http://` or `https://` URL, without path, of a cache that is asked instead of the origins, as clients ask it: path and query
    /// with `cacheHostOrigin` behind them. Every level stores. The origin itself is asked when the parent can't be reached or
    /// answers anything but content, 304, 416, or a 404 or 410 that a cache passed on. A parent by http is not
    /// asked for what a client asks by https. Its address may be private, and `proxy` counts for it too unless `noProxy` names it.
    #[serde(deserialize_with = "parent_url")]
    pub parent: Option<Url>,
    /// PEM file of roots for HTTPS origins, proxy and parent, added to the built-in ones. Read again when it changes.
    pub ca_file: Option<PathBuf>,
    /// Connections to one host at once, idle ones included. A request for one more waits for its turn within the time to
    /// the first byte.
    pub max_connections_per_origin: u32,
    /// How much of a client's address origins, parent and proxy are told by `X-Forwarded-For`, behind those that the client's own
    /// request names. As fetches are shared it is the address of the client that started one.
    pub forwarded_for: ClientAddress,
    /// What clients get for a 4xx of an origin.
    pub client_errors: ClientErrors,
    /// How long an origin may take.
    pub timeouts: UpstreamTimeouts,
}

/// What clients get for a 4xx of an origin about what they asked for. One that is about the cache's own request, or that says
/// to wait, is a 5xx in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientErrors {
    /// The same status: clients believe it, ask the origin themselves and stay away from the cache for that host for 15
    /// minutes.
    #[default]
    PassOn,
    /// 404 and 410 as they are, any other as 502: clients ask the origin themselves and come back for the next file.
    BadGateway,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            resolve: BTreeMap::new(),
            resolvers: Vec::new(),
            proxy: None,
            no_proxy: Vec::new(),
            parent: None,
            ca_file: None,
            max_connections_per_origin: 64,
            forwarded_for: ClientAddress::None,
            client_errors: ClientErrors::default(),
            timeouts: UpstreamTimeouts::default(),
        }
    }
}

/// Like the usual way, but what can't be read isn't repeated in the message: it may hold a password.
fn proxy_url<'text, Source: Deserializer<'text>>(source: Source) -> Result<Option<Url>, Source::Error> {
    let text = Option::<String>::deserialize(source)?;
    let url = text.map(|text| Url::parse(&text)).transpose();
    url.map_err(|error| Error::custom(format!("{error}: write a URL such as http://proxy.example:3128")))
}

fn parent_url<'text, Source: Deserializer<'text>>(source: Source) -> Result<Option<Url>, Source::Error> {
    let text = Option::<String>::deserialize(source)?;
    let url = text.map(|text| Url::parse(&text)).transpose();
    url.map_err(|error| Error::custom(format!("{error}: write a URL such as http://parent.example")))
}

/// How long an origin may take. Clients leave a cache for 15 minutes after 20 s of silence and want a first byte or a 5xx
/// within 10 s, so all of these stay below that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct UpstreamTimeouts {
    /// To a connection.
    pub connect_seconds: u64,
    /// From the request to its reply head.
    pub first_byte_seconds: u64,
    /// Between two reads of a body.
    pub idle_seconds: u64,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self { connect_seconds: 3, first_byte_seconds: 8, idle_seconds: 8 }
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn a_proxy_that_can_t_be_used_is_named_without_its_password() {
        for url in
            ["user:secret@proxy:80", "http://user:secret@", "http://u:secret@p/path", "ftp://u:secret@p"]
        {
            let error =
                Config::from_yaml(&format!("upstream: {{proxy: \"{url}\"}}")).unwrap_err().to_string();
            assert!(error.contains("upstream.proxy") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_parent_is_scheme_host_and_port_and_nothing_else() {
        for url in
            ["http://parent", "http://10.0.0.1:8080", "https://parent.example:443/", "http://[fd00::1]"]
        {
            let config = Config::from_yaml(&format!("upstream: {{parent: \"{url}\"}}"));
            assert!(config.unwrap().upstream.parent.is_some(), "{url}");
        }
        for url in [
            "parent.example",
            "parent.example:80",
            "ftp://parent.example",
            "http://parent.example/cache",
            "http://parent.example/?x",
            "http://parent.example#x",
            "http://user:secret@parent.example",
            "http://user@parent.example",
        ] {
            let error =
                Config::from_yaml(&format!("upstream: {{parent: \"{url}\"}}")).unwrap_err().to_string();
            assert!(error.contains("upstream.parent") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_proxy_with_its_exceptions_is_read() {
        let text =
            "upstream: {proxy: \"http://u:p@10.0.0.1:3128\", noProxy: [\"*.lan\", 10.0.0.2, \"fd00::1\"]}";
        let upstream = Config::from_yaml(text).unwrap().upstream;
        assert_eq!(upstream.proxy.unwrap().port(), Some(3128));
        assert_eq!(upstream.no_proxy.len(), 3);
        assert!(Config::from_yaml("upstream: {noProxy: [\"http://host\"]}").is_err());
        assert!(Config::from_yaml("upstream: {resolvers: [\"10.0.0.1:0\"]}").is_err());
    }
}
