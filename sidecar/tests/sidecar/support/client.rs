//! A client that speaks HTTP/1.1 by hand, so that a test sees every byte as it was sent.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Nothing is judged by it: a thousand clients on a busy machine take their time, and a test that hangs has to end.
const PATIENCE: Duration = Duration::from_mins(2);

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A reply as it stood on the wire.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names as they were spelt.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection ended before the announced length.
    pub(crate) cut: bool,
}

impl Reply {
    /// By its exact spelling.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(spelt, _)| spelt == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    /// Without letting anything else of the runtime run.
    pub(crate) fn open_at_once(address: SocketAddr) -> Self {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream: TcpStream::from_std(stream).unwrap(), buffer: Vec::new() }
    }

    /// From this address of the machine.
    pub(crate) async fn open_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        Self { stream: socket.connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn ask(&mut self, method: &str, target: &str, lines: &[&str]) -> Reply {
        self.request(method, target, lines).await;
        self.reply(method == "HEAD").await
    }

    /// Sends a request like a Windows client's; a `Host` line among `lines` replaces the usual one.
    pub(crate) async fn request(&mut self, method: &str, target: &str, lines: &[&str]) {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !lines.iter().any(|line| line.starts_with("Host:")) {
            head.push_str("Host: cache.example\r\n");
        }
        for line in lines {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head.push_str("User-Agent: Microsoft-Delivery-Optimization/10.1\r\nAccept: */*\r\n\r\n");
        self.send(head.as_bytes()).await;
    }

    pub(crate) async fn reply(&mut self, without_body: bool) -> Reply {
        let (status, headers) = self.head().await;
        let length = headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map(|(_, value)| value.parse().unwrap());
        let length: usize = if without_body { 0 } else { length.expect("a reply has a length") };
        while self.buffer.len() < length && self.read_more().await {}
        let cut = self.buffer.len() < length;
        let body = self.buffer.drain(..length.min(self.buffer.len())).collect();
        Reply { status, headers, body, cut }
    }

    /// Status and headers; the body stays in the buffer and the socket.
    pub(crate) async fn head(&mut self) -> (u16, Vec<(String, String)>) {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            assert!(self.read_more().await, "the connection ended without a reply head");
        };
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers =
            lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.into(), value.into()));
        (status, headers.collect())
    }

    /// How many body bytes have come so far, waiting for at least `count`.
    pub(crate) async fn wait_for_body(&mut self, count: usize) -> &[u8] {
        while self.buffer.len() < count {
            assert!(self.read_more().await, "the connection ended early");
        }
        &self.buffer
    }

    /// The first so many body bytes, or those that came before the connection ended.
    pub(crate) async fn body_up_to(&mut self, count: usize) -> &[u8] {
        while self.buffer.len() < count && self.read_more().await {}
        &self.buffer
    }

    /// Reads to the end of the connection; how many bytes followed the reply head.
    pub(crate) async fn read_to_end(&mut self) -> u64 {
        while self.read_more().await {}
        self.buffer.len() as u64
    }

    /// Reads body bytes to the end of the connection, but not more than so many; how many there are then.
    pub(crate) async fn read_to_end_or(&mut self, count: u64) -> u64 {
        while (self.buffer.len() as u64) < count && self.read_more().await {}
        self.buffer.len() as u64
    }

    /// Says that no request follows, and reads everything that still comes.
    pub(crate) async fn last_words(&mut self) -> String {
        // Somebody who has closed already does not hear it.
        let _ = self.stream.shutdown().await;
        self.read_to_end().await;
        String::from_utf8_lossy(&self.buffer).into_owned()
    }

    /// Whether the server ends the connection without another byte.
    pub(crate) async fn ends(&mut self) -> bool {
        self.buffer.is_empty() && !self.read_more().await
    }

    async fn read_more(&mut self) -> bool {
        let read =
            timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("the server fell silent");
        read.unwrap_or(0) > 0
    }
}
