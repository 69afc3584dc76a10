//! `Via` (RFC 9110 7.6.3): who passed a message on. A request that we passed on ourselves comes back only in a loop.

use http::{HeaderMap, HeaderValue, header};

use super::respond::Refusal;

/// Caches that a request may come through: more in a row are a loop that leaves us out, or a mistake.
const MOST_HOPS: usize = 8;

/// Our name in `Via`.
#[derive(Clone, Debug)]
pub(crate) struct Via {
    pseudonym: String,
    ours: HeaderValue,
}

impl Via {
    /// By the id of this node; characters that a token can't hold become hyphens.
    pub(crate) fn new(node_id: &str) -> Self {
        let token = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
        let pseudonym = format!("connectedcache-{}", node_id.chars().map(token).collect::<String>());
        // Can't fail: a token.
        let ours = HeaderValue::try_from(format!("1.1 {pseudonym}"))
            .unwrap_or(HeaderValue::from_static("1.1 connectedcache"));
        Self { pseudonym, ours }
    }

    /// The field of our replies.
    pub(crate) fn ours(&self) -> HeaderValue {
        self.ours.clone()
    }

    /// The field of a request that we make for one that came with these headers.
    pub(super) fn beyond(&self, headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
        if !headers.contains_key(header::VIA) {
            return Ok(self.ours());
        }
        let lines = headers.get_all(header::VIA).iter().filter_map(|value| value.to_str().ok());
        let mut hops: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
        let is_ours = |hop: &&str| {
            hop.split_ascii_whitespace().nth(1).is_some_and(|by| by.eq_ignore_ascii_case(&self.pseudonym))
        };
        if hops.iter().any(is_ours) || hops.len() > MOST_HOPS {
            return Err(Refusal::Loop);
        }
        hops.extend(self.ours.to_str().ok());
        HeaderValue::try_from(hops.join(", ")).map_err(|_| Refusal::BadRequest("its Via can't be passed on"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beyond(fields: &[&'static str]) -> Result<HeaderValue, Refusal> {
        let fields = fields.iter().map(|field| (header::VIA, HeaderValue::from_static(field)));
        Via::new("pod 1").beyond(&fields.collect())
    }

    #[test]
    fn our_name_is_added_and_found_again() {
        assert_eq!(beyond(&[]).unwrap(), "1.1 connectedcache-pod-1");
        assert_eq!(
            beyond(&["1.0 proxy (x)", "1.1 b"]).unwrap(),
            "1.0 proxy (x), 1.1 b, 1.1 connectedcache-pod-1"
        );
        assert!(matches!(beyond(&["1.1 b, 1.1 ConnectedCache-pod-1 (again)"]), Err(Refusal::Loop)));
        assert!(matches!(
            beyond(&["1.1 a, 1.1 b, 1.1 c, 1.1 d, 1.1 e, 1.1 f, 1.1 g, 1.1 h, 1.1 i"]),
            Err(Refusal::Loop)
        ));
    }
}
