//! The configuration of [vaultwarden_ldap] 2.2, understood as that program understands it: put into the native form
//! and loaded as such, with problems reported where they were written.
//!
//! What that program does without being told is said in the native form as well: it holds nothing back, it invites
//! every address that it does not know, and it opens no port.
//!
//! [vaultwarden_ldap]: https://github.com/ViViDboarder/vaultwarden_ldap

use std::fmt::Write;
use std::fs::{self, DirBuilder, File};
use std::net::Ipv6Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use toml::de::DeTable;
use toml::{Table, Value};
use url::Url;

use super::ConfigError;
use super::environment::Environment;
use super::problem::{KeyPath, Origin, Problems, line_of};
use super::reference::nearest;

/// Every key that there is.
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

/// A configuration in the native form.
#[derive(Debug, Clone)]
pub(super) struct Legacy {
    /// The file that it was made from, or what stands for one.
    name: String,
    lines: Vec<Line>,
    /// `ldap_sync_loop = false`: one pass, not a service.
    pub(super) once: bool,
}

/// One key in the native form.
#[derive(Debug, Clone)]
struct Line {
    table: &'static str,
    key: &'static str,
    value: Written,
    /// The key that it was made from; what was not written has none.
    from: Option<Origin>,
    comment: &'static str,
}

#[derive(Debug, Clone)]
enum Written {
    Plain(Value),
    Hidden(SecretString),
}

/// Whether this is a file of vaultwarden_ldap: it has such keys and no table of the native form.
pub(super) fn recognises(document: &DeTable<'_>) -> bool {
    let has = |key: &str| document.contains_key(key);
    KEYS.into_iter().any(has) && !["vaultwarden", "directory"].into_iter().any(has)
}

/// Whether the environment holds a configuration of vaultwarden_ldap.
pub(super) fn is_in(environment: &Environment) -> bool {
    environment.legacy().any(|(key, ..)| KEYS.contains(&key.as_str()))
}

