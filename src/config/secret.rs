//! Secrets, from the configuration itself or from a file that it names.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::problem::{KeyPath, Problems};
use crate::text;

/// A secret and its source. Serialising shows the source only.
#[derive(Debug, Clone)]
pub(super) struct Secret {
    value: SecretString,
    file: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's own error would quote a value of another type, such as a password of digits only.
        match String::deserialize(deserializer) {
            Ok(value) => Ok(Self {
                value: value.into(),
                file: None,
            }),
            Err(_) => Err(de::Error::custom("expected a string in quotes")),
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.file {
            Some(file) => serializer.collect_str(&format_args!("(set, from file {})", file.display())),
            None => serializer.serialize_str("(set)"),
        }
    }
}

/// How secrets are read.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// Whether all white space around the content of a file is removed, as vaultwarden_ldap does, instead of only one
    /// newline at its end.
    pub(super) trimmed: bool,
    /// The folder in which systemd keeps the credentials of this service.
    pub(super) credentials: Option<PathBuf>,
    /// Whether all users of this machine can read the configuration file.
    pub(super) public: bool,
}

/// A secret, and the key that says what it is or where.
pub(super) struct Resolved {
    pub(super) value: SecretString,
    pub(super) at: KeyPath,
}

impl Secrets {
    /// The file of the first of these credentials that exists (systemd.exec(5), `LoadCredential=`).
    pub(super) fn credential(&self, names: &[&str]) -> Option<PathBuf> {
        let folder = self.credentials.as_ref()?;
        // The name of a directory may hold a slash, that of a credential may not.
        let names = names.iter().filter(|name| !name.contains('/'));
        names.map(|name| folder.join(name)).find(|file| file.is_file())
    }

    /// Reads the secret from `key` itself, from the file that `key_file` names, or, if neither is set, from the first of these
    /// systemd credentials that exists, and stores it under `key`.
    ///
    /// `None` if there is none, or if there is a problem, which is recorded.
    pub(super) fn resolve(
        &self,
        table: &KeyPath,
        key: &str,
        (inline, file): (&mut Option<Secret>, &mut Option<PathBuf>),
        credentials: &[&str],
        problems: &mut Problems<'_>,
    ) -> Option<Resolved> {
        if inline.is_none() && file.is_none() {
            *file = self.credential(credentials);
        }
        self.warn_if_public(inline.is_some(), &table.key(key), problems);
        let file_key = format!("{key}_file");
        let at = table.key(if file.is_some() { &file_key } else { key });
        if let Some(path) = file.take() {
            if inline.is_some() {
                problems.error(&at, format!("there is a `{key}` as well; keep one of the two"));
                return None;
            }
            let value = self.read(&path, &at, problems)?;
            *inline = Some(Secret {
                value,
                file: Some(path),
            });
        }
        let value = &inline.as_ref()?.value;
        if value.expose_secret().is_empty() {
            problems.error(&at, "the secret is empty");
            return None;
        }
        // Several headers are several lines.
        if key != "headers"
            && let Some(oddity) = oddity(value.expose_secret())
        {
            problems.warning(&at, oddity);
        }
        let value = value.clone();
        Some(Resolved { value, at })
    }

    /// Warns about a secret that `is_written` into a configuration file that all users of this machine can read.
    pub(super) fn warn_if_public(&self, is_written: bool, at: &KeyPath, problems: &mut Problems<'_>) {
        if is_written && self.public && !problems.is_variable(at) {
            problems.warning(
                at,
                "everyone on this machine can read this file; chmod o-r it, or put the secret into a file of its own",
            );
        }
    }

    /// The content of a file without one newline at its end, which editors add.
    pub(super) fn read(
        &self,
        path: &Path,
        at: &KeyPath,
        problems: &mut Problems<'_>,
    ) -> Option<SecretString> {
        let text = match text::read(path) {
            Ok(text) => text,
            Err(cause) => {
                let problem = match cause.kind() {
                    io::ErrorKind::InvalidData => format!("{} {cause}", path.display()),
                    _ => format!(
                        "{} cannot be read: {cause}; check the path and its permissions",
                        path.display()
                    ),
                };
                problems.error(at, problem);
                return None;
            }
        };
        if readable_by_everyone(path) {
            problems.warning(
                at,
                format!(
                    "everyone on this machine can read {}; chmod o-r it",
                    path.display()
                ),
            );
        }
        let secret = if self.trimmed {
            text.trim()
        } else {
            one_line(&text)
        };
        if secret.is_empty() {
            problems.error(
                at,
                format!("{} is empty; write the secret into it", path.display()),
            );
            return None;
        }
        Some(secret.into())
    }
}

/// Removes one line end (LF or CR LF), which editors and pipes add.
pub(super) fn one_line(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// A warning about what is probably a mistake in a secret. The secret is still used as it is.
fn oddity(secret: &str) -> Option<&'static str> {
    let quoted = |mark| secret.len() > 1 && secret.starts_with(mark) && secret.ends_with(mark);
    if quoted('"') || quoted('\'') {
        Some(
            "has quotation marks around it, which are taken as part of the secret; remove them unless they are",
        )
    } else if secret.trim() != secret {
        Some("begins or ends with white space, which is taken as part of the secret; remove it unless it is")
    } else if secret.contains(['\r', '\n']) {
        Some("has several lines, which are taken as one secret; remove what does not belong to it")
    } else {
        None
    }
}

/// Whether the permission bits let all users of the machine read the file.
pub(super) fn readable_by_everyone(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}
