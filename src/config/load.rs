//! From a path to a checked configuration.

use std::fs;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{KeyPath, Problems, Step, syntax_errors};
use super::schema::File;
use super::secret::readable_by_everyone;
use super::{Config, ConfigError, Loaded, check, reference};

/// Where a configuration is looked for when none is named.
const PLACES: [&str; 2] = ["config.toml", "/etc/ldap-usher/config.toml"];

/// Loads the configuration at `path`, or else `./config.toml`, or else `/etc/ldap-usher/config.toml`, and the files
/// of secrets that it names.
///
/// # Errors
/// All problems together, each with its line, its key and a remedy.
pub fn load(path: Option<&Path>) -> Result<Loaded, ConfigError> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => PLACES
            .iter()
            .map(PathBuf::from)
            .find(|place| place.exists())
            .ok_or(ConfigError::NotFound)?,
    };
    match fs::read_to_string(&path) {
        Ok(text) => parse(&path, &text),
        Err(cause) => Err(ConfigError::Unreadable { path, cause }),
    }
}

/// Checks `text`, which was read from `path`.
///
/// # Errors
/// As [`load`].
pub(super) fn parse(path: &Path, text: &str) -> Result<Loaded, ConfigError> {
    let name = path.display().to_string();
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax_errors(&name, text, &errors));
    }
    let mut problems = Problems::new(&name, text, &document);
    let mut file = deserialize(&document, &mut problems);
    let config = check::check(&mut file, readable_by_everyone(path), &mut problems);
    let (config, warnings) = problems.judge(config)?;
    Ok(Loaded {
        config: Config { warnings, ..config },
        effective: file,
    })
}

/// Reads the document into the schema. A key whose value has the wrong type is reported and left out, and the rest
/// is read again, until it fits: what remains shows the other problems.
fn deserialize(document: &Spanned<DeTable<'_>>, problems: &mut Problems<'_>) -> File {
    let mut rest = document.clone();
    loop {
        let mut unknown = Vec::new();
        let mut track = serde_path_to_error::Track::new();
        let tracked =
            serde_path_to_error::Deserializer::new(toml::Deserializer::from(rest.clone()), &mut track);
        let result = serde_ignored::deserialize(tracked, |path| unknown.push(KeyPath::from(&path)));
        match result {
            Ok(file) => {
                for path in unknown {
                    problems.error(&path, format!("unknown key{}", reference::remedy(&path)));
                }
                return file;
            }
            Err(error) => {
                let path = KeyPath::from(&track.path());
                problems.error(&path, error.message());
                if !remove(rest.get_mut(), &path.0) {
                    return File::default();
                }
            }
        }
    }
}

/// Removes the innermost key on the way to `path`; whether there was one.
fn remove(table: &mut DeTable<'_>, path: &[Step]) -> bool {
    let Some((Step::Key(key), below)) = path.split_first() else {
        return false;
    };
    let removed_below = match (table.get_mut(key.as_str()).map(Spanned::get_mut), below) {
        (Some(DeValue::Table(inner)), below) => remove(inner, below),
        (Some(DeValue::Array(array)), [Step::Index(index), below @ ..]) => {
            match array.get_mut(*index).map(Spanned::get_mut) {
                Some(DeValue::Table(inner)) => remove(inner, below),
                _ => false,
            }
        }
        _ => false,
    };
    removed_below || table.remove(key.as_str()).is_some()
}
