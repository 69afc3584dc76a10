//! From text and variables to a checked [`Config`]. Problems are collected, not thrown one at a time: unknown keys, wrong
//! types and broken rules of one file are all named in one go.

use std::fmt;

use serde_json::{Map, Value};

use crate::{
    Config, environment,
    keys::{self, KEYS, Key},
    spelling, validate,
};

/// One thing that is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Full path of the key, `storage.volumes[1].limit`, or the name of an environment variable; empty = the whole file.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "{}: {}", self.path, self.message)
        }
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", list_of(problems))]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

fn list_of(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("  - {problem}")).collect();
    format!("the configuration has {} problem(s):\n{}", problems.len(), lines.join("\n"))
}

impl Config {
    /// Reads a file's text alone. Empty text is the default configuration.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        Self::load(Some(text), std::iter::empty::<(String, String)>())
    }

    /// Reads a file's text (`None` = there is no file) and lays the `CONNECTEDCACHE_…` variables over it; other variables
    /// are ignored. Environment wins over file, file over default.
    pub fn load<Name, Text>(
        text: Option<&str>,
        variables: impl IntoIterator<Item = (Name, Text)>,
    ) -> Result<Self, ConfigError>
    where
        Name: AsRef<str>,
        Text: AsRef<str>,
    {
        let mut problems = Vec::new();
        let mut document = text.map_or_else(Map::new, |text| parse(text, &mut problems));
        check_section("", &mut document, &mut problems);
        environment::overlay(&mut document, variables, &mut problems);
        check_values(&mut document, &mut problems);
        match serde_json::from_value::<Self>(Value::Object(document)) {
            Ok(config) => {
                problems.extend(validate::problems(&config));
                if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
            }
            Err(error) => {
                problems.push(Problem::new("", error.to_string()));
                Err(ConfigError { problems })
            }
        }
    }

    /// Every rule that a value of these types can still break, such as a certificate without its key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let problems = validate::problems(self);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }

    /// The whole configuration as YAML, defaults included. [`Config::from_yaml`] reads it back to the same value.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        // Writing to a string can't fail, and these types hold only maps with text keys, lists and scalars.
        serde_saphyr::to_string(self).unwrap_or_default()
    }

    /// Paths of the keys that differ from their default but change nothing in this release.
    #[must_use]
    pub fn not_in_effect(&self) -> Vec<&'static str> {
        let (ours, default) = (as_document(self), as_document(&Self::default()));
        KEYS.iter()
            .filter(|key| !key.in_effect && lookup(&ours, key.path) != lookup(&default, key.path))
            // A listener that is off is off, whether its feature exists or not.
            .filter(|key| !(key.path.starts_with("listen.") && lookup(&ours, key.path) == Some(&Value::Null)))
            .map(|key| key.path)
            .collect()
    }
}

fn as_document(config: &Config) -> Value {
    // Can't fail: text keys and scalars only.
    serde_json::to_value(config).unwrap_or_default()
}

fn lookup<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(document, |value, name| value.get(name))
}

fn parse(text: &str, problems: &mut Vec<Problem>) -> Map<String, Value> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Map::new();
    }
    match serde_saphyr::from_str::<Value>(text) {
        Ok(Value::Object(document)) => return document,
        Ok(Value::Null) => {}
        Ok(_) => problems.push(Problem::new("", "the file must be a mapping of sections such as `storage:`")),
        Err(error) => problems.push(Problem::new("", format!("this is not YAML: {error}"))),
    }
    Map::new()
}

/// Takes out what is unknown, with a problem for each, and sections that are written but empty.
fn check_section(section: &str, map: &mut Map<String, Value>, problems: &mut Vec<Problem>) {
    let known = keys::names_below(section);
    map.retain(|name, value| {
        let path = joined(section, name);
        if !known.contains(&name.as_str()) {
            problems.push(unknown(&path, name, section, &known));
            return false;
        }
        if let Some(key) = keys::find(&path) {
            check_entries(key, value, problems);
            return true;
        }
        match value {
            Value::Object(inner) => {
                check_section(&path, inner, problems);
                true
            }
            Value::Null => false,
            _ => {
                let names = keys::names_below(&path).join(", ");
                problems.push(Problem::new(&path, format!("is a section and needs keys below it: {names}")));
                false
            }
        }
    });
}

