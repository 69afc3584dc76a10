//! `content.pins`: content that is not evicted and does not expire.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::ContentClass;

/// Content that stays. All that are given of `host`, `prefix` and `class` must match; at least one is needed. Pinned content takes
/// at most half of a volume: beyond that the newest of it goes last, but goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Pin {
    /// `name` or `*.name`; the star also covers the bare name. Compared with the host in the cache key: the alias, where one is
    /// configured.
    pub host: Option<String>,
    /// How path and query begin, as they stand in the cache key. Begins with `/`.
    pub prefix: Option<String>,
    /// The class it counts as.
    pub class: Option<ContentClass>,
    /// When the pin ends, as in RFC 3339 (`2026-12-31T00:00:00Z`). `None` = never.
    #[serde(deserialize_with = "time")]
    pub until: Option<Timestamp>,
}

/// As the type reads itself, with words about what would be right.
fn time<'de, Source: Deserializer<'de>>(source: Source) -> Result<Option<Timestamp>, Source::Error> {
    let Some(text) = Option::<String>::deserialize(source)? else { return Ok(None) };
    let wrong = |error| Error::custom(format!("`{text}` is no time such as 2026-12-31T00:00:00Z: {error}"));
    text.parse().map(Some).map_err(wrong)
}
