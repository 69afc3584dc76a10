//! What a request asks for, checked: method, target, origin, key and range.

use std::net::IpAddr;

use axum::body::Body;
use connected_cache_core::{
    AllowList, CacheHostOrigin, Conditions, Generation, ObjectKey, QueryRule, RangeHeader, RangeSpec,
    Selection, Verdict,
};
use connected_cache_wire::delivery_optimization::{OriginAuthority, RequestTarget, TargetError};
use http::{HeaderMap, HeaderName, Method, Request, Uri, header, uri::Scheme};

use super::{
    ContentState,
    forwarded_for::{X_FORWARDED_FOR, forwarded_for},
    respond::Refusal,
};
use crate::{
    catalog::{OpenRequest, Wanted},
    socket::Transport,
    upstream::{FetchTarget, X_FORWARDED_PROTO},
};

/// The client's correlation vector, passed on to the origin.
const MS_CV: HeaderName = HeaderName::from_static("ms-cv");

/// A request for content of an allowed origin.
#[derive(Debug)]
pub(super) struct ContentRequest {
    pub(super) is_head: bool,
    pub(super) origin: CacheHostOrigin,
    pub(super) key: ObjectKey,
    pub(super) target: FetchTarget,
    range: RangeHeader,
    if_range: Option<String>,
    conditions: Conditions,
}

/// What is asked for of a state of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// These bytes.
    Content(Selection),
    /// Nothing: the client has it.
    NotModified,
    /// Nothing: the client goes on from another state.
    AnotherState,
}

impl ContentRequest {
    pub(super) fn parse(
        request: &Request<Body>,
        client: Option<IpAddr>,
        transport: Transport,
        state: &ContentState,
    ) -> Result<Self, Refusal> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::Method);
        }
        let headers = request.headers();
        if has_body(headers) {
            return Err(Refusal::BadRequest("a request for content has no body"));
        }
        let target = parse_target(request.uri())
            .map_err(|_| Refusal::BadRequest("the request target can't be used"))?;
        let host = single(headers, &header::HOST);
        let transport = original_transport(headers, transport, state.serves_plain);
        let rules = Rules { allow_list: &state.allow_list, query_rule: state.query_rule, transport };
        let (origin, key) = locate(&target, host, rules)?;
        let mut passed_on = Vec::with_capacity(4);
        passed_on.push((header::VIA, state.via.beyond(headers)?));
        for name in [header::USER_AGENT, MS_CV] {
            passed_on.extend(headers.get(&name).map(|value| (name, value.clone())));
        }
        let forwarded_for = forwarded_for(headers, client, state.forwarded_for);
        passed_on.extend(forwarded_for.map(|value| (X_FORWARDED_FOR, value)));
        Ok(Self {
            is_head: request.method() == Method::HEAD,
            target: FetchTarget {
                origin: origin.clone(),
                https: transport == Transport::Tls,
                is_signed: target.query().is_some() && !key.has_query(),
                past_parent: false,
                asked_as: None,
                path_and_query: target.into_upstream_path_and_query(),
                headers: passed_on,
            },
            origin,
            key,
            range: single(headers, &header::RANGE).map_or(RangeHeader::Ignored, RangeHeader::parse),
            if_range: single(headers, &header::IF_RANGE).map(str::to_owned),
            conditions: Conditions {
                if_match: joined(headers, &header::IF_MATCH),
                if_unmodified_since: single(headers, &header::IF_UNMODIFIED_SINCE).map(str::to_owned),
                if_none_match: joined(headers, &header::IF_NONE_MATCH),
                if_modified_since: single(headers, &header::IF_MODIFIED_SINCE).map(str::to_owned),
            },
        })
    }

    /// The path that the origin is asked for.
    pub(super) fn path(&self) -> &str {
        let path_and_query = self.target.path_and_query.as_str();
        path_and_query.split_once('?').map_or(path_and_query, |(path, _)| path)
    }

    /// As the catalog is asked.
    pub(super) fn opening(&self) -> OpenRequest<'_> {
        // Where in an object of unknown length the first asked byte probably is.
        let offset = match (self.is_head, &self.if_range, self.range) {
            (false, None, RangeHeader::Single(RangeSpec::From(first) | RangeSpec::FromTo(first, _))) => first,
            _ => 0,
        };
        OpenRequest { key: &self.key, class: self.origin.class(), target: &self.target, offset }
    }

    /// As an origin is asked for this client alone. HEAD describes the whole (RFC 9110 14.2: Range is for GET).
    pub(super) fn wanted(&self) -> Wanted<'_> {
        let range = if self.is_head { RangeHeader::Ignored } else { self.range };
        Wanted { is_head: self.is_head, range, if_range: self.if_range.as_deref() }
    }

    /// What is asked of this state of the object. Conditions come first (RFC 9110 13.2.2).
    pub(super) fn reply(&self, generation: &Generation) -> Asked {
        match self.conditions.judge(generation) {
            Verdict::Failed => return Asked::AnotherState,
            Verdict::NotModified => return Asked::NotModified,
            Verdict::Hold => {}
        }
        let other_state = self.if_range.as_ref().is_some_and(|value| !generation.satisfies_if_range(value));
        Asked::Content(if self.is_head || other_state {
            Selection::Whole
        } else {
            self.range.select(generation.content_length_bytes)
        })
    }
}

