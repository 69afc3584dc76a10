//! Requests as the cache sends them.

use tokio::{io::AsyncReadExt, net::TcpStream};

/// One request without a body.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) is_head: bool,
    pub(super) target: String,
    pub(super) host: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// By lower-case name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let host = headers.iter().find(|(name, _)| name == "host")?.1.clone();
        Some(Self { is_head: method == "HEAD", target: target.to_owned(), host, headers })
    }
}

/// The requests of one connection.
pub(super) struct Requests {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Requests {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::with_capacity(1024) }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// `None` = the connection is over.
    pub(super) async fn next(&mut self) -> Option<Request> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.buffer.split_off(end + 4);
                let head = std::mem::replace(&mut self.buffer, rest);
                return Request::parse(std::str::from_utf8(&head).ok()?.trim_end());
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }
}
