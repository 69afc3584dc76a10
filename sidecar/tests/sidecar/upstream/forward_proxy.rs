//! A forward proxy that sends everything to one address, whatever it was asked for, and keeps the heads that it saw.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

/// A request's head as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) first_line: String,
    lines: Vec<String>,
}

impl Head {
    /// The only value of this field; names are compared as clients should (RFC 9110 5.1).
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.lines.iter().filter_map(|line| line.split_once(": "));
        let mut values = fields.filter(|(spelt, _)| spelt.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let value = values.next();
        assert!(values.next().is_none(), "{name} stands there twice");
        value
    }
}

pub(super) struct ForwardProxy {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Head>>>,
    _task: AbortOnDropHandle<()>,
}

impl ForwardProxy {
    /// With `refusal` that status is all that anybody gets.
    pub(super) async fn start(origin: SocketAddr, refusal: Option<u16>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(accept(listener, origin, refusal, seen.clone()));
        Self { address, seen, _task: AbortOnDropHandle::new(task) }
    }

    pub(super) fn seen(&self) -> Vec<Head> {
        self.seen.lock().clone()
    }
}

async fn accept(
    listener: TcpListener,
    origin: SocketAddr,
    refusal: Option<u16>,
    seen: Arc<Mutex<Vec<Head>>>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, origin, refusal, seen.clone()));
    }
}

/// One request for a connection, so that nothing needs to be cut into messages.
async fn serve(
    mut client: TcpStream,
    origin: SocketAddr,
    refusal: Option<u16>,
    seen: Arc<Mutex<Vec<Head>>>,
) -> Option<()> {
    let head = read_head(&mut client).await?;
    seen.lock().push(head.clone());
    if let Some(status) = refusal {
        let answer = format!(
            "HTTP/1.1 {status} Refused\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n"
        );
        return client.write_all(answer.as_bytes()).await.ok();
    }
    let mut server = TcpStream::connect(origin).await.ok()?;
    if head.first_line.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 Connected\r\nX-Proxy: y\r\n\r\n").await.ok()?;
    } else {
        // To origin form: what comes after scheme and host stays as it is.
        let (scheme, rest) = head.first_line.split_once("://")?;
        let (method, path) = (scheme.split(' ').next()?, &rest[rest.find('/')?..]);
        let mut request = format!("{method} {path}\r\nConnection: close\r\n");
        let passed_on = head.lines.iter().filter(|line| !line.to_lowercase().starts_with("proxy-"));
        for line in passed_on {
            request.push_str(line);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        server.write_all(request.as_bytes()).await.ok()?;
    }
    copy_bidirectional(&mut client, &mut server).await.ok().map(|_| ())
}

async fn read_head(stream: &mut TcpStream) -> Option<Head> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.trim_end().split("\r\n").map(str::to_owned);
    Some(Head { first_line: lines.next()?, lines: lines.collect() })
}
