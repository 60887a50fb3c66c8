//! Secrets: written into the configuration or kept in a file of their own.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::problem::{KeyPath, Problems};
use crate::text;

/// A secret and where it came from. It is shown as the latter.
#[derive(Debug, Clone)]
pub(super) struct Secret {
    value: SecretString,
    file: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The deserializer's own error would quote a value of another type, say a password of digits only.
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
    /// Whether all white space around what a file holds is left out, as vaultwarden_ldap does, and not only one
    /// newline at its end.
    pub(super) trimmed: bool,
    /// The folder in which systemd keeps credentials for this service.
    pub(super) credentials: Option<PathBuf>,
}

impl Secrets {
    /// The file of the first of these credentials that there is (systemd.exec(5), `LoadCredential=`).
    pub(super) fn credential(&self, names: &[&str]) -> Option<PathBuf> {
        let folder = self.credentials.as_ref()?;
        // The name of a directory may be anything; that of a credential is the name of a file.
        let names = names.iter().filter(|name| !name.contains('/'));
        names.map(|name| folder.join(name)).find(|file| file.is_file())
    }

    /// Reads the secret that stands under `key` itself or in the file that `key_file` names, and leaves it under
    /// `key`.
    ///
    /// `None` if there is neither, or if there is a problem, which is recorded.
    pub(super) fn resolve(
        &self,
        table: &KeyPath,
        key: &str,
        inline: &mut Option<Secret>,
        file: &mut Option<PathBuf>,
        problems: &mut Problems<'_>,
    ) -> Option<SecretString> {
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
        // Headers are lines.
        if key != "headers"
            && let Some(oddity) = oddity(value.expose_secret())
        {
            problems.warning(&at, oddity);
        }
        Some(value.clone())
    }

    /// The content of a file without one newline at its end. Files are what container platforms and service managers
    /// hand secrets over in, and editors end them with a newline.
    fn read(&self, path: &Path, at: &KeyPath, problems: &mut Problems<'_>) -> Option<SecretString> {
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

/// A text without one end of a line, which is what editors, pipes and the tools of other systems put there.
pub(super) fn one_line(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// What a secret may well have by mistake. It is taken as it is, because it may be meant so.
fn oddity(secret: &str) -> Option<&'static str> {
    let quoted = |mark| secret.len() > 1 && secret.starts_with(mark) && secret.ends_with(mark);
    if quoted('"') || quoted('\'') {
        Some(
            "stands in quotation marks, which are taken as part of the secret; leave them out unless they are",
        )
    } else if secret.trim() != secret {
        Some(
            "begins or ends with white space, which is taken as part of the secret; leave it out unless it is",
        )
    } else if secret.contains(['\r', '\n']) {
        Some("has several lines, which are taken as one secret; leave out what does not belong to it")
    } else {
        None
    }
}

/// Whether the permission bits let every user of the machine read the file.
pub(super) fn readable_by_everyone(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}
