//! Collects all problems of a configuration and reports them together, with file, line and key, as a compiler does.

use std::fmt;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The remedy for a backslash that TOML reads as an escape.
pub(super) const ESCAPE_REMEDY: &str =
    "in double quotes a backslash begins an escape; write the text in single quotes, as in 'EXAMPLE\\reader'";

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The user named no file, and none exists at the default paths.
    #[error(
        "there is no configuration: neither ./config.toml nor /etc/ldap-usher/config.toml exists; name one with --config PATH or $CONFIG_PATH"
    )]
    NotFound,
    /// The file cannot be read.
    #[error("the configuration {} cannot be read: {cause}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The configuration has errors; one line per problem.
    #[error("the configuration cannot be used\n{}", problems.join("\n"))]
    Invalid {
        /// Each problem as `file:line: key: what is wrong; what to do`, or `VARIABLE: what is wrong; what to do`.
        problems: Vec<String>,
    },
}

/// The path of a key in the document: `directory[0].stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyPath(pub(super) Vec<Step>);

/// One step of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A key of a table.
    Key(String),
    /// An element of an array.
    Index(usize),
}

impl KeyPath {
    /// The whole document.
    pub(super) fn root() -> Self {
        Self(Vec::new())
    }

    /// The path of a key of the table at this path.
    pub(super) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// The path of an element of the array at this path.
    pub(super) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Whether one of the two paths is a prefix of the other.
    fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a == b)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if i == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl From<&serde_path_to_error::Path> for KeyPath {
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment;
        let steps = path.iter().map_while(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        Self(steps.collect())
    }
}

impl From<&serde_ignored::Path<'_>> for KeyPath {
    fn from(path: &serde_ignored::Path<'_>) -> Self {
        use serde_ignored::Path;
        match path {
            Path::Root => Self::root(),
            Path::Seq { parent, index } => Self::from(*parent).index(*index),
            Path::Map { parent, key } => Self::from(*parent).key(key),
            Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
                Self::from(*parent)
            }
        }
    }
}

/// The source of a value that is not in the file under its own key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Another key of the file.
    Key {
        /// The line, from 1.
        line: usize,
        /// The key in the file.
        key: String,
    },
    /// The environment variable of this name.
    Variable(String),
}

/// Collects the errors and the warnings of one configuration.
pub(super) struct Problems<'a> {
    file: &'a str,
    written: Option<(&'a str, &'a DeTable<'a>)>,
    origins: Vec<(KeyPath, Origin)>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

struct Problem {
    line: Option<usize>,
    path: KeyPath,
    /// `file:line: key: what is wrong; what to do`.
    text: String,
}

impl<'a> Problems<'a> {
    /// Starts without problems. `written` is the text of `file` and the document parsed from it, if the keys of the
    /// native format are in it.
    pub(super) fn new(file: &'a str, written: Option<(&'a str, &'a DeTable<'a>)>) -> Self {
        Self {
            file,
            written,
            origins: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Makes problems at and below `path` name `origin` from now on.
    pub(super) fn comes_from(&mut self, path: KeyPath, origin: Origin) {
        self.origins.push((path, origin));
    }

    /// The origin of the value at `path`, if one was set; the last one set counts.
    fn origin(&self, path: &KeyPath) -> Option<&Origin> {
        let around = |(place, _): &&(KeyPath, Origin)| path.0.starts_with(&place.0);
        let found = self.origins.iter().rev().find(around);
        found.map(|(_, origin)| origin)
    }

    /// Whether an environment variable sets the value at `path`.
    pub(super) fn is_variable(&self, path: &KeyPath) -> bool {
        matches!(self.origin(path), Some(Origin::Variable(_)))
    }

    /// Records an error, unless there is one at, above or below `path` already: a key of a wrong type is not also
    /// reported as missing.
    pub(super) fn error(&mut self, path: &KeyPath, message: impl Into<String>) {
        if !self.errors.iter().any(|earlier| earlier.path.overlaps(path)) {
            let problem = self.problem(path, &message.into());
            self.errors.push(problem);
        }
    }

    /// Records a warning.
    pub(super) fn warning(&mut self, path: &KeyPath, message: impl Into<String>) {
        let problem = self.problem(path, &message.into());
        self.warnings.push(problem);
    }

    fn problem(&self, path: &KeyPath, message: &str) -> Problem {
        let (line, text) = match self.origin(path) {
            Some(Origin::Variable(name)) => (None, format!("{name}: {message}")),
            Some(Origin::Key { line, key }) => {
                (Some(*line), format!("{}:{line}: {key}: {message}", self.file))
            }
            None => {
                let line = self
                    .written
                    .and_then(|(text, document)| Some(line_of(text, offset_of(document, path)?)));
                let file = line.map_or_else(|| self.file.to_owned(), |line| format!("{}:{line}", self.file));
                match path.0.as_slice() {
                    [] => (line, format!("{file}: {message}")),
                    _ => (line, format!("{file}: {path}: {message}")),
                }
            }
        };
        let path = path.clone();
        Problem { line, path, text }
    }

    /// Returns `checked` and the warnings if there are no errors.
    ///
    /// # Errors
    /// All errors in order of their lines, without the warnings.
    pub(super) fn judge<T>(mut self, checked: Option<T>) -> Result<(T, Vec<String>), ConfigError> {
        self.errors.sort_by_key(|problem| problem.line);
        self.warnings.sort_by_key(|problem| problem.line);
        let texts = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.text).collect();
        match checked {
            Some(checked) if self.errors.is_empty() => Ok((checked, texts(self.warnings))),
            _ => Err(ConfigError::Invalid {
                problems: texts(self.errors),
            }),
        }
    }
}

/// The errors of the TOML parser as a [`ConfigError::Invalid`]. Only the message of each: the parser's full report
/// quotes the line, which may hold a secret.
pub(super) fn syntax_errors(file: &str, text: &str, errors: &[toml::de::Error]) -> ConfigError {
    let mut problems: Vec<_> = errors
        .iter()
        .map(|error| {
            let start = error.span().unwrap_or_default().start;
            let message = if begins_escape(text, start) {
                ESCAPE_REMEDY.to_owned()
            } else {
                error.message().replace('\n', ", ")
            };
            (line_of(text, start), message)
        })
        .collect();
    problems.sort();
    let problems = problems
        .into_iter()
        .map(|(line, message)| format!("{file}:{line}: {message}"));
    ConfigError::Invalid {
        problems: problems.collect(),
    }
}

/// Whether the character at or before `offset` is a backslash.
fn begins_escape(text: &str, offset: usize) -> bool {
    let byte = |offset: usize| text.as_bytes().get(offset);
    byte(offset) == Some(&b'\\') || offset.checked_sub(1).and_then(byte) == Some(&b'\\')
}

/// The offset of a key in the text, or of the innermost table around it that is in the text.
fn offset_of(document: &DeTable<'_>, path: &KeyPath) -> Option<usize> {
    let mut found = None;
    let mut table = Some(document);
    let mut array = None;
    for step in &path.0 {
        let value: &Spanned<DeValue<'_>> = match step {
            Step::Key(key) => {
                let Some((key, value)) = table.and_then(|table| table.get_key_value(key.as_str())) else {
                    break;
                };
                found = Some(key.span().start);
                value
            }
            Step::Index(index) => {
                let Some(value) = array.and_then(|array: &toml::de::DeArray<'_>| array.get(*index)) else {
                    break;
                };
                found = Some(value.span().start);
                value
            }
        };
        table = value.get_ref().as_table();
        array = value.get_ref().as_array();
    }
    found
}

/// The line number of an offset, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}