impl Legacy {
    /// What the file `name` says.
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
        keys.translate(environment)
    }

    /// What the `APP_*` variables say. Others that merely begin so are nobody's concern.
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
        keys.translate(environment)
    }

    /// The native form with everything in it, to be loaded.
    pub(super) fn text(&self) -> String {
        self.render(|text, line| {
            let value = match &line.value {
                Written::Plain(value) => value.clone(),
                Written::Hidden(secret) => Value::from(secret.expose_secret()),
            };
            let _ = writeln!(text, "{} = {value}", line.key);
        })
    }

    /// The native form for a person: with comments, and without secrets.
    pub(super) fn migrated(&self) -> String {
        let mut text = format!("# What {} says to vaultwarden_ldap, for ldap-usher.\n", self.name);
        if self.once {
            text.push_str("# As `ldap_sync_loop = false` has no native key: run `ldap-usher sync` in place of `ldap-usher run`.\n");
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
                    "# The secret is not repeated here: write what {} has into a file, and name it.\n#{}_file = \"/run/secrets/{}\"",
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

    /// Where what stands in [`Legacy::text`] was written.
    pub(super) fn origins(&self) -> impl Iterator<Item = (KeyPath, Origin)> {
        self.lines.iter().filter_map(|line| {
            let table = match line.table {
                "directory" => KeyPath::root().key("directory").index(0),
                table => KeyPath::root().key(table),
            };
            Some((table.key(line.key), line.from.clone()?))
        })
    }

    /// Says once that this is another program's format.
    pub(super) fn note(&self) -> String {
        format!(
            "{}: is in the format of vaultwarden_ldap, and is used as it is; `ldap-usher config migrate` prints it in ours",
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

/// What was written, by key.
struct Keys<'a> {
    name: &'a str,
    table: Table,
    origins: Vec<(String, Origin)>,
    lines: Vec<Line>,
}

impl<'a> Keys<'a> {
    fn new(name: &'a str, table: Table) -> Self {
        Self {
            name,
            table,
            origins: Vec::new(),
            lines: Vec::new(),
        }
    }

    fn translate(mut self, environment: &Environment) -> Result<Legacy, ConfigError> {
        let mut problems = Problems::new(self.name, None);
        for (key, origin) in self.origins.iter().rev() {
            problems.comes_from(KeyPath::root().key(key), origin.clone());
        }
        for key in self.table.keys().filter(|key| !KEYS.contains(&key.as_str())) {
            let remedy = nearest(key, KEYS.into_iter())
                .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
            problems.error(&KeyPath::root().key(key), format!("unknown key{remedy}"));
        }
        for key in [
            "vaultwarden_url",
            "ldap_host",
            "ldap_search_base_dn",
            "ldap_search_filter",
        ] {
            self.require(&[key], &mut problems);
        }
        self.require(
            &["vaultwarden_admin_token", "vaultwarden_admin_token_file"],
            &mut problems,
        );
        let once = self.flag("ldap_sync_loop", &mut problems) == Some(false);

        if environment.get("LDAP_USHER__STATE").is_none() {
            let state = state_place(&state_places(environment));
            self.say(
                "",
                "state",
                state.display().to_string(),
                "The place that was chosen for it.",
            );
        }
        self.vaultwarden(&mut problems);
        self.directory(&mut problems);
        self.say(
            "invite",
            "on_address_change",
            "invite",
            "vaultwarden_ldap invites every address that it does not know.",
        );
        self.say(
            "limits",
            "invites_per_listing",
            "unlimited",
            "vaultwarden_ldap holds nobody back.",
        );
        self.say("http", "listen", "off", "vaultwarden_ldap opens no port.");
        let (legacy, _) = problems.judge(Some(Legacy {
            name: self.name.to_owned(),
            lines: self.lines,
            once,
        }))?;
        Ok(legacy)
    }

    fn vaultwarden(&mut self, problems: &mut Problems<'_>) {
        self.copy("vaultwarden", "url", "vaultwarden_url", problems);
        self.secret(
            "vaultwarden",
            ["admin_token", "admin_token_file"],
            ["vaultwarden_admin_token", "vaultwarden_admin_token_file"],
            problems,
        );
        self.copy("vaultwarden", "ca_file", "vaultwarden_root_cert_file", problems);
    }

    fn directory(&mut self, problems: &mut Problems<'_>) {
        const TABLE: &str = "directory";
        let url = self.url(problems);
        // That program does not ask for StartTLS where there is TLS already.
        let starttls = self.flag("ldap_starttls", problems) == Some(true) && url.starts_with("ldap:");
        self.put(TABLE, "url", url, "ldap_host");
        if starttls {
            self.put(TABLE, "starttls", true, "ldap_starttls");
        }
        if self.flag("ldap_no_tls_verify", problems) == Some(true) {
            self.put(TABLE, "tls_verify", false, "ldap_no_tls_verify");
        }
        self.copy(TABLE, "bind_dn", "ldap_bind_dn", problems);
        self.secret(
            TABLE,
            ["bind_password", "bind_password_file"],
            ["ldap_bind_password", "ldap_bind_password_file"],
            problems,
        );
        self.copy(TABLE, "base_dn", "ldap_search_base_dn", problems);
        self.copy(TABLE, "filter", "ldap_search_filter", problems);
        self.copy(TABLE, "mail_attributes", "ldap_mail_field", problems);
        if let Some(seconds) = self.number("ldap_sync_interval_seconds", u64::MAX, problems) {
            self.put(
                TABLE,
                "poll_interval",
                format!("{}s", seconds.max(1)),
                "ldap_sync_interval_seconds",
            );
        }
    }

    /// A host and what belongs to it, or a URL, which says it all but for a port that it does not name.
    fn url(&self, problems: &mut Problems<'_>) -> String {
        let ssl = self.flag("ldap_ssl", problems) == Some(true);
        let port = self.number("ldap_port", u16::MAX.into(), problems);
        let scheme = self.text("ldap_scheme", problems);
        let host = self.text("ldap_host", problems).unwrap_or_default();
        if host.contains("://") {
            let url = host.trim_end_matches('/').to_owned();
            let says_port = Url::parse(&url).is_ok_and(|url| url.port().is_some());
            return match port {
                Some(port) if !says_port => format!("{url}:{port}"),
                _ => url,
            };
        }
        let scheme = scheme.as_deref().unwrap_or(if ssl { "ldaps" } else { "ldap" });
        let port = port.unwrap_or(if ssl { 636 } else { 389 });
        match host.parse::<Ipv6Addr>() {
            Ok(address) => format!("{scheme}://[{address}]:{port}"),
            Err(_) => format!("{scheme}://{host}:{port}"),
        }
    }

    fn require(&self, any_of: &[&str], problems: &mut Problems<'_>) {
        if !any_of.iter().any(|key| self.is_written(key)) {
            problems.error(&KeyPath::root().key(any_of[0]), "is missing");
        }
    }

    /// Whether there is a value. An empty text is none.
    fn is_written(&self, key: &str) -> bool {
        self.table
            .get(key)
            .is_some_and(|value| value.as_str() != Some(""))
    }

    fn text(&self, key: &str, problems: &mut Problems<'_>) -> Option<String> {
        let value = self.table.get(key).filter(|_| self.is_written(key))?;
        let text = value.as_str().map(str::to_owned);
        self.typed(key, text, "a string in quotes", problems)
    }

    fn flag(&self, key: &str, problems: &mut Problems<'_>) -> Option<bool> {
        let flag = match self.table.get(key)? {
            Value::String(word) => word.parse().ok(),
            value => value.as_bool(),
        };
        self.typed(key, flag, "true or false", problems)
    }

    fn number(&self, key: &str, most: u64, problems: &mut Problems<'_>) -> Option<u64> {
        let number = match self.table.get(key)? {
            Value::String(digits) => digits.parse().ok(),
            value => value.as_integer().and_then(|number| number.try_into().ok()),
        };
        let number = number.filter(|number| *number <= most);
        self.typed(key, number, &format!("a whole number up to {most}"), problems)
    }

    fn typed<T>(&self, key: &str, value: Option<T>, what: &str, problems: &mut Problems<'_>) -> Option<T> {
        if value.is_none() {
            problems.error(&KeyPath::root().key(key), format!("expected {what}"));
        }
        value
    }

    fn copy(
        &mut self,
        table: &'static str,
        key: &'static str,
        from: &'static str,
        problems: &mut Problems<'_>,
    ) {
        if let Some(value) = self.text(from, problems) {
            self.put(table, key, value, from);
        }
    }

    /// The secret itself counts before a file that holds it.
    fn secret(
        &mut self,
        table: &'static str,
        [key, key_file]: [&'static str; 2],
        [inline, file]: [&'static str; 2],
        problems: &mut Problems<'_>,
    ) {
        const COMMENT: &str =
            "Unlike with vaultwarden_ldap, white space around it counts, but for one newline at its end.";
        if let Some(secret) = self.text(inline, problems) {
            self.line(table, key, Written::Hidden(secret.into()), Some(inline), "");
        } else if let Some(path) = self.text(file, problems) {
            self.line(table, key_file, Written::Plain(path.into()), Some(file), COMMENT);
        }
    }

    fn put(&mut self, table: &'static str, key: &'static str, value: impl Into<Value>, from: &'static str) {
        self.line(table, key, Written::Plain(value.into()), Some(from), "");
    }

    fn say(
        &mut self,
        table: &'static str,
        key: &'static str,
        value: impl Into<Value>,
        comment: &'static str,
    ) {
        self.line(table, key, Written::Plain(value.into()), None, comment);
    }

    fn line(
        &mut self,
        table: &'static str,
        key: &'static str,
        value: Written,
        from: Option<&'static str>,
        comment: &'static str,
    ) {
        let origin = |from: &'static str| {
            let (_, origin) = self.origins.iter().find(|(key, _)| key == from)?;
            Some(origin.clone())
        };
        let from = from.and_then(origin);
        self.lines.push(Line {
            table,
            key,
            value,
            from,
            comment,
        });
    }
}

/// Where the state may be: the folder that systemd made for it, that of the system, that of the user.
fn state_places(environment: &Environment) -> Vec<PathBuf> {
    let user = environment
        .folder("XDG_STATE_HOME")
        .or_else(|| Some(environment.folder("HOME")?.join(".local/state")));
    [
        environment.folder("STATE_DIRECTORY"),
        Some("/var/lib/ldap-usher".into()),
        user.map(|folder| folder.join("ldap-usher")),
    ]
    .into_iter()
    .flatten()
    .map(|folder| folder.join("state.db"))
    .collect()
}

/// The first place that has a state, else the first that can have one; its folder is made. Where there is none, the
/// first: what is wrong with it shows when it is opened.
fn state_place(places: &[PathBuf]) -> PathBuf {
    let exists = places.iter().find(|place| place.exists());
    let chosen = exists.or_else(|| places.iter().find(|place| can_be_made(place)));
    chosen.or_else(|| places.first()).cloned().unwrap_or_default()
}

fn can_be_made(file: &Path) -> bool {
    let probe = file.with_extension("probe");
    let folder = file.parent().unwrap_or(Path::new(""));
    let folder = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    folder.is_ok() && File::create(&probe).is_ok() && fs::remove_file(&probe).is_ok()
}
