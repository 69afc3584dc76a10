//! Reads `docs/configuration.md`: the rows of its tables of keys, and its examples.

use std::fmt;

use connected_cache_config::{KEYS, Key};
use serde_json::{Value, json};

/// What the tables of keys begin with; other tables of the page are left alone.
const HEAD: &str = "| key | type, range | default | meaning |";
/// How the paragraph begins that lists the classes once for all rows.
const CLASSES: &str = "A class is one of ";
/// Name of the entry of a map.
const CLASS: &str = "Xbox";
const NO_EFFECT: &str = "*No effect yet.* ";

pub(crate) struct Page {
    pub(crate) text: String,
    pub(crate) rows: Vec<Row>,
}

/// A key, or a key of the entries of a list (`list[].key`) or map (`map.*.key`).
pub(crate) struct Row {
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) default: Documented,
    pub(crate) has_effect: bool,
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = match &self.default {
            Documented::Value(value) => format!("`{value}`"),
            Documented::Required => "required".to_owned(),
            Documented::LeftOut => "left out".to_owned(),
        };
        let effect = if self.has_effect { "" } else { NO_EFFECT };
        write!(formatter, "| `{}` | {} | {default} | {effect}ONE PLAIN SENTENCE. |", self.path, self.kind)
    }
}

/// What a cell says of a default.
#[derive(Debug, PartialEq)]
pub(crate) enum Documented {
    Value(Value),
    /// An entry without it is refused.
    Required,
    /// An entry without it means something that no value means.
    LeftOut,
}

impl Page {
    pub(crate) fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let text = std::fs::read_to_string(path).expect("docs/configuration.md is there");
        let mut rows = Vec::new();
        let mut lines = text.lines();
        while lines.any(|line| line == HEAD) {
            rows.extend(lines.by_ref().skip(1).take_while(|line| line.starts_with('|')).map(Row::read));
        }
        Self { text, rows }
    }

    /// The code blocks in this language.
    pub(crate) fn examples(&self, language: &str) -> Vec<&str> {
        let blocks = self.text.split("```").skip(1).step_by(2);
        let examples: Vec<&str> = blocks.filter_map(|block| block.strip_prefix(language)).collect();
        assert!(!examples.is_empty(), "no example in {language}");
        examples
    }

    /// The words that a row says are all that its key takes; none where it takes anything.
    pub(crate) fn words_of(&self, row: &Row) -> Vec<String> {
        let of_classes = || self.text.lines().find(|line| line.starts_with(CLASSES)).expect(CLASSES);
        let is_class = row.kind.split([' ', ',']).any(|word| word == "class");
        // The paragraph goes on behind the list.
        let text = if is_class { of_classes().split(". ").next().unwrap_or_default() } else { &row.kind };
        quoted(text).into_iter().map(str::to_owned).collect()
    }
}

impl Row {
    fn read(line: &str) -> Self {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [path, kind, default, meaning] = cells[..] else { panic!("four cells are needed: {line}") };
        let in_quotes = |cell: &str| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned());
        let path = in_quotes(path).unwrap_or_else(|| panic!("the key needs backquotes: {line}"));
        let default = match (default, in_quotes(default)) {
            ("required", _) => Documented::Required,
            ("left out", _) => Documented::LeftOut,
            (_, Some(text)) => Documented::Value(
                serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: `{text}`: {error}")),
            ),
            _ => panic!("a default is `YAML`, required or left out: {line}"),
        };
        let ends_well = meaning.ends_with('.') && meaning.trim_start_matches(NO_EFFECT).len() > 1;
        assert!(ends_well && !kind.is_empty(), "a type and a sentence are needed: {line}");
        Self { path, kind: kind.to_owned(), default, has_effect: !meaning.starts_with(NO_EFFECT) }
    }

    /// What a row has to say, without the words that only people know.
    pub(crate) fn new(path: String, default: Documented, has_effect: bool) -> Self {
        Self { path, kind: "TYPE, RANGE".to_owned(), default, has_effect }
    }

    /// The key that it is, or whose entries it is about.
    pub(crate) fn key(&self) -> &'static Key {
        let path = self.path.split(['[', '*']).next().unwrap_or_default().trim_end_matches('.');
        let found = KEYS.iter().find(|key| key.path == path);
        found
            .unwrap_or_else(|| panic!("`{}` is no key: remove its row from docs/configuration.md", self.path))
    }

    /// The name inside the entries; `None` for a key of its own.
    pub(crate) fn item(&self) -> Option<&str> {
        self.path.rsplit_once("[].").or_else(|| self.path.rsplit_once(".*.")).map(|(_, item)| item)
    }

    /// A configuration with only this key; without a value, one with an entry that lacks it.
    pub(crate) fn document(&self, value: Option<Value>) -> Value {
        let path = self.key().path;
        match (self.item(), value) {
            (None, value) => at(path, value.unwrap_or_default()),
            (Some(_), None) => of_one_entry(path, self.is_of_list(), &json!({})),
            (Some(item), Some(value)) => of_one_entry(path, self.is_of_list(), &json!({ item: value })),
        }
    }

    /// How the loader names this key of such a configuration.
    pub(crate) fn place(&self) -> String {
        let path = self.key().path;
        match self.item() {
            None => path.to_owned(),
            Some(item) if self.is_of_list() => format!("{path}[0].{item}"),
            Some(item) => format!("{path}[{CLASS:?}].{item}"),
        }
    }

    fn is_of_list(&self) -> bool {
        self.path.contains("[].")
    }

    /// The least and the most number of "1 to 9" or "at least 1", in bytes where they are sizes.
    pub(crate) fn range(&self) -> Option<(u64, Option<u64>)> {
        let words: Vec<&str> = self.kind.split(' ').map(|word| word.trim_end_matches(',')).collect();
        let number = |word: &str| Some(word.parse::<connected_cache_config::ByteSize>().ok()?.bytes());
        words.windows(3).find_map(|three| match *three {
            [from, "to", to] => Some((number(from)?, Some(number(to)?))),
            ["at", "least", least] => Some((number(least)?, None)),
            _ => None,
        })
    }
}

fn of_one_entry(path: &str, is_list: bool, entry: &Value) -> Value {
    at(path, if is_list { json!([entry]) } else { json!({ CLASS: entry }) })
}

/// A document with one value.
fn at(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |inner, name| json!({ name: inner }))
}

/// What stands in backquotes.
pub(crate) fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}
