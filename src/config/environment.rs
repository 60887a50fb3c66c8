//! Configuration from environment variables. A variable can set any key and overrides the file:
//! `LDAP_USHER__VAULTWARDEN__URL`, or `LDAP_USHER__DIRECTORY__0__URL` for the first directory.

use std::borrow::Cow;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{KeyPath, Origin, Problems, Step};
use super::reference;
use super::secret::one_line;

/// The prefix of variables that set a key.
const NATIVE_PREFIX: &str = "LDAP_USHER__";
/// Separates table, index and key in the name of a variable.
const SEPARATOR: &str = "__";
/// The prefix of the variables of vaultwarden_ldap.
const LEGACY_PREFIX: &str = "APP_";

/// The environment of this process, or a fake one in tests.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    variables: Vec<(String, String)>,
    /// The names of variables whose values are not UTF-8.
    unreadable: Vec<String>,
}

impl Environment {
    /// Reads the environment of this process.
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

    /// The value of a variable. An empty one counts as not set.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.variables.iter().find(|(known, _)| known == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// The folder that a variable names; the first one if there are several.
    pub(super) fn folder(&self, name: &str) -> Option<PathBuf> {
        // systemd separates folders by colons.
        let first = self.get(name)?.split(':').next()?;
        Some(first.into())
    }

    /// The URL of the collector in the variables of OpenTelemetry
    /// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/#endpoint-urls-for-otlphttp>), if this program uses it.
    pub(super) fn collector(&self) -> Option<String> {
        if !cfg!(feature = "otel") {
            return None;
        }
        let own = self.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(str::to_owned);
        own.or_else(|| {
            let base = self.get("OTEL_EXPORTER_OTLP_ENDPOINT")?;
            Some(format!("{}/v1/traces", base.trim_end_matches('/')))
        })
    }

    /// Whether at least one variable sets a key.
    pub(super) fn has_keys(&self) -> bool {
        self.keys().next().is_some()
    }

    /// Each key that a variable sets, with the name and the value of the variable. Empty variables are skipped,
    /// because Compose files pass on variables that are not set.
    fn keys(&self) -> impl Iterator<Item = (KeyPath, &str, &str)> {
        self.variables.iter().filter_map(|(name, value)| {
            let path = key(name)?;
            let value = line(value, reference::is_secret(&path));
            let empty = value.is_empty() || unquoted(value) == Some("");
            Some((path, name.as_str(), value)).filter(|_| !empty)
        })
    }

    /// Overrides keys of the document by the variables. A variable that fits nowhere is a problem.
    pub(super) fn overlay<'a>(&'a self, document: &mut DeTable<'a>, problems: &mut Problems<'_>) {
        let mut keys: Vec<_> = self.keys().collect();
        // In order of their indexes, because each directory extends the list by one.
        keys.sort_by(|(a, ..), (b, ..)| a.0.cmp(&b.0));
        for (path, name) in self.unreadable.iter().filter_map(|name| Some((key(name)?, name))) {
            problems.comes_from(path.clone(), Origin::Variable(name.clone()));
            problems.error(&path, "is not UTF-8 text; encode it as UTF-8");
        }
        for (path, name, value) in &keys {
            problems.comes_from(path.clone(), Origin::Variable((*name).to_owned()));
            let value = match unquoted(value).filter(|_| !reference::is_secret(path)) {
                Some(inner) if reference::takes_text(path) => {
                    problems.warning(
                        path,
                        "has quotation marks around it, which are ignored; remove them",
                    );
                    inner
                }
                // A number or a list within quotation marks: the quotation marks came from the shell or a Compose file.
                Some(inner) if DeValue::parse(inner).is_ok() => inner,
                _ => value,
            };
            let other = other_form(path).filter(|other| !keys.iter().any(|(path, ..)| path == other));
            if let Err(problem) = put(document, &path.0, parse(path, value), other.as_ref()) {
                problems.error(path, problem);
            }
        }
    }

    /// The variables of vaultwarden_ldap: key, name and value of each. Empty variables are skipped, because Compose
    /// files pass on variables that are not set.
    pub(super) fn legacy(&self) -> impl Iterator<Item = (String, &str, &str)> {
        self.variables.iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(LEGACY_PREFIX)?.to_lowercase();
            let value = line(value, true);
            Some((key, name.as_str(), value)).filter(|_| !value.is_empty())
        })
    }

    /// The name of the variable that sets this key of vaultwarden_ldap.
    pub(super) fn legacy_name(key: &str) -> String {
        format!("{LEGACY_PREFIX}{}", key.to_uppercase())
    }
}

