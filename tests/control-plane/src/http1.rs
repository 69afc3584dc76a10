//! The little of HTTP/1.1 (RFC 9112) that both sides of this crate need: reading a message head from a connection,
//! and paths with percent-encoding.
//!
//! It is written by hand because tests must see header names as they stood on the wire and must be able to stop, cut
//! and delay at an exact byte, which HTTP libraries rightly do not offer.

use std::fmt::Write as _;
use std::io;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A longer head is refused.
pub(crate) const HEAD_LIMIT_BYTES: usize = 64 << 10;

/// Start line and headers of one message, names spelled as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) start_line: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// Why no head could be read.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The connection broke.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The connection ended inside a head.
    #[error("connection ended after {received_bytes} bytes of an unfinished head")]
    Unfinished {
        /// Bytes of the head that did arrive.
        received_bytes: usize,
    },
    /// The head does not end.
    #[error("head is longer than {HEAD_LIMIT_BYTES} bytes")]
    TooLong,
    /// A line is neither a start line nor a header.
    #[error("{line:?} is no line of an HTTP/1.1 head")]
    BadLine {
        /// The line, shortened.
        line: String,
    },
}

impl Head {
    /// The first header of that name, compared without case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Reads the next head; bytes after it stay in `buffer`. `None` = the connection ended between two messages.
pub(crate) async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
) -> Result<Option<Head>, HeadError> {
    let mut searched = 0;
    loop {
        if let Some(end) = buffer[searched..].windows(4).position(|window| window == b"\r\n\r\n") {
            let end = searched + end;
            let head = parse(&buffer[..end]);
            buffer.advance(end + 4);
            return head.map(Some);
        }
        searched = buffer.len().saturating_sub(3);
        if buffer.len() > HEAD_LIMIT_BYTES {
            return Err(HeadError::TooLong);
        }
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() {
                Ok(None)
            } else {
                Err(HeadError::Unfinished { received_bytes: buffer.len() })
            };
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Head, HeadError> {
    let text = String::from_utf8_lossy(bytes);
    let bad = |line: &str| HeadError::BadLine { line: line.chars().take(120).collect() };
    let mut lines = text.split("\r\n");
    let start_line = lines.next().unwrap_or_default().to_owned();
    if start_line.is_empty() || start_line.contains(['\r', '\n', '\0']) {
        return Err(bad(&start_line));
    }
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| bad(line))?;
        if name.is_empty() || !name.bytes().all(is_token_byte) || value.contains(['\r', '\n', '\0']) {
            return Err(bad(line));
        }
        headers.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok(Head { start_line, headers })
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Undoes percent-encoding. `None` for a broken escape or for bytes that are not UTF-8.
pub(crate) fn decode_path(encoded: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// Percent-encodes everything that is not plainly allowed in a path.
pub(crate) fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn head_of(bytes: &[u8]) -> Result<Option<Head>, HeadError> {
        read_head(&mut &*bytes, &mut BytesMut::new()).await
    }

    #[tokio::test]
    async fn names_keep_their_case_and_bytes_after_the_head_stay() {
        let mut buffer = BytesMut::new();
        let mut wire: &[u8] = b"GET /a HTTP/1.1\r\nhOsT:  b \r\nX-Empty:\r\n\r\nbody";
        let head = read_head(&mut wire, &mut buffer).await.unwrap().unwrap();
        assert_eq!(head.start_line, "GET /a HTTP/1.1");
        assert_eq!(
            head.headers,
            [("hOsT".to_owned(), "b".to_owned()), ("X-Empty".to_owned(), String::new())]
        );
        assert_eq!(&buffer[..], b"body");
    }

    #[tokio::test]
    async fn ends_and_broken_heads_are_told_apart() {
        assert!(matches!(head_of(b"").await, Ok(None)));
        assert!(matches!(
            head_of(b"GET / HTTP/1.1\r\n").await,
            Err(HeadError::Unfinished { received_bytes: 16 })
        ));
        for broken in [
            "\r\n\r\n",
            "GET /\r\nno colon\r\n\r\n",
            "GET /\r\n: x\r\n\r\n",
            "GET /\r\nA b: x\r\n\r\n",
            "G\nX: y\r\n\r\n",
        ] {
            assert!(matches!(head_of(broken.as_bytes()).await, Err(HeadError::BadLine { .. })), "{broken:?}");
        }
        assert!(matches!(head_of(&vec![b'a'; 70 << 10]).await, Err(HeadError::TooLong)));
    }

    #[test]
    fn broken_escapes_are_no_path() {
        assert_eq!(decode_path("/a%20b%2fc").as_deref(), Some("/a b/c"));
        for broken in ["%", "%2", "%zz", "%+1", "%ff"] {
            assert_eq!(decode_path(broken), None, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn encoding_a_path_is_undone_by_decoding(path in ".{0,30}") {
            let encoded = encode_path(&path);
            prop_assert!(encoded.is_ascii() && !encoded.contains([' ', '?', '#']));
            prop_assert_eq!(decode_path(&encoded), Some(path));
        }
    }
}
