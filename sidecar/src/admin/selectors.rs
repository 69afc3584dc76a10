//! Which objects a query means: `url`, `host`, `prefix`, `class`; all that are given must match.

use connected_cache_core::{AllowList, ContentClass, KeyPattern, ObjectKey, QueryRule};
use connected_cache_store::{Cursor, Filter};
use url::form_urlencoded;

use crate::content::key_of_url;

/// Objects on a page, unless asked otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// What objects are chosen by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selectors {
    key: Option<ObjectKey>,
    pattern: KeyPattern,
    class: Option<ContentClass>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) selectors: Selectors,
    pub(super) limit: usize,
    pub(super) after: Option<Cursor>,
}

/// One object, and what it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WholeCheck {
    pub(super) key: ObjectKey,
    pub(super) sha256: Option<[u8; 32]>,
}

/// How URLs become keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) allow_list: &'a AllowList,
    pub(super) query_rule: QueryRule,
}

impl Listing {
    /// Reads the query of a GET. An error says what is wrong and what would be right.
    pub(super) fn parse(query: &str, rules: Rules<'_>) -> Result<Self, String> {
        let mut listing = Self { selectors: Selectors::default(), limit: LIMIT, after: None };
        for (name, value) in parameters(query)? {
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    listing.limit =
                        limit.ok_or_else(|| format!("limit must be a number from 1 to {MAX_LIMIT}"))?;
                }
                "after" => {
                    listing.after = Some(value.parse().map_err(|error| format!("after: {error}"))?);
                }
                name if listing.selectors.take(name, &value, rules)? => {}
                name => return Err(unknown(name, "url, host, prefix, class, limit, after")),
            }
        }
        Ok(listing)
    }
}

impl WholeCheck {
    /// Reads the query of a final check.
    pub(super) fn parse(query: &str, rules: Rules<'_>) -> Result<Self, String> {
        let (mut selectors, mut sha256) = (Selectors::default(), None);
        for (name, value) in parameters(query)? {
            match name.as_str() {
                "url" => drop(selectors.take("url", &value, rules)?),
                "sha256" => {
                    let digest = hex::decode(&value).ok().and_then(|bytes| bytes.try_into().ok());
                    sha256 = Some(digest.ok_or("sha256 must be 64 hex digits")?);
                }
                name => return Err(unknown(name, "url, sha256")),
            }
        }
        let key = selectors.key.ok_or("say which object: url=<percent-encoded URL>")?;
        Ok(Self { key, sha256 })
    }
}

impl Selectors {
    /// Reads the query of a DELETE, which has to say what is meant.
    pub(super) fn parse_purge(query: &str, rules: Rules<'_>) -> Result<Self, String> {
        let (mut selectors, mut all) = (Self::default(), false);
        for (name, value) in parameters(query)? {
            match name.as_str() {
                "all" if value == "true" => all = true,
                "all" => return Err("all must be `true`, or be left out".to_owned()),
                name if selectors.take(name, &value, rules)? => {}
                name => return Err(unknown(name, "url, host, prefix, class, all")),
            }
        }
        match (all, selectors == Self::default()) {
            (false, true) => Err("say what to purge: url, host, prefix or class, or all=true".to_owned()),
            (true, false) => Err("all=true stands alone: leave it out, or the other parameters".to_owned()),
            _ => Ok(selectors),
        }
    }

    /// Whether they could be used to guess, letter by letter, a query that is not shown.
    pub(super) fn look_into_queries(&self) -> bool {
        self.pattern.prefix.as_ref().is_some_and(|prefix| prefix.contains('?'))
    }

    /// As the store filters.
    pub(super) fn into_filter(self) -> Filter {
        let Self { key, pattern, class } = self;
        let class = class.map(ContentClass::number);
        Filter {
            key: key.map(|key| key.as_str().to_owned()),
            matches: Box::new(move |key, found| {
                class.is_none_or(|class| class == found) && pattern.matches(key)
            }),
        }
    }

