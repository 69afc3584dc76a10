//! Delivery Optimization over HTTP: what a client's request line says (dossier delivery-optimization 1.1 and 1.2), the
//! file of hashes by which content is checked ([`PieceHashFile`]), and the ids by which it is known ([`ContentId`]).
//!
//! A client turns `http://origin/path?query` into `http://cache/path?query&cacheHostOrigin=origin`. The CDN's URLs are signed,
//! so [`RequestTarget`] keeps path and query byte for byte and takes out nothing but that one parameter.

mod content_id;
mod origin_authority;
mod origin_name;
mod piece_hash_file;

pub use content_id::{ContentId, ContentIdError, ContentIdForm};
pub use origin_authority::OriginAuthority;
pub use origin_name::{OriginName, OriginNameError};
pub use piece_hash_file::{
    ContentTooLong, HashOfHashes, NotADigest, PieceHash, PieceHashFile, PieceHashFileBuilder,
    PieceHashFileError, PieceHashFileMember, PiecesHashFileDigest,
};

/// Name of the query parameter that carries the origin's host; compared without regard to case.
pub const CACHE_HOST_ORIGIN: &str = "cacheHostOrigin";

/// A request target, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTarget {
    authority: Option<String>,
    /// Path and query as they go upstream.
    upstream: String,
    path_length: usize,
    cache_host_origin: Option<Result<OriginAuthority, OriginNameError>>,
}

/// Why a request target can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither `/path` nor `http://host/path`.
    #[error("the request target must be a path or an absolute http URL")]
    UnsupportedForm,
    /// White space or control bytes, which could split the request that is sent on.
    #[error("the request target has white space or control bytes at byte {offset}")]
    ForbiddenByte {
        /// Where, from the start of the target.
        offset: usize,
    },
    /// An absolute URL with user info or without a host.
    #[error("the host part of the request target can't be used")]
    BadAuthority,
}

impl RequestTarget {
    /// Takes a request target apart as it stands in the request line: origin form or absolute form. A fragment is dropped.
    pub fn parse(target: &str) -> Result<Self, TargetError> {
        if let Some(offset) = target.bytes().position(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(TargetError::ForbiddenByte { offset });
        }
        let target = target.split_once('#').map_or(target, |(before, _)| before);
        let (authority, rest) = split_authority(target)?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        if !path.starts_with('/') {
            return Err(TargetError::UnsupportedForm);
        }
        let mut upstream = String::with_capacity(path.len() + 1 + query.map_or(0, str::len));
        upstream.push_str(path);
        let cache_host_origin = query.and_then(|query| push_without_origin(&mut upstream, query));
        let authority = authority.map(str::to_owned);
        Ok(Self { authority, upstream, path_length: path.len(), cache_host_origin })
    }

    /// Host and port of an absolute-form target; it counts instead of the `Host` header (RFC 9112 3.2.2).
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The path as it was received, percent-encoding untouched. Begins with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.upstream[..self.path_length]
    }

    /// The query as it goes upstream, without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.upstream.get(self.path_length + 1..)
    }

    /// The last `cacheHostOrigin` parameter. `None` = there was none; an error = its value can't name an origin.
    #[must_use]
    pub fn cache_host_origin(&self) -> Option<&Result<OriginAuthority, OriginNameError>> {
        self.cache_host_origin.as_ref()
    }

    /// Path and query for the upstream request line.
    #[must_use]
    pub fn upstream_path_and_query(&self) -> &str {
        &self.upstream
    }

    /// As [`Self::upstream_path_and_query`], without a copy.
    #[must_use]
    pub fn into_upstream_path_and_query(self) -> String {
        self.upstream
    }
}

/// The authority of an absolute-form target and what follows it.
fn split_authority(target: &str) -> Result<(Option<&str>, &str), TargetError> {
    if target.starts_with('/') {
        return Ok((None, target));
    }
    let Some((scheme, rest)) = target.split_once("://") else { return Err(TargetError::UnsupportedForm) };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(TargetError::UnsupportedForm);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if authority.is_empty() || authority.contains(['@', '\\']) {
        return Err(TargetError::BadAuthority);
    }
    Ok((Some(authority), rest))
}

/// Appends a `?` and the query without its last `cacheHostOrigin` parameter, nothing if nothing else is in it. Gives that
/// parameter's value.
fn push_without_origin(
    upstream: &mut String,
    query: &str,
) -> Option<Result<OriginAuthority, OriginNameError>> {
    let mut end = query.len();
    for parameter in query.rsplit('&') {
        let start = end - parameter.len();
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.eq_ignore_ascii_case(CACHE_HOST_ORIGIN) {
            // With one of the separators around it, if there are two.
            let rest = match (&query[..start], &query[end..]) {
                (before, "") => (before.strip_suffix('&').unwrap_or(before), ""),
                ("", after) => ("", &after[1..]),
                (before, after) => (before, &after[1..]),
            };
            if !matches!(rest, ("", "")) {
                upstream.push('?');
                upstream.push_str(rest.0);
                upstream.push_str(rest.1);
            }
            return Some(OriginAuthority::from_parameter(value));
        }
        end = start.saturating_sub(1);
    }
    upstream.push('?');
    upstream.push_str(query);
    None
}

#[cfg(test)]
mod tests;