/// A target as it stood in the request line.
fn parse_target(uri: &Uri) -> Result<RequestTarget, TargetError> {
    match (uri.authority(), uri.path_and_query()) {
        (None, Some(path_and_query)) => RequestTarget::parse(path_and_query.as_str()),
        _ => RequestTarget::parse(&uri.to_string()),
    }
}

/// What decides which object is meant.
#[derive(Clone, Copy)]
struct Rules<'a> {
    allow_list: &'a AllowList,
    query_rule: QueryRule,
    /// How the client asks, which says what the port of an origin is.
    transport: Transport,
}

/// Which object a client asks for, and where it comes from. `host` is what the `Host` field says.
fn locate(
    target: &RequestTarget,
    host: Option<&str>,
    rules: Rules<'_>,
) -> Result<(CacheHostOrigin, ObjectKey), Refusal> {
    let origin = rules.allow_list.admit(&authority(target, host)?, rules.transport.default_port())?;
    let key = ObjectKey::new(&origin, target.path(), target.query(), rules.query_rule);
    Ok((origin, key))
}

/// The key under which the content of a URL is kept, as a client asks for it: with `cacheHostOrigin`, or of the origin itself.
/// An error says why no client would get anything.
pub(crate) fn key_of_url(
    url: &str,
    allow_list: &AllowList,
    query_rule: QueryRule,
) -> Result<ObjectKey, String> {
    let uri: Uri = url.parse().map_err(|error| format!("it is no URL: {error}"))?;
    let is_https = uri.scheme() == Some(&Scheme::HTTPS);
    let transport = if is_https { Transport::Tls } else { Transport::Plain };
    let target = parse_target(&uri).map_err(|error| error.to_string())?;
    let rules = Rules { allow_list, query_rule, transport };
    let (_, key) = locate(&target, None, rules).map_err(|refusal| refusal.message())?;
    Ok(key)
}

/// The last `cacheHostOrigin`, else the host that the request is addressed to.
fn authority(target: &RequestTarget, host: Option<&str>) -> Result<OriginAuthority, Refusal> {
    if let Some(named) = target.cache_host_origin() {
        return named.clone().map_err(Refusal::OriginName);
    }
    let host = target.authority().or(host).unwrap_or_default();
    OriginAuthority::parse(host).map_err(|_| Refusal::NotACacheRequest)
}

/// How the client asks for the origin: as it came, unless another cache took its request in the clear and passed it on by TLS.
/// The other way round would ask in the clear what came over TLS, and so would this where nobody is served in the clear.
fn original_transport(headers: &HeaderMap, transport: Transport, serves_plain: bool) -> Transport {
    match single(headers, &X_FORWARDED_PROTO) {
        Some(scheme) if serves_plain && scheme.eq_ignore_ascii_case("http") => Transport::Plain,
        _ => transport,
    }
}

/// All lines of a field that is a list, as one; `None` = there is none.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// A field that stands there exactly once, as text.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    length || headers.contains_key(header::TRANSFER_ENCODING)
}
