//! A client that writes and reads HTTP/1.1 by hand, so that a reply is judged as it stood on the wire.

use std::{fmt, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Silence after which a real client would leave the cache for a quarter of an hour is 20 s.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoReply {
    Refused(String),
    Silence,
    /// The connection ended before the first byte of a reply.
    Ended,
    /// What came is not HTTP.
    Broken(String),
}

/// How the body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As announced.
    Whole,
    /// The connection ended before.
    Cut,
    /// The client went away.
    Left,
}

/// A reply as it stood on the wire.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names as they were spelt.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

impl Reply {
    /// All values of a field, however it is spelt.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let matching = self.headers.iter().filter(|(spelt, _)| spelt.eq_ignore_ascii_case(name));
        matching.map(|(_, value)| value.as_str()).collect()
    }

    /// A field that is there once.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        match self.values(name)[..] {
            [value] => Some(value),
            _ => None,
        }
    }

    /// The announced length, if it is a number.
    pub(crate) fn content_length(&self) -> Option<usize> {
        let value = self.value("content-length")?;
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { value.parse().ok() } else { None }
    }

    /// Whether the next request may go on the same connection.
    fn keeps_connection(&self) -> bool {
        let closes = self.value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        self.end == End::Whole && !closes
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.status)?;
        for name in ["Content-Length", "Content-Range", "ETag", "Last-Modified", "X-Cache", "Cache-Status"] {
            for value in self.values(name) {
                write!(formatter, ", {name}: {value}")?;
            }
        }
        write!(formatter, ", {} body bytes {:?}", self.body.len(), self.end)
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// A reply was read from it already.
    pub(crate) is_used: bool,
    /// Another request may be sent on it.
    pub(crate) is_open: bool,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, NoReply> {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                Ok(Self { stream, buffer: Vec::new(), is_used: false, is_open: true })
            }
            Ok(Err(error)) => Err(NoReply::Refused(error.to_string())),
            Err(_) => Err(NoReply::Silence),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), NoReply> {
        self.stream.write_all(bytes).await.map_err(|_| NoReply::Ended)
    }

    /// The next reply; with `leave_after` only so much of its body.
    pub(crate) async fn reply(
        &mut self,
        is_head: bool,
        leave_after: Option<usize>,
    ) -> Result<Reply, NoReply> {
        let (status, headers) = self.head().await?;
        let mut reply = Reply { status, headers, body: Vec::new(), end: End::Whole };
        self.is_used = true;
        let has_body = !is_head && status != 304 && status != 204;
        // A reply without a length can't be read; the checker has its say about that.
        let length = if has_body { reply.content_length().unwrap_or(0) } else { 0 };
        let wanted = leave_after.map_or(length, |count| count.min(length));
        while self.buffer.len() < wanted {
            if !self.read_more().await? {
                reply.end = End::Cut;
                break;
            }
        }
        reply.body = self.take(wanted);
        if wanted < length && reply.end == End::Whole {
            reply.end = End::Left;
        }
        self.is_open = reply.keeps_connection() && (!has_body || reply.content_length().is_some());
        Ok(reply)
    }

    async fn head(&mut self) -> Result<(u16, Vec<(String, String)>), NoReply> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if !self.read_more().await? {
                let inside = NoReply::Broken("the connection ended inside a reply head".to_owned());
                return Err(if self.buffer.is_empty() { NoReply::Ended } else { inside });
            }
        };
        let head = self.take(end + 4);
        parse(&head).ok_or_else(|| NoReply::Broken(String::from_utf8_lossy(&head).into_owned()))
    }

    /// As many as there are, if that is not enough.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(count.min(self.buffer.len()));
        std::mem::replace(&mut self.buffer, rest)
    }

    /// False at the end of the connection.
    async fn read_more(&mut self) -> Result<bool, NoReply> {
        match timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await {
            Ok(read) => Ok(read.unwrap_or(0) > 0),
            Err(_) => Err(NoReply::Silence),
        }
    }
}

fn parse(head: &[u8]) -> Option<(u16, Vec<(String, String)>)> {
    let mut lines = std::str::from_utf8(head).ok()?.trim_end().split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?;
    let status = status.get(..3)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    Some((status, lines.map(header).collect::<Option<_>>()?))
}