    /// Takes one parameter; `false` = it is none of these.
    fn take(&mut self, name: &str, value: &str, rules: Rules<'_>) -> Result<bool, String> {
        match name {
            "url" => {
                let key = key_of_url(value, rules.allow_list, rules.query_rule).map_err(|reason| {
                    format!("url: {reason} (percent-encode it as a whole; for content of an origin that is not served any more use host and prefix)")
                })?;
                self.key = Some(key);
            }
            "host" => self.pattern.host = Some(value.parse().map_err(|error| format!("host: {error}"))?),
            "prefix" => {
                if !value.starts_with('/') {
                    return Err("prefix must begin with `/`, as paths do".to_owned());
                }
                if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err("prefix has bytes that no stored key has: write a plus as %2B, and what is percent-encoded in the key with %25".to_owned());
                }
                self.pattern.prefix = Some(value.to_owned());
            }
            "class" => {
                let class = ContentClass::ALL.into_iter().find(|class| class.name() == value);
                self.class = Some(class.ok_or_else(|| {
                    let names = ContentClass::ALL.map(ContentClass::name).join(", ");
                    format!("class must be one of {names}")
                })?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Names and values; none twice.
fn parameters(query: &str) -> Result<Vec<(String, String)>, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if found.iter().any(|(other, _)| *other == name) {
            return Err(format!("`{name}` stands there twice"));
        }
        found.push((name.into_owned(), value.into_owned()));
    }
    Ok(found)
}

fn unknown(name: &str, known: &str) -> String {
    format!("unknown parameter `{name}` (known: {known}); a value with & or ? in it must be percent-encoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow_list() -> AllowList {
        AllowList::new(Vec::new(), Vec::new())
    }

    fn purge(query: &str) -> Result<Selectors, String> {
        let allow_list = allow_list();
        Selectors::parse_purge(
            query,
            Rules { allow_list: &allow_list, query_rule: QueryRule::DropSignatures },
        )
    }

    fn list(query: &str) -> Result<Listing, String> {
        let allow_list = allow_list();
        Listing::parse(query, Rules { allow_list: &allow_list, query_rule: QueryRule::DropSignatures })
    }

    #[test]
    fn a_url_means_the_same_object_in_every_form_in_which_a_client_asks_for_it() {
        const FILE: &str = "/filestreamingservice/files/52fa8751-747d-479d-8f22-e32730cc0eb1";
        let encoded =
            |url: &str| form_urlencoded::Serializer::new(String::new()).append_pair("url", url).finish();
        let key = format!("dl.delivery.mp.microsoft.com{FILE}");
        for url in [
            format!("http://cache.example{FILE}?P1=1&P2=2&cacheHostOrigin=dl.delivery.mp.microsoft.com"),
            format!("http://10.0.0.1:8080{FILE}?cacheHostOrigin=DL.delivery.mp.microsoft.com."),
            format!("http://dl.delivery.mp.microsoft.com{FILE}?P1=9"),
            format!("http://dl.delivery.mp.microsoft.com:80{FILE}"),
            format!("https://dl.delivery.mp.microsoft.com:443{FILE}"),
            format!("{FILE}?cacheHostOrigin=dl.delivery.mp.microsoft.com"),
        ] {
            let filter = purge(&encoded(&url)).unwrap().into_filter();
            assert_eq!(filter.key.as_deref(), Some(key.as_str()), "{url}");
        }
        for (url, words) in [
            ("http://evil.example/f", "content.extraOrigins"),
            ("https://dl.delivery.mp.microsoft.com:80/f", "host:port to content.extraOrigins"),
            ("http://10.0.0.1/f", "cacheHostOrigin"),
            ("not a url", "it is no URL"),
            ("ftp://dl.delivery.mp.microsoft.com/f", "absolute http URL"),
            ("", "it is no URL"),
        ] {
            let error = purge(&encoded(url)).unwrap_err();
            assert!(error.contains(words), "{url}: {error}");
        }
    }

    #[test]
    fn all_selectors_together_must_match() {
        let filter = purge("host=*.microsoft.com&prefix=/f&class=Xbox").unwrap().into_filter();
        let (xbox, edge) = (ContentClass::Xbox.number(), ContentClass::Edge.number());
        assert!(filter.is_met("a.microsoft.com/f?x", xbox));
        for (key, class) in [("a.microsoft.com/f", edge), ("a.microsoft.com/g", xbox), ("a.example/f", xbox)]
        {
            assert!(!filter.is_met(key, class), "{key}");
        }
        assert!(purge("all=true").unwrap().into_filter().is_met("anything", 7));
    }

    #[test]
    fn what_can_not_be_meant_is_refused_with_words() {
        for (query, words) in [
            ("", "all=true"),
            ("all=false", "`true`"),
            ("all=true&class=Xbox", "stands alone"),
            ("clas=Xbox", "unknown parameter `clas`"),
            ("class=xbox", "WindowsUpdate, Edge"),
            ("class=Xbox&class=Edge", "twice"),
            ("prefix=f", "begin with `/`"),
            ("prefix=/a+b", "%2B"),
            ("host=http://a", "host"),
            ("limit=3&class=Xbox", "unknown parameter `limit`"),
            // Not encoded as a whole.
            ("url=http://cache/f?a=1&cacheHostOrigin=a.example", "url: "),
            ("url=http://dl.delivery.mp.microsoft.com/f?a=1&b=2", "unknown parameter `b`"),
        ] {
            let error = purge(query).unwrap_err();
            assert!(error.contains(words), "{query}: {error}");
        }
        for (query, words) in [
            ("limit=0", "1 to 1000"),
            ("limit=1001", "1 to 1000"),
            ("limit=x", "1 to 1000"),
            ("after=x", "next"),
            ("all=true", "unknown parameter `all`"),
        ] {
            let error = list(query).unwrap_err();
            assert!(error.contains(words), "{query}: {error}");
        }
        let listing = list("").unwrap();
        assert_eq!((listing.limit, listing.after, listing.selectors), (100, None, Selectors::default()));
        assert_eq!(list("limit=1000&after=0-1f").unwrap().after, "0-1f".parse().ok());
    }
}
