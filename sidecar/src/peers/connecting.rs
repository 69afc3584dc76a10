//! A new connection to a member: TCP, TLS, its certificate, and its word that we are let in.

use std::{
    io::{self, Cursor},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, join, split},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    error::PeersError,
    identity::{Credentials, Usage, names_of},
    link::Link,
};
use crate::metrics::Counters;

/// How long TCP may take: pods are near each other, and the origin is waiting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the rest may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that are read to see whether we are let in.
const FIRST_READ: usize = 1024;

/// A connection that takes requests.
pub(super) async fn connect(
    member: String,
    address: SocketAddr,
    credentials: Arc<Credentials>,
    counters: Arc<Counters>,
) -> Result<Link, PeersError> {
    let timed_out = || PeersError::TimedOut { member: member.clone() };
    let unreachable =
        |error: io::Error| PeersError::Unreachable { member: member.clone(), reason: error.to_string() };
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.map_err(|_| timed_out())?;
    let stream = stream.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let entering = enter(&member, stream, &credentials, &counters);
    timeout(HANDSHAKE_TIMEOUT, entering).await.map_err(|_| timed_out())?
}

async fn enter(
    member: &str,
    stream: TcpStream,
    credentials: &Credentials,
    counters: &Arc<Counters>,
) -> Result<Link, PeersError> {
    let untrusted = |reason: String| PeersError::Untrusted { member: member.to_owned(), reason };
    let name = ServerName::try_from(member.to_owned())
        .map_err(|_| untrusted("its name is not one that a certificate can carry".to_owned()))?;
    let connector = TlsConnector::from(credentials.client.clone());
    let mut stream = connector.connect(name, stream).await.map_err(|error| {
        let reason = error.to_string();
        // An error of TLS that is not one of the socket is about who is there.
        if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) {
            untrusted(reason)
        } else {
            PeersError::Unreachable { member: member.to_owned(), reason }
        }
    })?;
    let (_, session) = stream.get_ref();
    if names_of(session.peer_certificates(), Usage::Server).is_none() {
        return Err(untrusted(
            "its certificate is not for servers (extended key usage serverAuth)".to_owned(),
        ));
    }
    // In TLS 1.3 our handshake is done before the other end has seen our certificate. It speaks first when it lets us in:
    // HTTP/2 begins with its settings.
    let mut first = BytesMut::with_capacity(FIRST_READ);
    let closed = || untrusted("it closed the connection when it saw our certificate".to_owned());
    match stream.read_buf(&mut first).await {
        Ok(1..) => {}
        Ok(0) => return Err(closed()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(closed()),
        Err(error) if is_alert(&error) => return Err(untrusted(error.to_string())),
        Err(error) => {
            return Err(PeersError::Broken { member: member.to_owned(), reason: error.to_string() });
        }
    }
    let (reader, writer) = split(stream);
    Link::new(member, join(Cursor::new(first).chain(reader), writer), counters).await
}

/// The other end said by TLS what it does not like.
fn is_alert(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}
