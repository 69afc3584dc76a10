//! What the clients ask, prepared once: sending costs no formatting.

use crate::content::Shift;

/// The origin's name: it is on the sidecar's built-in list.
pub(crate) const HOST: &str = "dl.delivery.mp.microsoft.com";

/// A request, and what the answer has to be.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    pub(crate) status: u16,
    /// First byte of the content that is asked for, and how many.
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) shift: Shift,
}

impl Request {
    /// The whole of a content of this length.
    pub(crate) fn whole(name: &str, length: u64) -> Self {
        Self::new(name, length, None)
    }

    /// `count` bytes from `offset` on of a content of this length.
    pub(crate) fn range(name: &str, length: u64, offset: u64, count: u64) -> Self {
        Self::new(name, length, Some((offset, count.min(length - offset))))
    }

    /// Every piece of `piece` bytes of a content of this length.
    pub(crate) fn pieces(name: &str, length: u64, piece: u64) -> Vec<Self> {
        (0..length.div_ceil(piece)).map(|number| Self::range(name, length, number * piece, piece)).collect()
    }

    /// The first line, for messages.
    pub(crate) fn line(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text.lines()
            .filter(|line| line.contains(" HTTP/") || line.starts_with("Range"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn new(name: &str, length: u64, range: Option<(u64, u64)>) -> Self {
        let path = format!("/o/{length}/{name}");
        let field = range.map_or_else(String::new, |(offset, count)| {
            format!("Range: bytes={offset}-{}\r\n", offset + count - 1)
        });
        let (offset, count) = range.unwrap_or((0, length));
        Self {
            bytes: format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{field}\r\n").into_bytes(),
            status: if range.is_some() { 206 } else { 200 },
            offset,
            length: count,
            shift: Shift::of(&path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_ends_with_the_content() {
        let pieces = Request::pieces("a", 2500, 1000);
        let shown: Vec<_> = pieces.iter().map(|piece| (piece.offset, piece.length)).collect();
        assert_eq!(shown, [(0, 1000), (1000, 1000), (2000, 500)]);
        let text = String::from_utf8(pieces[2].bytes.clone()).unwrap();
        assert!(text.starts_with("GET /o/2500/a HTTP/1.1\r\n"), "{text}");
        assert!(text.ends_with("\r\nRange: bytes=2000-2499\r\n\r\n"), "{text}");
    }
}
