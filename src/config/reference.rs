//! `config/default.toml`, the reference of all keys: which keys exist, their types, and suggestions for misspelt ones.

use std::fmt::Write;

use toml::{Table, Value};

use super::problem::{KeyPath, Step};

/// Every key with its default and the reason for it. Optional keys are commented out as `#key = value`, without a space
/// after the `#`; comments for people have that space.
const REFERENCE: &str = include_str!("../../config/default.toml");

/// The remedy for an unknown key: the most similar key, the table where it belongs, or the list of known keys.
pub(super) fn remedy(path: &KeyPath) -> String {
    let Some((Step::Key(key), parents)) = path.0.split_last() else {
        return String::new();
    };
    let document = every_key();
    let Some((header, table)) = enclosing(&document, parents) else {
        return String::new();
    };
    if let Some(meant) = nearest(key, table.keys().map(String::as_str)) {
        return format!("; did you mean `{meant}`?");
    }
    if let Some(home) = home_of(key, &document) {
        return format!("; it belongs {home}");
    }
    let known: Vec<&str> = table.keys().map(String::as_str).collect();
    format!("; {header} has {}", known.join(", "))
}

/// Whether a key takes free text. An unknown key does.
pub(super) fn takes_text(path: &KeyPath) -> bool {
    let document = every_key();
    let known = path.0.split_last().and_then(|(step, parents)| match step {
        Step::Key(key) => enclosing(&document, parents)?.1.get(key),
        Step::Index(_) => None,
    });
    known.is_none_or(Value::is_str)
}

/// Whether a key holds a secret, which is so if there is also a `key_file`.
pub(super) fn is_secret(path: &KeyPath) -> bool {
    let Some((Step::Key(key), parents)) = path.0.split_last() else {
        return false;
    };
    let document = every_key();
    enclosing(&document, parents)
        .is_some_and(|(_, table)| table.contains_key(key) && table.contains_key(&format!("{key}_file")))
}

/// The candidate that is similar enough to `word` to be suggested.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Accepts typing errors: an extra, missing or swapped letter, or a truncated word.
    const MIN_SIMILARITY: f64 = 0.85;
    candidates
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity > MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The reference with its optional keys uncommented.
fn every_key() -> Table {
    let mut text = String::new();
    for line in REFERENCE.lines() {
        let line = line
            .strip_prefix('#')
            .filter(|rest| rest.starts_with(char::is_alphabetic))
            .unwrap_or(line);
        let _ = writeln!(text, "{line}");
    }
    // A test ensures that this parses. If it did not, unknown keys would be reported without a remedy.
    text.parse().unwrap_or_default()
}

/// The table at `path` and its header, such as `[[directory]]`.
fn enclosing<'a>(document: &'a Table, path: &[Step]) -> Option<(String, &'a Table)> {
    let mut header = "the top level".to_owned();
    let mut table = document;
    for step in path {
        if let Step::Key(key) = step {
            (header, table) = sub_table(key, table.get(key)?)?;
        }
    }
    Some((header, table))
}

fn sub_table<'a>(key: &str, value: &'a Value) -> Option<(String, &'a Table)> {
    match value {
        Value::Table(table) => Some((format!("[{key}]"), table)),
        Value::Array(tables) => Some((format!("[[{key}]]"), tables.first()?.as_table()?)),
        _ => None,
    }
}

/// The right place of a key that is in the wrong table. This is an easy mistake: in TOML a key belongs to the last header
/// above it.
fn home_of(key: &str, document: &Table) -> Option<String> {
    if document.contains_key(key) {
        return Some("at the top, before the first table".into());
    }
    let (header, _) = document
        .iter()
        .filter_map(|(name, value)| sub_table(name, value))
        .find(|(_, table)| table.contains_key(key))?;
    Some(format!("in {header}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value as Json, json};

    use super::*;
    use crate::config::schema::{DirectoryTable, File};

    /// The paths of all keys below a value; arrays of tables count as their first table.
    fn keys(prefix: &str, value: &Json, found: &mut BTreeSet<String>) {
        match value {
            Json::Object(object) => {
                for (key, value) in object {
                    let path = format!("{prefix}.{key}");
                    keys(&path, value, found);
                    found.insert(path);
                }
            }
            Json::Array(array) => array
                .first()
                .into_iter()
                .for_each(|first| keys(prefix, first, found)),
            _ => {}
        }
    }

    /// The schema of an empty configuration.
    fn defaults() -> Json {
        serde_json::to_value(File {
            directory: vec![DirectoryTable::default()],
            ..File::default()
        })
        .unwrap()
    }

    #[test]
    fn the_reference_names_exactly_the_keys_of_the_schema() {
        let (mut schema, mut reference) = (BTreeSet::new(), BTreeSet::new());
        keys("", &defaults(), &mut schema);
        keys("", &json!(every_key()), &mut reference);
        assert!(schema.len() > 30, "{schema:?}");
        assert_eq!(schema, reference);
    }

    #[test]
    fn the_values_in_the_reference_are_the_defaults() {
        let reference: File = toml::from_str(REFERENCE).unwrap();
        assert_eq!(serde_json::to_value(reference).unwrap(), defaults());
    }

    #[test]
    fn the_examples_in_the_reference_have_the_right_types() {
        let unknown = &mut Vec::new();
        let examples = every_key().to_string();
        let file: File = serde_ignored::deserialize(toml::Deserializer::parse(&examples).unwrap(), |p| {
            unknown.push(p.to_string());
        })
        .unwrap();
        assert_eq!(file.directory[0].url.len(), 2);
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let near = |word| nearest(word, ["mail_attributes", "bind_dn", "url", "stream"].into_iter());
        assert_eq!(near("mail_attribute"), Some("mail_attributes"));
        assert_eq!(near("binddn"), Some("bind_dn"));
        assert_eq!(near("urls"), Some("url"));
        assert_eq!(near("strem"), Some("stream"));
        assert_eq!(near("groups"), None);
    }
}
