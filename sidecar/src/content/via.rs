//! `Via` (RFC 9110 7.6.3): who passed a message on. A request that we passed on ourselves comes back only in a loop.

use std::hash::{BuildHasher, Hasher, RandomState};

use http::{HeaderMap, HeaderValue, header};

use super::respond::Refusal;

/// Caches that a request may come through: more in a row are a loop that leaves us out, or a mistake.
const MOST_HOPS: usize = 8;

/// Our name in `Via`.
#[derive(Clone, Debug)]
pub(crate) struct Via {
    /// Of replies.
    ours: HeaderValue,
    /// Of requests: no other process has it, whatever it is called, so that caches of one name may ask each other.
    mark: String,
}

impl Via {
    /// By the id of this node; characters that a token can't hold become hyphens.
    pub(crate) fn new(node_id: &str) -> Self {
        Self::marked(node_id, RandomState::new().build_hasher().finish())
    }

    fn marked(node_id: &str, process: u64) -> Self {
        let token = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
        let name = format!("connectedcache-{}", node_id.chars().map(token).collect::<String>());
        // Can't fail: a token.
        let ours = HeaderValue::try_from(format!("1.1 {name}"))
            .unwrap_or(HeaderValue::from_static("1.1 connectedcache"));
        Self { ours, mark: format!("{name}-{process:016x}") }
    }

    /// The field of our replies.
    pub(crate) fn ours(&self) -> HeaderValue {
        self.ours.clone()
    }

    /// As [`Self::beyond`], for a request that another pod passes on to us; `None` = it can't be.
    pub(crate) fn beyond_pod(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.beyond(headers).ok()
    }

    /// The field of a request that we make for one that came with these headers.
    pub(super) fn beyond(&self, headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
        let lines = headers.get_all(header::VIA).iter().filter_map(|value| value.to_str().ok());
        let hops = lines.flat_map(|line| line.split(',')).map(str::trim);
        let (mut text, mut count) = (String::with_capacity(64), 0);
        for hop in hops {
            let by = hop.split_ascii_whitespace().nth(1).unwrap_or_default();
            count += 1;
            if by.eq_ignore_ascii_case(&self.mark) || count > MOST_HOPS {
                return Err(Refusal::Loop);
            }
            text.push_str(hop);
            text.push_str(", ");
        }
        text.push_str("1.1 ");
        text.push_str(&self.mark);
        HeaderValue::try_from(text).map_err(|_| Refusal::BadRequest("its Via can't be passed on"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beyond(fields: &[&'static str]) -> Result<HeaderValue, Refusal> {
        let fields = fields.iter().map(|field| (header::VIA, HeaderValue::from_static(field)));
        Via::marked("pod 1", 0xab).beyond(&fields.collect())
    }

    #[test]
    fn our_mark_is_added_and_found_again() {
        assert_eq!(Via::new("pod 1").ours(), "1.1 connectedcache-pod-1");
        assert_eq!(beyond(&[]).unwrap(), "1.1 connectedcache-pod-1-00000000000000ab");
        assert_eq!(
            beyond(&["1.0 proxy (x)", "1.1 b"]).unwrap(),
            "1.0 proxy (x), 1.1 b, 1.1 connectedcache-pod-1-00000000000000ab"
        );
        let returned = "1.1 b, 1.1 ConnectedCache-pod-1-00000000000000AB (again)";
        assert!(matches!(beyond(&[returned]), Err(Refusal::Loop)));
        assert!(matches!(
            beyond(&["1.1 a, 1.1 b, 1.1 c, 1.1 d, 1.1 e, 1.1 f, 1.1 g, 1.1 h, 1.1 i"]),
            Err(Refusal::Loop)
        ));
    }

    #[test]
    fn another_process_of_our_name_is_not_us() {
        let [first, second] = [Via::new("campus-0"), Via::new("campus-0")];
        let field = first.beyond(&HeaderMap::new()).unwrap();
        let headers: HeaderMap = [(header::VIA, field)].into_iter().collect();
        assert!(second.beyond(&headers).is_ok());
        assert!(matches!(first.beyond(&headers), Err(Refusal::Loop)));
    }
}
