//! Connections to origins, straight or through the proxy. Names are resolved in `names` and nowhere else, every address is
//! checked before the first packet, and the check covers redirects and overrides alike because all of them come through
//! this one place. Through a proxy it is the proxy that resolves, so only hosts that are addresses can be checked.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use http::Uri;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    UpstreamError,
    error::chain,
    names::Names,
    proxy::{Proxy, ProxyError},
    roots::Roots,
    stream::Stream,
};

/// Where a connection leads: scheme, host and port of an origin or of the parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) https: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// The administrator named it, so its address may be any.
    pub(super) is_named: bool,
}

impl Endpoint {
    pub(super) fn of(uri: &Uri, is_named: bool) -> Option<Self> {
        let https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        Some(Self { https, host: uri.host()?.to_owned(), port, is_named })
    }
}

/// How connections are made.
pub(super) struct Connector {
    pub(super) names: Names,
    pub(super) proxy: Option<Proxy>,
    pub(super) roots: Arc<Roots>,
    pub(super) connect_timeout: Duration,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the origin's address is private or loopback, set content.allowPrivateTargets if that is wanted")]
    PrivateTarget,
    #[error("unable to resolve the name")]
    Resolve(#[source] io::Error),
    #[error("no connection within the time of upstream.timeouts.connectSeconds")]
    TimedOut,
    #[error("unable to connect")]
    Connect(#[source] io::Error),
    #[error(
        "no root certificates found for https, mount a bundle at /etc/ssl/certs/ca-certificates.crt or check the file of {key}"
    )]
    NoRoots { key: &'static str },
    #[error("the URL can't be connected to")]
    BadUri,
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

impl From<ConnectError> for UpstreamError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::PrivateTarget => Self::PrivateTarget,
            ConnectError::TimedOut => Self::TimedOut,
            ConnectError::Proxy(error) => error.into(),
            error => Self::Unreachable { reason: chain(&error) },
        }
    }
}

impl From<ProxyError> for UpstreamError {
    fn from(error: ProxyError) -> Self {
        Self::Proxy { reason: chain(&error) }
    }
}

impl Connector {
    /// The proxy that plain requests to this origin are sent to, as such; https ones are sent through a tunnel to the
    /// origin itself.
    pub(super) fn plain_proxy(&self, endpoint: &Endpoint) -> Option<&Proxy> {
        self.proxy_for(endpoint).filter(|_| !endpoint.https)
    }

    /// A connection on which requests for this origin can be sent.
    pub(super) async fn connect(&self, endpoint: &Endpoint) -> Result<Stream, ConnectError> {
        let Endpoint { https, host, port, is_named } = endpoint;
        let stream = match self.proxy_for(endpoint) {
            None if *is_named => {
                self.in_time(async { open(&self.names.of_named(host, *port).await?).await }).await?
            }
            None => self.in_time(async { open(&self.names.of_origin(host, *port).await?).await }).await?,
            Some(proxy) => {
                if !is_named {
                    self.names.check_literal(host)?;
                }
                let mut stream = self.reach(proxy).await?;
                if *https {
                    let tunnel = proxy.tunnel(&mut stream, host, *port);
                    timeout(self.connect_timeout, tunnel).await.map_err(|_| ProxyError::TimedOut)??;
                }
                stream
            }
        };
        if *https { self.with_tls(stream, host).await } else { Ok(stream) }
    }

    fn proxy_for(&self, endpoint: &Endpoint) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|proxy| !proxy.spares(&endpoint.host))
    }

    /// A connection to the proxy. Whatever goes wrong is said of the proxy.
    async fn reach(&self, proxy: &Proxy) -> Result<Stream, ProxyError> {
        let opening = async { open(&self.names.of_named(&proxy.host, proxy.port).await?).await };
        let secured = async {
            let stream = self.in_time(opening).await?;
            if proxy.https { self.with_tls(stream, &proxy.host).await } else { Ok(stream) }
        };
        secured.await.map_err(|error| match error {
            ConnectError::TimedOut => ProxyError::TimedOut,
            ConnectError::Connect(error) => ProxyError::Connect(error),
            error => ProxyError::Unreachable(chain(&error)),
        })
    }

    async fn with_tls(&self, stream: Stream, host: &str) -> Result<Stream, ConnectError> {
        let tls =
            TlsConnector::from(self.roots.present().ok_or(ConnectError::NoRoots { key: self.roots.key })?);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = rustls::pki_types::ServerName::try_from(host).map_err(|_| ConnectError::BadUri)?;
        let handshake = async { tls.connect(name, stream).await.map_err(ConnectError::Connect) };
        Ok(Stream::Tls(Box::new(self.in_time(handshake).await?)))
    }

    async fn in_time<Output>(
        &self,
        step: impl Future<Output = Result<Output, ConnectError>>,
    ) -> Result<Output, ConnectError> {
        timeout(self.connect_timeout, step).await.map_err(|_| ConnectError::TimedOut)?
    }
}

/// How long an address has before the next one is tried beside it (RFC 8305 section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// The first of the addresses that answers. One that swallows what is sent to it costs a moment and not the whole time.
async fn open(addresses: &[SocketAddr]) -> Result<Stream, ConnectError> {
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut waiting = in_turns(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    loop {
        match waiting.next() {
            Some(address) => attempts.push(TcpStream::connect(address)),
            None if attempts.is_empty() => return Err(ConnectError::Connect(last_error)),
            None => {}
        }
        let next = async {
            if waiting.len() > 0 {
                tokio::time::sleep(NEXT_ADDRESS_AFTER).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(ConnectError::Connect)?;
                    return Ok(Stream::Plain(stream));
                }
                Err(error) => last_error = error,
            },
            () = next => {}
        }
    }
}

/// Both families in turns, beginning with that of the first: if one of them leads nowhere, the other is soon tried.
fn in_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let (same, other): (Vec<_>, Vec<_>) =
        addresses.iter().partition(|address| address.is_ipv4() == first.is_ipv4());
    let longest = same.len().max(other.len());
    (0..longest).flat_map(|index| [same.get(index), other.get(index)]).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// A port that swallows whatever is sent to it: its queue is full and nobody accepts.
    async fn silent() -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut queue = Vec::new();
        while let Ok(Ok(stream)) =
            timeout(Duration::from_secs(1), TcpStream::connect(listener.local_addr().unwrap())).await
        {
            queue.push(stream);
        }
        (listener, queue)
    }

    #[tokio::test]
    async fn an_address_that_swallows_everything_does_not_hide_the_next() {
        let (silent, _queue) = silent().await;
        let answering = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addresses = [silent.local_addr().unwrap(), answering.local_addr().unwrap()];
        assert!(
            matches!(open(&addresses).await, Ok(Stream::Plain(stream)) if stream.peer_addr().unwrap() == addresses[1])
        );
    }

    #[tokio::test]
    async fn the_last_refusal_is_told_when_no_address_answers() {
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
        let outcome = open(&[closed, closed]).await.map(|_| ());
        assert!(
            matches!(outcome, Err(ConnectError::Connect(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
        );
        assert!(open(&[]).await.is_err());
    }

    #[test]
    fn families_take_turns() {
        let addresses =
            |text: &str| text.split(' ').map(|one| one.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let mixed = addresses("[::1]:1 [::2]:1 [::3]:1 10.0.0.1:1");
        assert_eq!(in_turns(&mixed), addresses("[::1]:1 10.0.0.1:1 [::2]:1 [::3]:1"));
        assert_eq!(in_turns(&[]), []);
    }
}
