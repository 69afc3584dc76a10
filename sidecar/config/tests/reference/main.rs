//! The reference for administrators, `docs/configuration.md`, says what the code does: every key once, with its default, its range and
//! its words, and examples that are loaded as they stand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that meets the unexpected has failed")]

mod page;

use std::collections::BTreeMap;

use connected_cache_config::{Config, KEYS, Key, Problem};
use page::{Documented, Page, Row, quoted};
use serde_json::{Value, json};

/// JSON is YAML, so this goes the way of every file.
fn problems(document: &Value) -> Vec<Problem> {
    Config::from_yaml(&document.to_string()).err().map_or_else(Vec::new, |error| error.problems)
}

fn problem_at(path: &str, document: &Value) -> Option<String> {
    problems(document).into_iter().find(|problem| problem.path == path).map(|problem| problem.message)
}

/// As the types read it, without the rules that need other keys.
fn typed(document: &Value) -> Result<Config, serde_json::Error> {
    serde_json::from_value(document.clone())
}

fn lookup<'a>(document: &'a Value, path: &str) -> &'a Value {
    document.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&Value::Null)
}

/// The default of a key, as the program prints it.
fn default_of(key: &Key) -> Value {
    lookup(&serde_json::to_value(Config::default()).unwrap(), key.path).clone()
}

/// The default of a key inside an entry, as the program prints it; `None` = it prints none.
fn default_inside(row: &Row) -> Option<Value> {
    let printed = serde_json::to_value(typed(&row.document(None)).unwrap()).unwrap();
    let entries = lookup(&printed, row.key().path);
    let entry = entries.get(0).or_else(|| entries.as_object()?.values().next())?;
    entry.get(row.item()?).cloned()
}

/// Why the loader refuses an entry without this key.
fn refusal_without(row: &Row) -> Option<String> {
    problem_at(&row.place(), &row.document(None))
}

/// Every row that there should be.
fn wanted() -> Vec<Row> {
    let rows = |key: &'static Key| {
        let default = default_of(key);
        let between = if default.is_array() { "[]." } else { ".*." };
        let of_key = Row::new(key.path.to_owned(), Documented::Value(default), key.in_effect);
        let of_item = move |item: &&str| {
            let mut row =
                Row::new(format!("{}{between}{item}", key.path), Documented::Required, key.in_effect);
            if !refusal_without(&row).is_some_and(|message| message.contains("is required")) {
                row.default = default_inside(&row).map_or(Documented::LeftOut, Documented::Value);
            }
            row
        };
        std::iter::once(of_key).chain(key.items.iter().map(of_item))
    };
    KEYS.iter().flat_map(rows).collect()
}

#[test]
fn every_key_of_the_code_stands_in_the_page_once_and_no_other() {
    let mut written: BTreeMap<String, usize> = BTreeMap::new();
    for row in Page::read().rows {
        *written.entry(row.path).or_default() += 1;
    }
    let mut wrong = Vec::new();
    for row in wanted() {
        match written.remove(&row.path) {
            Some(1) => {}
            Some(_) => wrong.push(format!("`{}` stands there more than once", row.path)),
            None => {
                let section = row.path.split('.').next().unwrap_or_default();
                wrong.push(format!("add this row to the table of the section `{section}`:\n{row}"));
            }
        }
    }
    wrong.extend(written.keys().map(|path| format!("`{path}` is no key: remove its row")));
    assert!(wrong.is_empty(), "docs/configuration.md:\n{}", wrong.join("\n"));
}

#[test]
fn rows_stand_below_the_heading_of_their_section() {
    let text = Page::read().text;
    let mut section = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = quoted(heading).first().copied();
        }
        if let (Some(section), Some(row)) = (section, line.strip_prefix("| `")) {
            assert!(row.starts_with(&format!("{section}.")), "below `{section}`: {line}");
        }
    }
    assert!(section.is_some(), "the page has headings such as ## `node`");
}

#[test]
fn keys_without_an_effect_are_marked_and_no_others() {
    for row in Page::read().rows {
        let advice = if row.key().in_effect { "remove" } else { "begin its meaning with" };
        assert_eq!(row.has_effect, row.key().in_effect, "`{}`: {advice} *No effect yet.*", row.path);
    }
}

#[test]
fn every_default_of_the_page_is_that_of_the_code() {
    for row in Page::read().rows.iter().filter(|row| row.item().is_none()) {
        let code = default_of(row.key());
        let Documented::Value(value) = &row.default else { panic!("`{}` is `{code}` by default", row.path) };
        let read = Config::from_yaml(&row.document(Some(value.clone())).to_string());
        let advice =
            format!("docs/configuration.md: the default of `{}` is `{code}`, not `{value}`", row.path);
        assert!(read == Ok(Config::default()), "{advice}");
    }
}

