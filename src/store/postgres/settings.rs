//! Where a PostgreSQL database is, and how to connect to it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use tokio_postgres::config::{Host, SslMode};

use crate::tls::TlsOptions;

/// The parameters of a URL that say whether to encrypt, with what they stand for.
const MODES: [(&str, bool); 4] = [
    ("disable", false),
    ("require", true),
    ("verify-ca", true),
    ("verify-full", true),
];

/// A PostgreSQL database that holds a store.
///
/// The connection is encrypted and the server's certificate verified, unless the server is on this machine or the URL says
/// `sslmode=disable`.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    pub(super) config: tokio_postgres::Config,
    /// The URL without its password.
    shown: String,
    /// How the connection is authenticated by TLS.
    pub tls: TlsOptions,
    /// The name of this instance, for `status` and the log.
    pub instance: String,
}

impl Settings {
    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.config.get_ssl_mode() != SslMode::Disable
    }

    /// Whether the URL holds a password.
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// Whether the server is reached through the network without encryption.
    pub fn is_exposed(&self) -> bool {
        !self.is_encrypted() && !is_local(&self.config)
    }
}

impl FromStr for Settings {
    type Err = String;

    /// Parses a `postgres:` or `postgresql:` URL, as libpq does
    /// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>).
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    fn from_str(url: &str) -> Result<Self, String> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        if base.matches('@').count() > 1 || query.contains('@') {
            return Err(
                "has an `@` or a `?` in its user, its password or its parameters; write them as %40 and %3F"
                    .into(),
            );
        }
        let (mut encrypted, mut kept) = (None, Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "sslmode" => {
                    let known = MODES.iter().find(|(mode, _)| *mode == value);
                    encrypted = Some(known.map(|(_, encrypted)| *encrypted).ok_or_else(|| {
                        "has an `sslmode` that does not say whether to encrypt; write \"verify-full\", or \"disable\" for \
                         a network that nobody else uses"
                            .to_owned()
                    })?);
                }
                "sslrootcert" | "sslcert" | "sslkey" => {
                    return Err(format!(
                        "has the parameter `{name}`; write the file into the table [postgres] instead, as `ca_file`, \
                         `client_cert_file` or `client_key_file`"
                    ));
                }
                _ => kept.push(parameter),
            }
        }
        let mut config: tokio_postgres::Config = match kept.is_empty() {
            true => base.parse(),
            false => format!("{base}?{}", kept.join("&")).parse(),
        }
        .map_err(|error: tokio_postgres::Error| {
            // The error may quote a part of the URL that is a secret, but not its source.
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            format!(
                "is not a URL of PostgreSQL{}; write it as in \"postgres://user@host/database\"",
                cause.unwrap_or_default()
            )
        })?;
        if config.get_hosts().is_empty() {
            return Err("names no host; write it as in \"postgres://user@host/database\"".into());
        }
        if config.get_user().is_none() {
            return Err("names no user; write it as in \"postgres://user@host/database\"".into());
        }
        let encrypted = encrypted.unwrap_or_else(|| !is_local(&config));
        config.ssl_mode(if encrypted {
            SslMode::Require
        } else {
            SslMode::Disable
        });
        if config.get_application_name().is_none() {
            config.application_name("ldap-usher");
        }
        Ok(Self {
            shown: shown(base),
            config,
            tls: TlsOptions::default(),
            instance: host_name(),
        })
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Settings").field(&self.shown).finish()
    }
}

/// The name of this machine.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn is_local(config: &tokio_postgres::Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    })
}

/// The URL without its parameters and its password.
fn shown(base: &str) -> String {
    let Some((scheme, rest)) = base.split_once("://") else {
        return String::new();
    };
    match rest.rsplit_once('@') {
        Some((user, place)) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            format!("{scheme}://{user}@{place}")
        }
        None => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Settings {
        url.parse().unwrap()
    }

    #[test]
    fn a_connection_that_leaves_the_machine_is_encrypted_unless_the_url_says_otherwise() {
        for (url, encrypted, exposed) in [
            ("postgres://usher@db.example.org/usher", true, false),
            ("postgresql://usher@10.0.0.5/usher", true, false),
            ("postgres://usher@localhost/usher", false, false),
            ("postgres://usher@127.0.0.1:5433/usher", false, false),
            ("postgres://usher@%2Frun%2Fpostgresql/usher", false, false),
            (
                "postgres://usher@localhost/usher?sslmode=verify-full",
                true,
                false,
            ),
            (
                "postgres://usher@db.example.org/usher?sslmode=disable",
                false,
                true,
            ),
            ("postgres://usher@localhost,db.example.org/usher", true, false),
        ] {
            let settings = parsed(url);
            assert_eq!(
                (settings.is_encrypted(), settings.is_exposed()),
                (encrypted, exposed),
                "{url}"
            );
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        for (url, shown) in [
            (
                "postgres://usher:pa55w%40ord@db.example.org/usher?connect_timeout=3",
                "postgres://usher@db.example.org/usher",
            ),
            (
                "postgres://usher@db.example.org/usher",
                "postgres://usher@db.example.org/usher",
            ),
        ] {
            let settings = parsed(url);
            assert_eq!(settings.to_string(), shown);
            assert!(!format!("{settings:?}").contains("pa55w"));
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_with_the_remedy_and_without_its_password() {
        for (url, part) in [
            ("postgres://usher:pa55w@db/usher?sslmode=prefer", "verify-full"),
            ("postgres://usher:pa55w@db/usher?sslrootcert=ca.pem", "[postgres]"),
            ("postgres://usher:pa55w@db/usher?colour=blue", "colour"),
            (
                "postgres://usher:pa55w@db:port/usher",
                "postgres://user@host/database",
            ),
            ("postgres://usher:12?pa55w=x@db/usher", "%3F"),
            ("postgres://usher:12?pa55w&x=1@db/usher", "%3F"),
            ("postgres://usher:pa55w@pa55w@db/usher", "%40"),
            ("postgres:///usher", "names no host"),
            ("postgres://db/usher", "names no user"),
        ] {
            let refused = url.parse::<Settings>().unwrap_err();
            assert!(
                refused.contains(part) && !refused.contains("pa55w"),
                "{url}: {refused}"
            );
        }
    }
}
