//! Members of a JSON object by name, without regard to case: the documentation and the services spell them differently
//! (dossier delivery-optimization 2). Only members that are asked for are kept, and these as slices of the text, so nothing is
//! allocated for what a reply claims.

use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::client::CallError;

/// The members of one object that were asked for.
#[derive(Debug)]
pub(super) struct Members<'a> {
    found: Vec<(&'static str, &'a RawValue)>,
}

impl<'a> Members<'a> {
    /// Reads one JSON document. No members, nothing at all, `null` and an empty list are [`CallError::Empty`]; what is no object is
    /// unusable.
    pub(super) fn read(text: &'a [u8], wanted: &'static [&'static str]) -> Result<Self, CallError> {
        if text.trim_ascii().is_empty() {
            return Err(CallError::Empty);
        }
        let mut reader = serde_json::Deserializer::from_slice(text);
        let shape = Wanted(wanted).deserialize(&mut reader).map_err(|error| unusable(&error))?;
        reader.end().map_err(|error| unusable(&error))?;
        match shape {
            Shape::Object(found) => Ok(Self { found }),
            Shape::Empty => Err(CallError::Empty),
        }
    }

    /// A value as it stands there; `None` = absent or null.
    pub(super) fn raw(&self, name: &'static str) -> Option<&'a RawValue> {
        let (_, value) = self.found.iter().find(|(found, _)| *found == name)?;
        (value.get() != "null").then_some(*value)
    }

    /// A value of a type; `None` = absent or null, an error = another type.
    pub(super) fn value<T: Deserialize<'a>>(&self, name: &'static str) -> Result<Option<T>, CallError> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let read = serde_json::from_str(raw.get());
        read.map(Some).map_err(|_| CallError::unusable(format!("{name} is of the wrong type")))
    }

    /// A text; an empty one counts as absent.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, CallError> {
        Ok(self.value::<String>(name)?.filter(|text| !text.is_empty()))
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, name: &'static str) -> Result<String, CallError> {
        self.text(name)?.ok_or_else(|| CallError::unusable(format!("it has no {name}")))
    }

    /// A list of texts, of which the first `most` are kept.
    pub(super) fn texts(&self, name: &'static str, most: usize) -> Result<Option<Vec<String>>, CallError> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let wrong = |_| CallError::unusable(format!("{name} is of the wrong type"));
        let elements = elements(raw.get().as_bytes(), most).map_err(wrong)?;
        let texts: Result<Vec<String>, _> =
            elements.iter().map(|element| serde_json::from_str(element.get())).collect();
        texts.map(Some).map_err(|_| CallError::unusable(format!("{name} holds something else than texts")))
    }
}

/// The first `most` elements of a list, each as it stands there.
pub(super) fn elements(text: &[u8], most: usize) -> Result<Vec<&RawValue>, CallError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let found = Elements(most).deserialize(&mut reader).map_err(|error| unusable(&error))?;
    reader.end().map_err(|error| unusable(&error))?;
    Ok(found)
}

fn unusable(error: &serde_json::Error) -> CallError {
    // The position alone: the rest of the message may quote what was sent.
    CallError::unusable(format!(
        "not the JSON that it should be, at line {} column {}",
        error.line(),
        error.column()
    ))
}

enum Shape<'a> {
    Object(Vec<(&'static str, &'a RawValue)>),
    Empty,
}

struct Wanted(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Wanted {
    type Value = Shape<'de>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Wanted {
    type Value = Shape<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut is_empty = true;
        let mut found: Vec<(&'static str, bool, &'de RawValue)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            is_empty = false;
            let Some(name) = self.0.iter().find(|name| name.eq_ignore_ascii_case(&key)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let (is_exact, value) = (*name == key, map.next_value()?);
            // One that is spelled as documented wins; among equals the first does.
            match found.iter_mut().find(|(found, _, _)| found == name) {
                None => found.push((name, is_exact, value)),
                Some(known) if is_exact && !known.1 => *known = (name, true, value),
                Some(_) => {}
            }
        }
        if is_empty {
            return Ok(Shape::Empty);
        }
        Ok(Shape::Object(found.into_iter().map(|(name, _, value)| (name, value)).collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        match list.next_element::<IgnoredAny>()? {
            None => Ok(Shape::Empty),
            Some(_) => Err(serde::de::Error::custom("a list")),
        }
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(Shape::Empty)
    }
}

struct Elements(usize);

impl<'de> DeserializeSeed<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while found.len() < self.0 {
            match list.next_element()? {
                Some(element) => found.push(element),
                None => return Ok(found),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WANTED: &[&str] = &["Version", "CacheId", "Names"];

    fn read(text: &str) -> Result<Members<'_>, CallError> {
        Members::read(text.as_bytes(), WANTED)
    }

    #[test]
    fn names_have_no_case_and_the_documented_spelling_wins() {
        let members = read(r#"{"version":"a","x":[{}],"VERSION":"b","Version":"c","cacheid":null}"#).unwrap();
        assert_eq!(members.text("Version").unwrap().as_deref(), Some("c"));
        assert_eq!(members.text("CacheId").unwrap(), None);
        assert_eq!(read(r#"{"version":"a","VERSION":"b"}"#).unwrap().text("Version").unwrap().unwrap(), "a");
    }

    #[test]
    fn nothing_in_any_form_is_empty() {
        for text in ["", "  ", "null", "{}", " { } ", "[]"] {
            assert!(matches!(read(text), Err(CallError::Empty)), "{text}");
        }
        for text in ["7", "\"{}\"", "[1]", "{", "{}}", "{\"Version\":}", "<html>", "{\"a\":1"] {
            assert!(matches!(read(text), Err(CallError::Unusable { .. })), "{text}");
        }
    }

    #[test]
    fn lists_are_kept_up_to_a_length_and_read_to_their_end() {
        let members = read(r#"{"Names":["a","b","c"],"Version":[1],"CacheId":["a",1]}"#).unwrap();
        assert_eq!(members.texts("Names", 2).unwrap().unwrap(), ["a", "b"]);
        assert!(members.texts("CacheId", 9).is_err());
        assert!(members.text("Version").is_err());
        assert!(elements(b"[1,2,", 1).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_members_or_an_error(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Members::read(&text, WANTED);
            let _ = elements(&text, 3);
        }

        #[test]
        fn any_depth_is_members_or_an_error(depth in 0_usize..3000, open in "[\\[{]") {
            let text = format!("{{\"Version\":{}", open.repeat(depth));
            prop_assert!(read(&text).is_err());
        }
    }
}
