//! Named values of a request: the query of a GET, or the members of a join. Names are compared without case, because
//! the documentation and the wire spell them differently.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::{Refusal, Service};
use crate::http1::decode_path;

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything.
    Text,
    /// Decimal digits that fit 64 bits.
    Number,
    /// `0` or `1`.
    Flag,
    /// Numbers with dots between them.
    Version,
    /// Two letters.
    Country,
    /// 32 hex digits in groups, with or without braces.
    Guid,
    /// 40 hex digits.
    PeerId,
    /// An address of either family.
    Address,
    /// An absolute http or https URL.
    Url,
}

/// One documented field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

pub(super) const fn required(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: true }
}

pub(super) const fn optional(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: false }
}

/// The values of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// Name in lower case to the name and the value as they were sent.
    values: BTreeMap<String, (String, String)>,
}

impl Fields {
    /// Reads a query, without its question mark.
    pub(crate) fn from_query(query: &str) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decode_path(name), decode_path(value)) else {
                return Err(Refusal::new(
                    400,
                    format!("query field {pair:?} is not percent-encoded as it should"),
                ));
            };
            fields.insert(name, value)?;
        }
        Ok(fields)
    }

    /// Reads the body of a join: one object whose values are all strings, numbers included.
    pub(crate) fn from_json(body: &[u8]) -> Result<Self, Refusal> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| Refusal::new(400, format!("the body is no JSON: {error}")))?;
        let Value::Object(members) = value else {
            return Err(Refusal::new(400, "the body must be one JSON object"));
        };
        let mut fields = Self::default();
        let mut wrong = Vec::new();
        for (name, value) in members {
            match value {
                Value::String(value) => fields.insert(name, value)?,
                other => wrong.push(format!("{name} must be a JSON string, found {other}")),
            }
        }
        if wrong.is_empty() { Ok(fields) } else { Err(Refusal::new(400, wrong.join("; "))) }
    }

    fn insert(&mut self, name: String, value: String) -> Result<(), Refusal> {
        let twice = format!("{name} is there twice, send it once");
        match self.values.insert(name.to_ascii_lowercase(), (name, value)) {
            None => Ok(()),
            Some(_) => Err(Refusal::new(400, twice)),
        }
    }

    /// The value of that name; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.values.get(&name.to_ascii_lowercase())?;
        (!value.is_empty()).then_some(value)
    }

    /// A number; `None` when it is absent or none.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// Names and values as they were sent.
    pub(super) fn as_sent(&self) -> BTreeMap<String, String> {
        self.values.values().cloned().collect()
    }

    /// Reports everything that contradicts the documentation at once. Without `strict`, absent and unknown fields
    /// pass, as they do at the real services; a value that makes no sense never does.
    pub(super) fn check(&self, service: Service, known: &[Field], strict: bool) -> Result<(), Refusal> {
        let mut wrong = Vec::new();
        for field in known {
            match self.get(field.name) {
                None if field.required && strict => wrong.push(format!("{} is missing", field.name)),
                Some(value) if !field.kind.admits(value) => {
                    wrong.push(format!("{} is {value:?}, expected {}", field.name, field.kind.expected()));
                }
                _ => {}
            }
        }
        if strict {
            let is_known = |name: &str| known.iter().any(|field| field.name.eq_ignore_ascii_case(name));
            let unknown = self.values.values().filter(|(name, _)| !is_known(name));
            wrong.extend(unknown.map(|(name, _)| {
                format!("{name} is no documented field; in a URL inside a query & must be percent-encoded")
            }));
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Refusal::new(400, format!("{service}: {}", wrong.join("; "))))
        }
    }
}

impl Kind {
    pub(crate) fn admits(self, value: &str) -> bool {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Self::Text => true,
            Self::Number => digits(value) && value.parse::<u64>().is_ok(),
            Self::Flag => matches!(value, "0" | "1"),
            Self::Version => value.split('.').count() == 4 && value.split('.').all(digits),
            Self::Country => value.len() == 2 && value.bytes().all(|byte| byte.is_ascii_alphabetic()),
            Self::Guid => is_guid(value),
            Self::PeerId => value.len() == 40 && value.bytes().all(|byte| byte.is_ascii_hexdigit()),
            Self::Address => value.parse::<IpAddr>().is_ok(),
            Self::Url => url::Url::parse(value)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "decimal digits",
            Self::Flag => "0 or 1",
            Self::Version => "four numbers with dots such as 10.1.0.13",
            Self::Country => "a country of two letters",
            Self::Guid => "a GUID such as 5be37c6e-1a55-4b3a-9d3c-3c5b6a7d8e9f",
            Self::PeerId => "40 hex digits",
            Self::Address => "an IP address",
            Self::Url => "an absolute http or https URL, percent-encoded",
        }
    }
}

fn is_guid(value: &str) -> bool {
    let bare = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(value);
    let groups: Vec<&str> = bare.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12]
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_case_and_values_are_decoded() {
        let fields =
            Fields::from_query("Profile=768&altCatalogID=http%3A%2F%2Fa%2Fb%3Fc%3Dd%26e&x=").unwrap();
        assert_eq!(fields.get("profile"), Some("768"));
        assert_eq!(fields.get("altCatalogId"), Some("http://a/b?c=d&e"));
        assert_eq!(fields.get("x"), None);
        assert!(Fields::from_query("a=1&A=2").unwrap_err().reason.contains("twice"));
        assert!(Fields::from_query("a=%zz").is_err());
    }

    #[test]
    fn each_kind_knows_its_values() {
        for (kind, right, wrong) in [
            (Kind::Number, "18446744073709551615", "18446744073709551616"),
            (Kind::Number, "0", "-1"),
            (Kind::Flag, "1", "true"),
            (Kind::Version, "10.1.0.13", "10.1.0"),
            (Kind::Country, "DE", "DEU"),
            (Kind::Guid, "{5be37c6e-1a55-4b3a-9d3c-3c5b6a7d8e9f}", "5be37c6e1a554b3a9d3c3c5b6a7d8e9f"),
            (Kind::PeerId, "e08e8e26fd833d4097b3a62b66adc67b00000000", "e08e8e26fd833d4097b3a62b66adc67b"),
            (Kind::Address, "192.168.1.8", "192.168.1"),
            (Kind::Url, "http://dl.example/a?b", "/a?b"),
        ] {
            assert!(kind.admits(right), "{kind:?} refuses {right}");
            assert!(!kind.admits(wrong), "{kind:?} admits {wrong}");
        }
    }
}
