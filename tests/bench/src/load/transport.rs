//! What a client's bytes go through: TCP, or TLS on top of it.

use std::io::{self, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::Result;
use rustix::net::{RecvFlags, recv};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::HOST;

/// One read of encrypted bytes.
const ENCRYPTED_READ: usize = 256 * 1024;

/// Where a client connects to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// `None` = plain HTTP.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

#[derive(Debug)]
pub(super) struct Tls {
    reader: BufReader<TcpStream>,
    connection: ClientConnection,
}

impl Transport {
    pub(super) fn open(to: &Target) -> Result<Self> {
        let mut stream = TcpStream::connect(to.address)?;
        stream.set_nodelay(true)?;
        let Some(config) = &to.tls else {
            stream.set_nonblocking(true)?;
            return Ok(Self::Plain(stream));
        };
        let mut connection = ClientConnection::new(Arc::clone(config), ServerName::try_from(HOST)?)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        stream.set_nonblocking(true)?;
        let reader = BufReader::with_capacity(ENCRYPTED_READ, stream);
        Ok(Self::Tls(Box::new(Tls { reader, connection })))
    }

    pub(super) const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => tls.reader.get_ref(),
        }
    }

    /// Sends a request. It fits into the socket: nothing else is on its way.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(tls) => {
                tls.connection.writer().write_all(bytes)?;
                while tls.connection.wants_write() {
                    tls.connection.write_tls(tls.reader.get_mut())?;
                }
                Ok(())
            }
        }
    }

    /// Reads bytes.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(tls) => tls.receive(buffer),
        }
    }

    /// Drops as many bytes as the buffer has room for, inside the kernel if that can be: what the buffer holds afterwards is
    /// nothing.
    pub(super) fn discard(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => {
                let (_, count) = recv(stream, buffer, RecvFlags::TRUNC)?;
                Ok(count)
            }
            Self::Tls(tls) => tls.receive(buffer),
        }
    }
}

impl Tls {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if self.connection.read_tls(&mut self.reader)? == 0 {
                return Ok(0);
            }
            self.connection.process_new_packets().map_err(io::Error::other)?;
        }
    }
}
