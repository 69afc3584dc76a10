//! The proxy of `upstream.proxy`: which hosts go through it, as whom we ask, and the tunnel for https.
//!
//! The credentials are kept only as the header value that carries them, marked as sensitive; nothing here prints them.

use std::{io, net::IpAddr};

use base64::{Engine, prelude::BASE64_STANDARD};
use connected_cache_core::OriginPattern;
use connected_cache_wire::delivery_optimization::OriginName;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

use super::{names::literal, stream::Stream};

/// Longest answer to CONNECT.
const MAX_HEAD_BYTES: usize = 16 << 10;
const PROXY_AUTHENTICATION_REQUIRED: u16 = 407;

/// A proxy and who goes around it.
pub(super) struct Proxy {
    pub(super) https: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// `Proxy-Authorization` of every request to it.
    pub(super) authorization: Option<HeaderValue>,
    spared: Vec<OriginPattern>,
    spared_addresses: Vec<IpAddr>,
}

/// Why there is no way through the proxy.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("it wants other credentials (407), set user and password in its URL")]
    Credentials,
    #[error("it answered {status} to CONNECT")]
    Refused { status: u16 },
    #[error("its answer to CONNECT is not HTTP/1.1")]
    NotHttp,
    #[error("no connection within the time of upstream.timeouts.connectSeconds")]
    TimedOut,
    #[error("unable to connect to it")]
    Connect(#[source] io::Error),
    #[error("{0}")]
    Unreachable(String),
}

impl Proxy {
    /// `None` = the URL has no host, which validation refuses.
    pub(super) fn new(url: &Url, no_proxy: &[String]) -> Option<Self> {
        // What is neither is refused by validation.
        Some(Self {
            https: url.scheme() == "https",
            host: url.host_str()?.to_owned(),
            port: url.port_or_known_default()?,
            authorization: authorization(url),
            spared: no_proxy.iter().filter_map(|pattern| pattern.parse().ok()).collect(),
            spared_addresses: no_proxy.iter().filter_map(|host| literal(host)).collect(),
        })
    }

    /// Whether this host is reached without the proxy.
    pub(super) fn spares(&self, host: &str) -> bool {
        match literal(host) {
            Some(address) => self.spared_addresses.contains(&address),
            None => OriginName::parse(host)
                .is_ok_and(|name| self.spared.iter().any(|pattern| pattern.matches(&name))),
        }
    }

    /// Makes the connection to the proxy one to this host (RFC 9110 9.3.6).
    pub(super) async fn tunnel(&self, stream: &mut Stream, host: &str, port: u16) -> Result<(), ProxyError> {
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(authorization.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await.map_err(ProxyError::Connect)?;
        stream.flush().await.map_err(ProxyError::Connect)?;
        match status(&read_head(stream).await?) {
            Some(200..=299) => Ok(()),
            Some(PROXY_AUTHENTICATION_REQUIRED) => Err(ProxyError::Credentials),
            Some(status) => Err(ProxyError::Refused { status }),
            None => Err(ProxyError::NotHttp),
        }
    }
}

/// Byte by byte: what follows the empty line belongs to the origin.
async fn read_head(stream: &mut Stream) -> Result<Vec<u8>, ProxyError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD_BYTES {
            return Err(ProxyError::NotHttp);
        }
        head.push(stream.read_u8().await.map_err(ProxyError::Connect)?);
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.1 ").or_else(|| head.strip_prefix(b"HTTP/1.0 "))?;
    let digits = rest.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// User and password of the URL, which are percent-encoded there, as RFC 7617 sends them.
fn authorization(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str, no_proxy: &[&str]) -> Proxy {
        let no_proxy: Vec<String> = no_proxy.iter().map(|&host| host.to_owned()).collect();
        Proxy::new(&url.parse().unwrap(), &no_proxy).unwrap()
    }

    #[test]
    fn credentials_are_those_of_rfc_7617() {
        // The example of RFC 7617 section 2, and its example of section 2.1 with a user of UTF-8.
        let sent = |url| proxy(url, &[]).authorization.map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(
            sent("http://Aladdin:open%20sesame@proxy.example").as_deref(),
            Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        );
        assert_eq!(sent("http://test:123%C2%A3@proxy.example").as_deref(), Some("Basic dGVzdDoxMjPCow=="));
        assert_eq!(sent("http://proxy.example"), None);
    }

    #[test]
    fn spared_hosts_are_those_of_the_patterns_and_addresses() {
        let proxy = proxy("http://proxy.example", &["*.lan.example", "exact.example", "10.0.0.1", "fd00::1"]);
        for host in
            ["lan.example", "a.b.lan.example", "LAN.example", "exact.example", "10.0.0.1", "[fd00::1]"]
        {
            assert!(proxy.spares(host), "{host}");
        }
        for host in ["xlan.example", "a.exact.example", "example", "10.0.0.2", "[fd00::2]"] {
            assert!(!proxy.spares(host), "{host}");
        }
    }

    #[test]
    fn only_a_status_line_of_http_1_is_a_status() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407 \r\n\r\n"), Some(407));
        for head in [&b"HTTP/2 200\r\n\r\n"[..], b"HTTP/1.1 2x0 OK\r\n\r\n", b"SSH-2.0\r\n\r\n", b""] {
            assert_eq!(status(head), None);
        }
    }
}
