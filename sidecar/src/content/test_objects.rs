//! Stand-ins for the two objects by which administrators test a cache (dossier delivery-optimization 1.6), for clusters that reach
//! no origin. They have the length and type that the procedures look for, and are valid pictures of one dot: what follows its
//! end is ignored by programs that show it.

use std::sync::LazyLock;

use axum::body::Body;
use bytes::Bytes;
use connected_cache_core::{ByteRange, ContentClass, Generation, Selection};
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{
    Answer, ContentState,
    body::Meter,
    request::{Asked, ContentRequest},
    respond::{CACHE_STATUS, Refusal, ReplyHead},
};
use crate::{
    catalog::Freshly,
    metrics::{CacheResult, Source},
    upstream::UpstreamError,
};

struct TestObject {
    path: &'static str,
    content_type: &'static str,
    bytes: LazyLock<Bytes>,
}

static OBJECTS: [TestObject; 2] = [
    TestObject {
        path: "/mscomtest/wuidt.gif",
        content_type: "image/gif",
        bytes: LazyLock::new(|| padded(GIF, 969_710)),
    },
    TestObject {
        path: "/filestreamingservice/files/7bc846e0-af9c-49be-a03d-bb04428c9bb5/Microsoft.png",
        content_type: "application/octet-stream",
        bytes: LazyLock::new(|| padded(PNG, 302_341)),
    },
];

/// One black dot as GIF89a.
const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
/// One black dot as PNG.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9cc`\0\0\0\x02\0\x01H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82";

fn padded(picture: &[u8], length: usize) -> Bytes {
    let mut bytes = picture.to_vec();
    bytes.resize(length, 0);
    bytes.into()
}

/// The stand-in for what was to be refused because no origin can be reached, or the refusal as it was.
pub(super) fn instead_of(
    refusal: Refusal,
    request: &ContentRequest,
    state: &ContentState,
    meter: Meter,
) -> Answer {
    let is_unreachable = matches!(
        refusal,
        Refusal::Upstream(
            UpstreamError::Unreachable { .. } | UpstreamError::TimedOut | UpstreamError::Proxy { .. }
        )
    );
    let is_meant = |object: &&TestObject| {
        request.origin.class() == ContentClass::WindowsUpdate && object.path == request.path()
    };
    match OBJECTS.iter().find(is_meant).filter(|_| state.test_objects && is_unreachable) {
        Some(object) => object.answer(request, state, meter),
        None => Err(refusal),
    }
}

impl TestObject {
    fn answer(&self, request: &ContentRequest, state: &ContentState, meter: Meter) -> Answer {
        let total = self.bytes.len() as u64;
        let generation = Generation { content_length_bytes: total, etag: None, last_modified: None };
        let whole = ByteRange { first: 0, last: total - 1 };
        let (status, range) = match request.reply(&generation) {
            Asked::Content(Selection::Whole) => (StatusCode::OK, whole),
            Asked::Content(Selection::Part(range)) => (StatusCode::PARTIAL_CONTENT, range),
            Asked::Content(Selection::Unsatisfiable) => return Err(Refusal::Unsatisfiable { total }),
            // Neither tag nor date, so nothing that a client has is this.
            Asked::NotModified | Asked::AnotherState => return Err(Refusal::AnotherState),
        };
        let headers: [(HeaderName, HeaderValue); 2] = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.content_type)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        let result = CacheResult::None;
        let head = ReplyHead {
            headers: &headers,
            age_seconds: None,
            status,
            total,
            range: Some(range),
            result,
            source: Source::Memory,
            collapsed: false,
            freshly: Freshly::NotAsked,
        };
        let body =
            if request.is_head { Body::empty() } else { meter.at_hand(self.part(range), Source::Memory) };
        let mut response = head.into_response(body, state);
        let status = HeaderValue::from_static("connectedcache; fwd=miss; detail=built-in");
        response.headers_mut().insert(CACHE_STATUS, status);
        Ok((response, result))
    }

    fn part(&self, range: ByteRange) -> Bytes {
        let index = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.slice(index(range.first)..index(range.last.saturating_add(1)))
    }
}
