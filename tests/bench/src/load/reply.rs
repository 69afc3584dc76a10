//! The head of a reply: only what is checked.

/// Longest head that is accepted.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// The head of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// `None` = there is no Content-Length.
    pub(super) content_length: Option<u64>,
    /// One past the empty line.
    pub(super) end: usize,
}

/// Reads a head. `Ok(None)` = more bytes are needed.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > MAX_HEAD { Err("its head is too long") } else { Ok(None) };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| "its head is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(status).ok_or("it is not HTTP/1.1")?;
    let content_length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    Ok(Some(Head { status, content_length, end: end + 4 }))
}

fn status(line: &str) -> Option<u16> {
    line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_length_and_end_are_found_once_the_head_is_complete() {
        let bytes =
            b"HTTP/1.1 206 Partial Content\r\nX: content-length: 3\r\ncontent-LENGTH:  17 \r\n\r\nbody";
        let head = Head { status: 206, content_length: Some(17), end: bytes.len() - 4 };
        assert_eq!(parse(bytes), Ok(Some(head)));
        assert_eq!(parse(&bytes[..bytes.len() - 5]), Ok(None));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        assert!(parse(b"SSH-2.0 hello\r\n\r\n").is_err());
        assert!(parse(&vec![b'a'; MAX_HEAD + 1]).is_err());
        assert!(parse(b"HTTP/1.1 2\xff0 OK\r\n\r\n").is_err());
    }
}