/// The key that a variable of this name sets.
fn key(name: &str) -> Option<KeyPath> {
    let steps = name.strip_prefix(NATIVE_PREFIX)?.split(SEPARATOR).map(step);
    Some(KeyPath(steps.collect()))
}

/// Removes what files and pipes add to a value: a byte order mark and line ends. A secret loses only one line end, as
/// it does when it is read from a file.
fn line(value: &str, secret: bool) -> &str {
    let value = value.strip_prefix('\u{feff}').unwrap_or(value);
    if secret {
        one_line(value)
    } else {
        value.trim_end_matches(['\r', '\n'])
    }
}

/// The text between two quotation marks of the same kind.
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

/// `key_file` for `key`, and `key` for `key_file`: a variable that sets one of them overrides both.
fn other_form(path: &KeyPath) -> Option<KeyPath> {
    let (Step::Key(key), table) = path.0.split_last()? else {
        return None;
    };
    let other = match key.strip_suffix("_file") {
        Some(key) => key.to_owned(),
        None => format!("{key}_file"),
    };
    Some(KeyPath(table.to_vec()).key(&other))
}

/// Takes the value of a text key as it is. Other values are parsed as TOML, or kept as text if they are not TOML.
fn parse<'a>(path: &KeyPath, value: &'a str) -> DeValue<'a> {
    let text = DeValue::String(Cow::Borrowed(value));
    if reference::takes_text(path) {
        return text;
    }
    DeValue::parse(value).map_or(text, Spanned::into_inner)
}

/// Inserts a value at `path`, and removes `other`, a key of the same table.
fn put<'a>(
    table: &mut DeTable<'a>,
    path: &[Step],
    value: DeValue<'a>,
    other: Option<&KeyPath>,
) -> Result<(), &'static str> {
    const UNFIT: &str =
        "names no key; write it as in LDAP_USHER__VAULTWARDEN__URL or LDAP_USHER__DIRECTORY__0__URL";
    match path {
        [Step::Key(key)] => {
            if let Some(Step::Key(other)) = other.and_then(|other| other.0.last()) {
                table.remove(other.as_str());
            }
            table.insert(without_span(Cow::Owned(key.clone())), without_span(value));
            Ok(())
        }
        [Step::Key(key), Step::Index(index), below @ ..] => {
            let array = table
                .entry(without_span(Cow::Owned(key.clone())))
                .or_insert_with(|| without_span(DeValue::Array(DeArray::new())));
            let DeValue::Array(array) = array.get_mut() else {
                return Err(UNFIT);
            };
            if *index == array.len() {
                array.push(without_span(DeValue::Table(DeTable::new())));
            }
            match array.get_mut(*index).map(Spanned::get_mut) {
                Some(DeValue::Table(inner)) => put(inner, below, value, other),
                Some(_) => Err(UNFIT),
                None => Err("leaves a gap: number the tables from 0, those of the file included"),
            }
        }
        [Step::Key(key), below @ ..] => {
            let inner = table
                .entry(without_span(Cow::Owned(key.clone())))
                .or_insert_with(|| without_span(DeValue::Table(DeTable::new())));
            match inner.get_mut() {
                DeValue::Table(inner) => put(inner, below, value, other),
                _ => Err(UNFIT),
            }
        }
        _ => Err(UNFIT),
    }
}

/// A value without a position in the file.
fn without_span<T>(value: T) -> Spanned<T> {
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