#[test]
fn every_default_inside_an_entry_is_that_of_the_code() {
    for row in Page::read().rows {
        if row.item().is_none() {
            continue;
        }
        let (code, refusal) = (default_inside(&row), refusal_without(&row));
        let this = format!("docs/configuration.md: `{}`, by default {code:?},", row.path);
        match &row.default {
            Documented::Required => assert!(refusal.is_some(), "{this} is not required"),
            Documented::LeftOut => assert_eq!(code, None, "{this} has a default"),
            Documented::Value(value) => {
                let is_required = refusal.is_some_and(|message| message.contains("is required"));
                assert!(!is_required, "{this} is required");
                let with = typed(&row.document(Some(value.clone())));
                assert!(
                    with.ok() == typed(&row.document(None)).ok(),
                    "{this} has another default than `{value}`"
                );
            }
        }
    }
}

#[test]
fn ranges_are_those_of_the_code() {
    let mut checked = 0;
    for row in Page::read().rows {
        let refusal = |number: u64| problem_at(&row.place(), &row.document(Some(json!(number))));
        let Some((least, most)) = row.range() else { continue };
        for number in [Some(least), most].into_iter().flatten() {
            assert_eq!(refusal(number), None, "docs/configuration.md: `{}` does not take {number}", row.path);
        }
        for number in [least.checked_sub(1), most.and_then(|most| most.checked_add(1))].into_iter().flatten()
        {
            assert!(
                refusal(number).is_some(),
                "docs/configuration.md: `{}` takes {number} as well",
                row.path
            );
        }
        checked += 1;
    }
    assert!(checked > 20, "only {checked} rows have a range");
}

#[test]
fn numbers_that_are_refused_have_a_range_in_the_page() {
    for row in Page::read().rows {
        let is_number = |number: u64| typed(&row.document(Some(json!(number)))).is_ok();
        if row.range().is_none() && is_number(1) && is_number(2) {
            let refusal = problem_at(&row.place(), &row.document(Some(json!(0))));
            assert_eq!(
                refusal, None,
                "docs/configuration.md: `{}` has a range, write it beside its type",
                row.path
            );
        }
    }
}

/// The words that a key of words takes; `None` where it takes anything else.
fn words_of_the_code(document: &Value) -> Option<Vec<String>> {
    let error = typed(document).err()?.to_string();
    let (_, words) = error.split_once("unknown variant")?.1.split_once("expected")?;
    Some(quoted(words).into_iter().map(str::to_owned).collect())
}

#[test]
fn words_are_those_of_the_code() {
    let page = Page::read();
    let mut checked = 0;
    for row in &page.rows {
        let documents = [json!("?"), json!(["?"]), json!({"?": {}})].map(|value| row.document(Some(value)));
        let Some(words) = documents.iter().find_map(words_of_the_code) else { continue };
        assert_eq!(page.words_of(row), words, "docs/configuration.md: the type of `{}`", row.path);
        checked += 1;
    }
    assert!(checked > 10, "only {checked} rows have words");
}

#[test]
fn every_example_is_loaded_and_has_an_effect() {
    let page = Page::read();
    for example in page.examples("yaml\n") {
        let config = Config::from_yaml(example).unwrap_or_else(|error| panic!("{error}\n{example}"));
        assert_ne!(config, Config::default(), "{example}");
        assert_eq!(config.not_in_effect(), Vec::<&str>::new(), "{example}");
    }
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\ncontent:\n").expect("the README has an example of `content`");
    let example = format!("content:\n{}", rest.split("```").next().unwrap_or_default());
    assert_eq!(Config::from_yaml(&example).map(|config| config.content.pins.len()), Ok(1), "{example}");
    for example in page.examples("sh\n") {
        let variables: Vec<(&str, &str)> = example
            .lines()
            .map(|line| line.split_once('=').unwrap_or_else(|| panic!("NAME=value: {line}")))
            .map(|(name, value)| (name, value.trim_matches('\'')))
            .collect();
        for variable in variables {
            assert!(variable.0.starts_with(connected_cache_config::ENVIRONMENT_PREFIX), "{variable:?}");
            let config = Config::load(None, [variable]).unwrap_or_else(|error| panic!("{error}"));
            assert_ne!(config, Config::default(), "{variable:?}");
        }
    }
}
