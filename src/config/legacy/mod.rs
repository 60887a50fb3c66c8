//! The configuration of [vaultwarden_ldap] 2.2. It keeps the meaning that it has for that program: it is translated into
//! the native format and loaded as such. Problems name the original key and line.
//!
//! The translation also sets what that program does by default: no limits, every unknown address is invited, and no
//! port is opened.
//!
//! [vaultwarden_ldap]: https://github.com/ViViDboarder/vaultwarden_ldap

mod keys;
mod state;

use std::fmt::Write;

use secrecy::{ExposeSecret, SecretString};
use toml::de::DeTable;
use toml::{Table, Value};

use super::ConfigError;
use super::environment::Environment;
use super::escapes;
use keys::Keys;

use super::problem::{KeyPath, Origin, line_of};

/// All keys of vaultwarden_ldap.
const KEYS: [&str; 18] = [
    "vaultwarden_url",
    "vaultwarden_admin_token",
    "vaultwarden_admin_token_file",
    "vaultwarden_root_cert_file",
    "ldap_host",
    "ldap_scheme",
    "ldap_ssl",
    "ldap_starttls",
    "ldap_port",
    "ldap_no_tls_verify",
    "ldap_bind_dn",
    "ldap_bind_password",
    "ldap_bind_password_file",
    "ldap_search_base_dn",
    "ldap_search_filter",
    "ldap_mail_field",
    "ldap_sync_interval_seconds",
    "ldap_sync_loop",
];

/// A translated configuration.
#[derive(Debug, Clone)]
pub(super) struct Legacy {
    /// The original file, or "the environment".
    name: String,
    lines: Vec<Line>,
    /// `ldap_sync_loop = false`: one pass instead of a service.
    pub(super) once: bool,
}

/// One key in the native format.
#[derive(Debug, Clone)]
struct Line {
    table: &'static str,
    key: &'static str,
    value: Written,
    /// The original key; `None` for a default of vaultwarden_ldap.
    from: Option<Origin>,
    comment: &'static str,
}

#[derive(Debug, Clone)]
enum Written {
    Plain(Value),
    Hidden(SecretString),
}

/// Whether this is a file of vaultwarden_ldap: it has such keys and no table of the native format.
pub(super) fn recognises(document: &DeTable<'_>) -> bool {
    let has = |key: &str| document.contains_key(key);
    KEYS.into_iter().any(has) && !["vaultwarden", "directory"].into_iter().any(has)
}

/// Whether the environment holds a configuration of vaultwarden_ldap.
pub(super) fn is_in(environment: &Environment) -> bool {
    environment.legacy().any(|(key, ..)| KEYS.contains(&key.as_str()))
}

impl Legacy {
    /// Translates the file `name`.
    ///
    /// # Errors
    /// All its problems.
    pub(super) fn of_file(
        name: &str,
        text: &str,
        document: &DeTable<'_>,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let table: Table = text.parse().unwrap_or_default();
        let mut keys = Keys::new(name, table);
        for key in document.keys() {
            let line = line_of(text, key.span().start);
            let key = key.get_ref().to_string();
            keys.origins.push((key.clone(), Origin::Key { line, key }));
        }
        keys.translate(environment, |problems| {
            let is_secret = |path: &KeyPath| KEYS.contains(&format!("{path}_file").as_str());
            escapes::check(text, document, &is_secret, problems);
        })
    }

    /// Translates the `APP_*` variables. Variables of other programs that share the prefix are ignored.
    ///
    /// # Errors
    /// All their problems.
    pub(super) fn of_variables(name: &str, environment: &Environment) -> Result<Self, ConfigError> {
        let ours = |key: &str| key.starts_with("vaultwarden_") || key.starts_with("ldap_");
        let table = environment
            .legacy()
            .filter(|(key, ..)| ours(key))
            .map(|(key, _, value)| (key, Value::from(value)))
            .collect();
        let mut keys = Keys::new(name, table);
        let missing = KEYS.map(|key| (key.to_owned(), Origin::Variable(Environment::legacy_name(key))));
        let present = environment
            .legacy()
            .map(|(key, name, _)| (key, Origin::Variable(name.to_owned())));
        keys.origins.extend(present.chain(missing));
        keys.translate(environment, |_| {})
    }

    /// The native format, with secrets, to be loaded.
    pub(super) fn text(&self) -> String {
        self.render(|text, line| {
            let value = match &line.value {
                Written::Plain(value) => value.clone(),
                Written::Hidden(secret) => Value::from(secret.expose_secret()),
            };
            let _ = writeln!(text, "{} = {value}", line.key);
        })
    }

    /// The native format for people: with comments and without secrets.
    pub(super) fn migrated(&self) -> String {
        let mut text = format!(
            "# Translated from the vaultwarden_ldap configuration in {}.\n",
            self.name
        );
        if self.once {
            text.push_str("# `ldap_sync_loop = false` has no native key: run `ldap-usher sync` instead of `ldap-usher run`.\n");
        }
        text.push('\n');
        text + &self.render(|text, line| {
            if !line.comment.is_empty() {
                let _ = writeln!(text, "# {}", line.comment);
            }
            let _ = match (&line.value, &line.from) {
                (Written::Plain(value), _) => writeln!(text, "{} = {value}", line.key),
                (Written::Hidden(_), from) => writeln!(
                    text,
                    "# The secret is not repeated here: write the value of {} into a file, and name it here.\n#{}_file = \"/run/secrets/{}\"",
                    from.as_ref().map_or_else(|| self.name.clone(), |origin| shown(&self.name, origin)),
                    line.key,
                    line.key
                ),
            };
        })
    }

    fn render(&self, mut write: impl FnMut(&mut String, &Line)) -> String {
        let (mut text, mut table) = (String::new(), "");
        for line in &self.lines {
            if line.table != table {
                table = line.table;
                let _ = match table {
                    "directory" => writeln!(text, "\n[[{table}]]"),
                    _ => writeln!(text, "\n[{table}]"),
                };
            }
            write(&mut text, line);
        }
        text
    }

    /// The origin of each key of [`Legacy::text`].
    pub(super) fn origins(&self) -> impl Iterator<Item = (KeyPath, Origin)> {
        self.lines.iter().filter_map(|line| {
            let table = match line.table {
                "directory" => KeyPath::root().key("directory").index(0),
                table => KeyPath::root().key(table),
            };
            Some((table.key(line.key), line.from.clone()?))
        })
    }

    /// A warning that this is another program's format.
    pub(super) fn note(&self) -> String {
        format!(
            "{}: is in the format of vaultwarden_ldap, which works; `ldap-usher config migrate` prints it in the native format",
            self.name
        )
    }
}

fn shown(name: &str, origin: &Origin) -> String {
    match origin {
        Origin::Key { line, key } => format!("{key} ({name}:{line})"),
        Origin::Variable(variable) => variable.clone(),
    }
}
