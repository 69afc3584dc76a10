//! Connections to origins: names are resolved here and nowhere else, every address is checked before the first packet, and
//! the check covers redirects and overrides alike because all of them come through this one place.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::address::is_public;

/// How connections are made.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) overrides: Arc<BTreeMap<String, SocketAddr>>,
    pub(super) allow_private_targets: bool,
    pub(super) connect_timeout: Duration,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the origin's address is private or loopback, set content.allowPrivateTargets if that is wanted")]
    PrivateTarget,
    #[error("unable to resolve the origin's name")]
    Resolve(#[source] io::Error),
    #[error("no connection within the time of upstream.timeouts.connectSeconds")]
    TimedOut,
    #[error("unable to connect to the origin")]
    Connect(#[source] io::Error),
    #[error(
        "no root certificates found for https, mount a bundle at /etc/ssl/certs/ca-certificates.crt or set upstream.caFile"
    )]
    NoRoots,
    #[error("the origin's URL can't be connected to")]
    BadUri,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Stream, ConnectError> {
        let host = uri.host().ok_or(ConnectError::BadUri)?.to_owned();
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let stream = timeout(self.connect_timeout, self.open(&host, port))
            .await
            .map_err(|_| ConnectError::TimedOut)??;
        stream.set_nodelay(true).map_err(ConnectError::Connect)?;
        if !is_https {
            return Ok(Stream::Plain(stream));
        }
        let tls = TlsConnector::from(self.tls.clone().ok_or(ConnectError::NoRoots)?);
        let name = rustls::pki_types::ServerName::try_from(host).map_err(|_| ConnectError::BadUri)?;
        let handshake = timeout(self.connect_timeout, tls.connect(name, stream)).await;
        let stream = handshake.map_err(|_| ConnectError::TimedOut)?.map_err(ConnectError::Connect)?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    async fn open(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let addresses = self.addresses(host, port).await?;
        let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last_error = error,
            }
        }
        Err(ConnectError::Connect(last_error))
    }

    /// Addresses that may be connected to; an error if there were some and all of them are refused.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let found: Vec<SocketAddr> = match (self.overrides.get(host), literal) {
            (Some(address), _) => vec![*address],
            (None, Some(address)) => vec![SocketAddr::new(address, port)],
            (None, None) => {
                tokio::net::lookup_host((host, port)).await.map_err(ConnectError::Resolve)?.collect()
            }
        };
        let had_some = !found.is_empty();
        let allowed: Vec<SocketAddr> = found
            .into_iter()
            .filter(|address| self.allow_private_targets || is_public(address.ip()))
            .collect();
        if had_some && allowed.is_empty() { Err(ConnectError::PrivateTarget) } else { Ok(allowed) }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(uri).await.map(TokioIo::new) })
    }
}

/// A connection with or without TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
