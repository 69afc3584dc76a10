//! What every reply has to look like, whatever it says (dossier 1.4).

use super::Question;
use crate::client::Reply;

/// Names whose spelling clients depend on, or that our own documents spell.
const SPELLINGS: [&str; 12] = [
    "Content-Length",
    "Content-Range",
    "Accept-Ranges",
    "ETag",
    "Last-Modified",
    "Content-Type",
    "Cache-Control",
    "Cache-Status",
    "X-Cache",
    "X-CID",
    "Date",
    "Retry-After",
];

pub(super) fn check(question: &Question, reply: &Reply) -> Result<(), String> {
    for (name, _) in &reply.headers {
        if let Some(right) = SPELLINGS.iter().find(|right| right.eq_ignore_ascii_case(name))
            && name != right
        {
            return Err(format!("{name} is not spelt {right}"));
        }
    }
    if !reply.values("transfer-encoding").is_empty() {
        return Err("Transfer-Encoding: a client takes the length of such a reply to be 0".to_owned());
    }
    if !reply.values("content-encoding").is_empty() {
        return Err("Content-Encoding although the origin has none".to_owned());
    }
    if reply.content_length().is_none() && reply.status != 304 {
        return Err("no numeric Content-Length, or several".to_owned());
    }
    for name in ["content-range", "etag", "last-modified"] {
        if reply.values(name).len() > 1 {
            return Err(format!("{name} is there more than once"));
        }
    }
    if question.is_head && !reply.body.is_empty() {
        return Err("a reply to HEAD has a body".to_owned());
    }
    if matches!(reply.status, 200 | 206) {
        if reply.value("accept-ranges") != Some("bytes") {
            return Err("Accept-Ranges: bytes is missing".to_owned());
        }
        if !matches!(reply.value("x-cache"), Some("HIT" | "MISS" | "PARTIAL")) {
            return Err(format!("X-Cache is {:?}", reply.values("x-cache")));
        }
    }
    Ok(())
}
