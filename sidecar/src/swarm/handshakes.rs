//! The handshakes at both ends of a new connection (dossier 5.2).

use std::{io, time::Duration};

use connected_cache_wire::swarm::{Handshake, HandshakeError, HandshakeForm, HandshakeReader};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHandshake {
    #[error("it took too long")]
    Time,
    #[error("closed before it was complete")]
    Cut,
    #[error(transparent)]
    Invalid(#[from] HandshakeError),
}

impl From<io::Error> for NoHandshake {
    fn from(_: io::Error) -> Self {
        Self::Cut
    }
}

/// Waits for theirs. Never reads beyond it: frames may follow at once.
pub(super) async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    limit: Duration,
) -> Result<(Handshake, HandshakeForm), NoHandshake> {
    let reading = async {
        let mut reader = HandshakeReader::default();
        let mut buffer = [0; HandshakeForm::Long.length_bytes()];
        loop {
            let missing = reader.missing_bytes();
            let count = stream.read(&mut buffer[..missing]).await?;
            if count == 0 {
                return Err(NoHandshake::Cut);
            }
            if let Some(read) = reader.read(&mut &buffer[..count])? {
                return Ok(read);
            }
        }
    };
    timeout(limit, reading).await.unwrap_or(Err(NoHandshake::Time))
}

/// Sends ours. It fits the socket's buffer, which is empty.
pub(super) async fn send(
    stream: &mut TcpStream,
    handshake: Handshake,
    form: HandshakeForm,
) -> Result<(), NoHandshake> {
    Ok(stream.write_all(&handshake.encode(form)).await?)
}
