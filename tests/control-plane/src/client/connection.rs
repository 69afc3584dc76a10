//! One kept connection to the cache: sends a request, reads the head and the body of its answer, with a limit on
//! every silence.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::http1::{Head, HeadError, read_head};

/// Time to establish a connection. The real agent allows a cache 3 s.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Read size.
const CHUNK_BYTES: usize = 256 << 10;

/// Where the cache listens, from a URL such as `http://cache.example` or `http://127.0.0.1:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheAddress {
    host: String,
    port: u16,
}

/// The URL names no cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheAddressError {
    /// It is no URL at all.
    #[error("{url:?} is no URL, write it like http://cache.example: {source}")]
    Parse {
        /// The text.
        url: String,
        /// What is wrong.
        source: url::ParseError,
    },
    /// The client speaks plain HTTP only.
    #[error("{url:?} is not http://, which is all this client speaks")]
    Scheme {
        /// The text.
        url: String,
    },
    /// The cache is asked with the paths of the objects, so its own URL has none.
    #[error("{url:?} has a path or query, leave only host and port")]
    Path {
        /// The text.
        url: String,
    },
}

impl CacheAddress {
    /// Splits a whole URL into the address and the request target.
    pub(super) fn split_url(text: &str) -> Result<(Self, String), CacheAddressError> {
        let url =
            Url::parse(text).map_err(|source| CacheAddressError::Parse { url: text.to_owned(), source })?;
        let (Some(host), Some(port), "http") = (url.host_str(), url.port_or_known_default(), url.scheme())
        else {
            return Err(CacheAddressError::Scheme { url: text.to_owned() });
        };
        let target =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        Ok((Self { host: host.to_owned(), port }, target))
    }

    /// As it belongs in a `Host` header.
    fn authority(&self) -> String {
        if self.port == 80 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl FromStr for CacheAddress {
    type Err = CacheAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::split_url(text)? {
            (address, target) if target == "/" => Ok(address),
            _ => Err(CacheAddressError::Path { url: text.to_owned() }),
        }
    }
}

impl From<std::net::SocketAddr> for CacheAddress {
    fn from(address: std::net::SocketAddr) -> Self {
        let host = match address.ip() {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Self { host, port: address.port() }
    }
}

/// The transfer broke, seen from the client.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferError {
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    #[error("no connection within {} s", CONNECT_LIMIT.as_secs())]
    ConnectTimeout,
    #[error("silence for {} s", limit.as_secs_f64())]
    Silence { limit: Duration },
    #[error("no answer: {0}")]
    Head(#[from] HeadError),
    #[error("connection closed without an answer")]
    Closed,
    #[error("connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("connection closed after {received_bytes} body bytes")]
    Cut { received_bytes: u64 },
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) status: u16,
    pub(super) head: Head,
}

/// A connection that is open or was open when it was last used.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    received: BytesMut,
    silence_limit: Duration,
    authority: String,
    used: bool,
}

impl Connection {
    pub(super) async fn open(address: &CacheAddress, silence_limit: Duration) -> Result<Self, TransferError> {
        let host = address.host.trim_matches(['[', ']']);
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect((host, address.port)))
            .await
            .map_err(|_| TransferError::ConnectTimeout)?
            .map_err(TransferError::Connect)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: BytesMut::new(),
            silence_limit,
            authority: address.authority(),
            used: false,
        })
    }

    /// Sends a GET and reads the head of the answer. `Ok(None)` = the cache had closed this kept connection, ask again
    /// on a new one.
    pub(super) async fn ask(
        &mut self,
        target: &str,
        headers: &[(&str, String)],
    ) -> Result<Option<AnswerHead>, TransferError> {
        let reused = std::mem::replace(&mut self.used, true);
        let mut request = format!("GET {target} HTTP/1.1\r\nConnection: Keep-Alive\r\nAccept: */*\r\n");
        for (name, value) in headers {
            // Writing to a string can't fail.
            let _ = write!(request, "{name}: {value}\r\n");
        }
        let _ = write!(request, "Host: {}\r\n\r\n", self.authority);
        let sent = self.stream.write_all(request.as_bytes()).await;
        let answer = match sent {
            Ok(()) => timeout(self.silence_limit, read_head(&mut self.stream, &mut self.received))
                .await
                .map_err(|_| TransferError::Silence { limit: self.silence_limit })?,
            Err(error) => Err(HeadError::Io(error)),
        };
        match answer {
            Ok(Some(head)) => Ok(Some(AnswerHead { status: status(&head)?, head })),
            Ok(None) | Err(HeadError::Io(_)) if reused && self.received.is_empty() => Ok(None),
            Ok(None) => Err(TransferError::Closed),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands exactly `length` body bytes to `sink`, in order.
    pub(super) async fn body(
        &mut self,
        length: u64,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(), TransferError> {
        let mut received_bytes = 0;
        while received_bytes < length {
            if self.received.is_empty() {
                self.received.reserve(CHUNK_BYTES);
                let read = timeout(self.silence_limit, self.stream.read_buf(&mut self.received)).await;
                match read {
                    Err(_) => return Err(TransferError::Silence { limit: self.silence_limit }),
                    Ok(Ok(0)) => return Err(TransferError::Cut { received_bytes }),
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return Err(error.into()),
                }
            }
            let left = usize::try_from(length - received_bytes).unwrap_or(usize::MAX);
            let count = left.min(self.received.len());
            sink(&self.received[..count]);
            self.received.advance(count);
            received_bytes += count as u64;
        }
        Ok(())
    }

    /// Bytes that came although nothing was due.
    pub(super) fn surplus_bytes(&self) -> usize {
        self.received.len()
    }
}

fn status(head: &Head) -> Result<u16, TransferError> {
    let mut parts = head.start_line.splitn(3, ' ');
    match (parts.next(), parts.next().and_then(|code| code.parse().ok())) {
        (Some("HTTP/1.1"), Some(status)) => Ok(status),
        _ => Err(HeadError::BadLine { line: head.start_line.chars().take(120).collect() }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_everything_else_is_refused() {
        let address: CacheAddress = "http://127.0.0.1:8080".parse().unwrap();
        assert_eq!(address.authority(), "127.0.0.1:8080");
        assert_eq!("http://cache.example/".parse::<CacheAddress>().unwrap().authority(), "cache.example");
        assert_eq!("http://[::1]:81".parse::<CacheAddress>().unwrap().authority(), "[::1]:81");
        for url in ["cache", "https://cache", "http://cache/path", "http://cache/?a", "ftp://x"] {
            assert!(url.parse::<CacheAddress>().is_err(), "{url} was taken");
        }
    }
}
