//! What environment variables say. Any key of the configuration can stand in one, which then counts before the file:
//! `LDAP_USHER__VAULTWARDEN__URL`, and for the first directory `LDAP_USHER__DIRECTORY__0__URL`.

use std::borrow::Cow;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{KeyPath, Origin, Problems, Step};
use super::reference;
use super::secret::one_line;

/// Before the names of the variables that stand for keys.
const NATIVE: &str = "LDAP_USHER__";
/// Between the names of table, index and key.
const SEPARATOR: &str = "__";
/// Before the names of the variables that vaultwarden_ldap knows.
const LEGACY: &str = "APP_";

/// The environment of the process, or one made up for a test.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    variables: Vec<(String, String)>,
    /// The names of variables whose values are not UTF-8.
    unreadable: Vec<String>,
}

impl Environment {
    /// That of this process.
    pub(super) fn of_process() -> Self {
        let mut environment = Self::default();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => environment.variables.push((name, value)),
                (Ok(name), Err(_)) => environment.unreadable.push(name),
                (Err(_), _) => {}
            }
        }
        environment
    }

    /// The value of a variable, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.variables.iter().find(|(known, _)| known == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// A folder that a variable names.
    pub(super) fn folder(&self, name: &str) -> Option<PathBuf> {
        // systemd separates several by colons.
        let first = self.get(name)?.split(':').next()?;
        Some(first.into())
    }

    /// Whether any key stands in a variable.
    pub(super) fn has_keys(&self) -> bool {
        self.keys().next().is_some()
    }

    /// Each key that stands in a variable, the variable's name and its value. What is empty is left out, because
    /// composed files pass on what nobody has set.
    fn keys(&self) -> impl Iterator<Item = (KeyPath, &str, &str)> {
        self.variables.iter().filter_map(|(name, value)| {
            let path = key(name)?;
            let value = line(value, reference::is_secret(&path));
            let empty = value.is_empty() || unquoted(value) == Some("");
            Some((path, name.as_str(), value)).filter(|_| !empty)
        })
    }

    /// Puts what the variables say in place of what the document says. One that makes no sense there is a problem.
    pub(super) fn overlay<'a>(&'a self, document: &mut DeTable<'a>, problems: &mut Problems<'_>) {
        let mut keys: Vec<_> = self.keys().collect();
        // The first directory comes before the second, which extends the list.
        keys.sort_by(|(a, ..), (b, ..)| a.0.cmp(&b.0));
        for (path, name) in self.unreadable.iter().filter_map(|name| Some((key(name)?, name))) {
            problems.comes_from(path.clone(), Origin::Variable(name.clone()));
            problems.error(&path, "is not text in UTF-8; encode it so");
        }
        for (path, name, value) in &keys {
            problems.comes_from(path.clone(), Origin::Variable((*name).to_owned()));
            let value = match unquoted(value).filter(|_| !reference::is_secret(path)) {
                Some(inner) if reference::takes_text(path) => {
                    problems.warning(
                        path,
                        "stands in quotation marks, which are left out; leave them out there",
                    );
                    inner
                }
                // A text in quotes is TOML as well, and anything else in quotes is none.
                Some(inner) if DeValue::parse(inner).is_ok() => inner,
                _ => value,
            };
            let rival = rival(path).filter(|rival| !keys.iter().any(|(path, ..)| path == rival));
            if let Err(problem) = put(document, &path.0, parse(path, value), rival.as_ref()) {
                problems.error(path, problem);
            }
        }
    }

    /// The variables of vaultwarden_ldap, as the key each stands for, its name and its value. What is empty is left
    /// out, because composed files pass on what nobody has set.
    pub(super) fn legacy(&self) -> impl Iterator<Item = (String, &str, &str)> {
        self.variables.iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(LEGACY)?.to_lowercase();
            let value = line(value, true);
            Some((key, name.as_str(), value)).filter(|_| !value.is_empty())
        })
    }

    /// The name of the variable that stands for a key of vaultwarden_ldap.
    pub(super) fn legacy_name(key: &str) -> String {
        format!("{LEGACY}{}", key.to_uppercase())
    }
}

