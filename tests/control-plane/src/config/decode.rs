//! Reads a tree of values into typed fields and collects every mistake instead of stopping at the first.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// One mapping of the file. Every key is taken by name; what is left at the end is unknown.
pub(super) struct Section<'errors> {
    path: String,
    values: Map<String, Value>,
    known: Vec<&'static str>,
    errors: &'errors mut Vec<String>,
}

impl<'errors> Section<'errors> {
    /// Null counts as an empty mapping; anything else that is no mapping is a mistake.
    pub(super) fn open(path: String, value: Value, errors: &'errors mut Vec<String>) -> Self {
        let values = match value {
            Value::Object(values) => values,
            Value::Null => Map::new(),
            other => {
                let at = if path.is_empty() { "the file" } else { &path };
                errors.push(format!("{at}: expected a mapping, found {}", kind(&other)));
                Map::new()
            }
        };
        Self { path, values, known: Vec::new(), errors }
    }

    /// The value of an optional key; its default when it is absent, null or wrong (which is reported).
    pub(super) fn take<T: DeserializeOwned + Default>(&mut self, key: &'static str) -> T {
        self.known.push(key);
        match self.values.remove(key) {
            None | Some(Value::Null) => T::default(),
            Some(value) => self.typed(key, value),
        }
    }

    /// The value of a key that must be there.
    pub(super) fn required<T: DeserializeOwned + Default>(&mut self, key: &'static str) -> T {
        self.known.push(key);
        if let Some(value) = self.values.remove(key) {
            return self.typed(key, value);
        }
        self.errors.push(format!("{}: is missing, set it", self.at(key)));
        T::default()
    }

    /// A nested mapping; the default of its type when it is absent.
    pub(super) fn section<T: Default>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        self.optional_section(key, read).unwrap_or_default()
    }

    /// A nested mapping that may be absent or null, which then means something else than an empty one.
    pub(super) fn optional_section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        self.known.push(key);
        let path = self.at(key);
        match self.values.remove(key) {
            None | Some(Value::Null) => None,
            Some(value) => {
                let mut section = Section::open(path, value, self.errors);
                let result = read(&mut section);
                section.finish();
                Some(result)
            }
        }
    }

    /// A list of mappings; empty when it is absent.
    pub(super) fn list<T>(&mut self, key: &'static str, read: impl FnMut(&mut Section<'_>) -> T) -> Vec<T> {
        self.optional_list(key, read).unwrap_or_default()
    }

    /// A list of mappings that may be absent or null, which then means something else than an empty one.
    pub(super) fn optional_list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Option<Vec<T>> {
        self.known.push(key);
        let path = self.at(key);
        let entries = match self.values.remove(key) {
            None | Some(Value::Null) => return None,
            Some(Value::Array(entries)) => entries,
            Some(other) => {
                self.errors.push(format!("{path}: expected a list, found {}", kind(&other)));
                return None;
            }
        };
        let mut results = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let mut section = Section::open(format!("{path}[{index}]"), entry, self.errors);
            results.push(read(&mut section));
            section.finish();
        }
        Some(results)
    }

    /// Reports every key nobody asked for.
    pub(super) fn finish(self) {
        for key in self.values.keys() {
            let known = self.known.join(", ");
            self.errors.push(format!("{}: unknown key, known here are {known}", self.at(key)));
        }
    }

    fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn typed<T: DeserializeOwned + Default>(&mut self, key: &str, value: Value) -> T {
        let shown = value.to_string();
        serde_json::from_value(value).unwrap_or_else(|error| {
            self.errors.push(format!("{}: {shown} is not usable: {error}", self.at(key)));
            T::default()
        })
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
