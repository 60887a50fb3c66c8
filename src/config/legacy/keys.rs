//! Translates the keys of vaultwarden_ldap into the native format.

use std::net::Ipv6Addr;

use toml::{Table, Value};
use url::Url;

use super::super::ConfigError;
use super::super::environment::Environment;
use super::super::problem::{KeyPath, Origin, Problems};
use super::super::reference::nearest;
use super::{KEYS, Legacy, Line, Written, state};

/// The keys of one configuration of vaultwarden_ldap, and the native lines made from them so far.
pub(super) struct Keys<'a> {
    name: &'a str,
    table: Table,
    pub(super) origins: Vec<(String, Origin)>,
    lines: Vec<Line>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(name: &'a str, table: Table) -> Self {
        Self {
            name,
            table,
            origins: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Translates all keys. `check` may record further problems of the original text.
    pub(super) fn translate(
        mut self,
        environment: &Environment,
        check: impl FnOnce(&mut Problems<'_>),
    ) -> Result<Legacy, ConfigError> {
        let mut problems = Problems::new(self.name, None);
        for (key, origin) in self.origins.iter().rev() {
            problems.comes_from(KeyPath::root().key(key), origin.clone());
        }
        check(&mut problems);
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
            let place = state::choose(&state::places(environment));
            self.add_default(
                "",
                "state",
                place.display().to_string(),
                "vaultwarden_ldap has no state file; this path was chosen for it.",
            );
        }
        self.vaultwarden(&mut problems);
        self.directory(&mut problems);
        self.add_default(
            "invite",
            "on_address_change",
            "invite",
            "vaultwarden_ldap invites every address that it does not know.",
        );
        self.add_default("invite", "resend_limit", 0, "vaultwarden_ldap reminds nobody.");
        for limit in ["invites_per_listing", "invites_per_hour", "addresses_per_person"] {
            self.add_default(
                "limits",
                limit,
                "unlimited",
                "vaultwarden_ldap has no such limit.",
            );
        }
        self.add_default("http", "listen", "off", "vaultwarden_ldap opens no port.");
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
        // vaultwarden_ldap ignores `ldap_starttls` on a connection that uses TLS already.
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

    /// The URL of the server: from host, scheme and port, or from a `ldap_host` that is a URL itself, to which only a
    /// missing port is added.
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

    /// Whether the key is set. An empty string counts as not set.
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

    fn number(&self, key: &str, max: u64, problems: &mut Problems<'_>) -> Option<u64> {
        let number = match self.table.get(key)? {
            Value::String(digits) => digits.parse().ok(),
            value => value.as_integer().and_then(|number| number.try_into().ok()),
        };
        let number = number.filter(|number| *number <= max);
        self.typed(key, number, &format!("a whole number up to {max}"), problems)
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

    /// Copies a secret. If both are set, the secret itself is used and its file ignored, as in vaultwarden_ldap.
    fn secret(
        &mut self,
        table: &'static str,
        [key, key_file]: [&'static str; 2],
        [inline, file]: [&'static str; 2],
        problems: &mut Problems<'_>,
    ) {
        const COMMENT: &str = "vaultwarden_ldap ignores all white space around the secret; ldap-usher ignores one newline at its end only.";
        if let Some(secret) = self.text(inline, problems) {
            self.line(table, key, Written::Hidden(secret.into()), Some(inline), "");
        } else if let Some(path) = self.text(file, problems) {
            self.line(table, key_file, Written::Plain(path.into()), Some(file), COMMENT);
        }
    }

    fn put(&mut self, table: &'static str, key: &'static str, value: impl Into<Value>, from: &'static str) {
        self.line(table, key, Written::Plain(value.into()), Some(from), "");
    }

    /// Adds a line for what vaultwarden_ldap does without any key.
    fn add_default(
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