/// The key that a variable stands for.
fn key(name: &str) -> Option<KeyPath> {
    let steps = name.strip_prefix(NATIVE)?.split(SEPARATOR).map(step);
    Some(KeyPath(steps.collect()))
}

/// A value without what files and pipes put around it: a byte order mark, and the end of a line. Of a secret only one
/// such end does not count, as in a file.
fn line(value: &str, secret: bool) -> &str {
    let value = value.strip_prefix('\u{feff}').unwrap_or(value);
    if secret {
        one_line(value)
    } else {
        value.trim_end_matches(['\r', '\n'])
    }
}

/// What stands between two quotation marks of one kind.
fn unquoted(value: &str) -> Option<&str> {
    let within = |mark| value.strip_prefix(mark)?.strip_suffix(mark);
    within('"').or_else(|| within('\''))
}

fn step(name: &str) -> Step {
    match name.parse() {
        Ok(index) => Step::Index(index),
        Err(_) => Step::Key(name.to_lowercase()),
    }
}

/// The other one of a secret and the file that holds it: a variable for one replaces both.
fn rival(path: &KeyPath) -> Option<KeyPath> {
    let (Step::Key(key), table) = path.0.split_last()? else {
        return None;
    };
    let rival = match key.strip_suffix("_file") {
        Some(key) => key.to_owned(),
        None => format!("{key}_file"),
    };
    Some(KeyPath(table.to_vec()).key(&rival))
}

/// A key that takes a text takes it as it is; others are read as TOML, or as text where that fails.
fn parse<'a>(path: &KeyPath, value: &'a str) -> DeValue<'a> {
    let text = DeValue::String(Cow::Borrowed(value));
    if reference::takes_text(path) {
        return text;
    }
    DeValue::parse(value).map_or(text, Spanned::into_inner)
}

/// Puts a value at `path`, and removes `rival`, which stands beside it.
fn put<'a>(
    table: &mut DeTable<'a>,
    path: &[Step],
    value: DeValue<'a>,
    rival: Option<&KeyPath>,
) -> Result<(), &'static str> {
    const UNFIT: &str =
        "does not fit; name it as in LDAP_USHER__VAULTWARDEN__URL or LDAP_USHER__DIRECTORY__0__URL";
    match path {
        [Step::Key(key)] => {
            if let Some(Step::Key(rival)) = rival.and_then(|rival| rival.0.last()) {
                table.remove(rival.as_str());
            }
            table.insert(nowhere(Cow::Owned(key.clone())), nowhere(value));
            Ok(())
        }
        [Step::Key(key), Step::Index(index), below @ ..] => {
            let array = table
                .entry(nowhere(Cow::Owned(key.clone())))
                .or_insert_with(|| nowhere(DeValue::Array(DeArray::new())));
            let DeValue::Array(array) = array.get_mut() else {
                return Err(UNFIT);
            };
            if *index == array.len() {
                array.push(nowhere(DeValue::Table(DeTable::new())));
            }
            match array.get_mut(*index).map(Spanned::get_mut) {
                Some(DeValue::Table(inner)) => put(inner, below, value, rival),
                Some(_) => Err(UNFIT),
                None => Err("leaves a gap: number the tables from 0, those of the file included"),
            }
        }
        [Step::Key(key), below @ ..] => {
            let inner = table
                .entry(nowhere(Cow::Owned(key.clone())))
                .or_insert_with(|| nowhere(DeValue::Table(DeTable::new())));
            match inner.get_mut() {
                DeValue::Table(inner) => put(inner, below, value, rival),
                _ => Err(UNFIT),
            }
        }
        _ => Err(UNFIT),
    }
}

/// What stands in no text.
fn nowhere<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self {
            variables: variables.map(|(name, value)| (name.into(), value.into())).into(),
            unreadable: Vec::new(),
        }
    }
}
