//! A raw HTTP/1.1 exchange for tests: it shows every byte and shares no code with the crate.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod lab;

use std::net::SocketAddr;
use std::time::Duration;

use connected_cache_mock_control_plane::{Config, Content, Fault, FormulaObject, MockControlPlane};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Far beyond anything that should happen: only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const BIG: &str = "/formula/big";
pub(crate) const BIG_LENGTH: u64 = 3 * 1024 * 1024 + 17;
pub(crate) const BIG_SEED: u64 = 7;

/// A mock on loopback with one formula object and these faults.
pub(crate) async fn mock(faults: Vec<Fault>) -> (MockControlPlane, SocketAddr) {
    let formula = FormulaObject { path: BIG.to_owned(), length_bytes: BIG_LENGTH, seed: BIG_SEED };
    let content = Content { folder: None, formulas: vec![formula] };
    let mock =
        MockControlPlane::start(Config { content, faults, ..Config::default() }).await.expect("mock starts");
    let address = mock.http_address().expect("HTTP is on");
    (mock, address)
}

/// The formula computed byte by byte, straight from its published definition.
pub(crate) fn formula_bytes(seed: u64, first: u64, length: u64) -> Vec<u8> {
    (first..first + length)
        .map(|offset| {
            let mut z = seed.wrapping_add((offset / 8 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            (z >> (8 * (offset % 8))).to_le_bytes()[0]
        })
        .collect()
}

/// An answer as it stood on the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended early because the connection closed.
    pub(crate) cut: bool,
}

impl Answer {
    /// Value of a header spelled exactly so.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A connection that sends what it is told.
pub(crate) struct Wire<S = TcpStream> {
    pub(crate) stream: S,
    pub(crate) received: Vec<u8>,
}

impl Wire {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("connects"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, received: Vec::new() }
    }

    pub(crate) async fn send(&mut self, request: &str) {
        self.stream.write_all(request.as_bytes()).await.expect("sends");
    }

    /// Reads more; false at the end of the connection.
    pub(crate) async fn more(&mut self) -> bool {
        let mut chunk = vec![0; 64 << 10];
        let read = timeout(PATIENCE, self.stream.read(&mut chunk)).await.expect("the mock went silent");
        let count = read.unwrap_or(0);
        self.received.extend_from_slice(&chunk[..count]);
        count > 0
    }

    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.received.split_off(end + 4);
                let head = std::mem::replace(&mut self.received, rest);
                return String::from_utf8(head).expect("a head is text");
            }
            assert!(self.more().await, "no head, only {:?}", String::from_utf8_lossy(&self.received));
        }
    }

    /// One answer; `bodiless` for HEAD.
    pub(crate) async fn answer(&mut self, bodiless: bool) -> Answer {
        let head = self.head().await;
        let status = head[9..12].parse().expect("a status");
        let mut answer = Answer { status, head, body: Vec::new(), cut: false };
        let length: usize =
            answer.header("Content-Length").map_or(0, |length| length.parse().expect("a length"));
        let length = if bodiless { 0 } else { length };
        while self.received.len() < length && !answer.cut {
            answer.cut = !self.more().await;
        }
        let rest = self.received.split_off(length.min(self.received.len()));
        answer.body = std::mem::replace(&mut self.received, rest);
        answer
    }

    pub(crate) async fn get(&mut self, path: &str, headers: &[&str]) -> Answer {
        self.ask("GET", path, headers).await
    }

    pub(crate) async fn ask(&mut self, method: &str, path: &str, headers: &[&str]) -> Answer {
        let headers = headers.iter().map(|header| [header, "\r\n"].concat()).collect::<String>();
        self.send(&format!("{method} {path} HTTP/1.1\r\nHost: origin.example\r\n{headers}\r\n")).await;
        self.answer(method == "HEAD").await
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str, headers: &[&str]) -> Answer {
    Wire::open(address).await.get(path, headers).await
}