/// Unknown keys inside the entries of a list or a map.
fn check_entries(key: &Key, value: &mut Value, problems: &mut Vec<Problem>) {
    if key.items.is_empty() {
        return;
    }
    let entries: Vec<(String, &mut Value)> = match value {
        Value::Array(entries) => {
            entries.iter_mut().enumerate().map(|(index, entry)| (format!("[{index}]"), entry)).collect()
        }
        Value::Object(map) => map.iter_mut().map(|(name, entry)| (format!("[{name:?}]"), entry)).collect(),
        _ => return,
    };
    for (place, entry) in entries {
        let Value::Object(map) = entry else { continue };
        let section = format!("{}{place}", key.path);
        map.retain(|name, _| {
            let is_known = key.items.contains(&name.as_str());
            if !is_known {
                problems.push(unknown(&joined(&section, name), name, &section, key.items));
            }
            is_known
        });
    }
}

fn unknown(path: &str, name: &str, section: &str, known: &[&'static str]) -> Problem {
    let guess =
        spelling::nearest(name, known).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
    let place = if section.is_empty() { "at the top level".to_owned() } else { format!("in `{section}`") };
    Problem::new(path, format!("unknown key{guess} (known {place}: {})", known.join(", ")))
}

/// Tries every value by itself, so that each wrong one is named by its path; wrong ones are taken out.
fn check_values(document: &mut Map<String, Value>, problems: &mut Vec<Problem>) {
    for key in KEYS {
        let Some(value) = take(document, key.path) else { continue };
        if type_error(key.path, value.clone()).is_none() {
            place(document, key.path, value);
        } else {
            problems.extend(explain(key, &value));
        }
    }
}

/// The innermost values that are wrong.
fn explain(key: &Key, value: &Value) -> Vec<Problem> {
    let mut found = Vec::new();
    match value {
        Value::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                let path = format!("{}[{index}]", key.path);
                found.extend(explain_entry(key, &path, entry, |entry| Value::Array(vec![entry])));
            }
        }
        Value::Object(map) => {
            for (name, entry) in map {
                let path = format!("{}[{name:?}]", key.path);
                let alone = |entry| Value::Object(Map::from_iter([(name.clone(), entry)]));
                if type_error(key.path, alone(Value::Object(Map::new()))).is_none() {
                    found.extend(explain_entry(key, &path, entry, alone));
                } else {
                    // The name itself is wrong, or its entries are no objects.
                    let error = type_error(key.path, alone(entry.clone()));
                    found.extend(error.map(|message| Problem::new(path, message)));
                }
            }
        }
        _ => {}
    }
    if found.is_empty() {
        let message = type_error(key.path, value.clone()).unwrap_or_default();
        found.push(Problem::new(key.path, message));
    }
    found
}

/// What is wrong inside one entry; `alone` makes a list or map of only this entry.
fn explain_entry(key: &Key, path: &str, entry: &Value, alone: impl Fn(Value) -> Value) -> Vec<Problem> {
    let Some(error) = type_error(key.path, alone(entry.clone())) else { return Vec::new() };
    let Value::Object(map) = entry else { return vec![Problem::new(path, error)] };
    let inner: Vec<Problem> = map
        .iter()
        .filter_map(|(name, value)| {
            let single = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
            let message = type_error(key.path, alone(single))?;
            Some(Problem::new(joined(path, name), message))
        })
        .collect();
    if inner.is_empty() { vec![Problem::new(path, error)] } else { inner }
}

/// What the type of the key at `path` says against `value`; `None` = it fits.
pub(crate) fn type_error(path: &str, value: Value) -> Option<String> {
    let mut document = Map::new();
    place(&mut document, path, value);
    serde_json::from_value::<Config>(Value::Object(document)).err().map(|error| error.to_string())
}

/// Puts a value at a path, making the sections above it.
pub(crate) fn place(document: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            document.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = document.entry(section).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                place(inner, rest, value);
            }
        }
    }
}

fn take(document: &mut Map<String, Value>, path: &str) -> Option<Value> {
    match path.split_once('.') {
        None => document.remove(path),
        Some((section, rest)) => take(document.get_mut(section)?.as_object_mut()?, rest),
    }
}

fn joined(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}
