//! The configuration: one TOML file, found, read, and checked as a whole.
//!
//! The file or the environment variables of vaultwarden_ldap are accepted too: `legacy` translates them.
//! `config/default.toml` is the reference of all keys. [`load()`] returns either a complete [`Config`] with its secrets
//! read, or all problems of the file at once.

mod check;
mod choices;
mod environment;
mod escapes;
mod legacy;
mod load;
mod problem;
mod reference;
mod schema;
mod secret;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

pub use choices::{
    DisabledAccounts, Format, HoldInvitations, LeaveAction, Level, OnAddressChange, OnDeleted,
};
#[cfg(fuzzing)]
pub use load::fuzz;
pub use load::{Service, load, place, service, state};
pub use problem::ConfigError;
pub use schema::{Invite, Leave, Limits, Log};

use crate::directory::{self, Bind};
use crate::rules::Protect;
use crate::rules::membership::Accept;
use crate::store::Location;
use crate::tls::TlsOptions;

/// A complete, checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the state is kept.
    pub state: Location,
    /// For how many days the journal is kept.
    pub journal_days: u32,
    /// The file in which `check` and `plan` may keep a session with Vaultwarden; derived from the environment alone.
    pub sessions: Option<PathBuf>,
    /// `[vaultwarden]`: how to reach the admin API.
    pub vaultwarden: Vaultwarden,
    /// `[[directory]]`: at least one, with unique names.
    pub directories: Vec<Directory>,
    /// `[leave]`: what happens to the accounts of leavers, unless their directory differs.
    pub leave: Leave,
    /// `[invite]`: how invitations are sent.
    pub invite: Invite,
    /// `[accept]`: which addresses may be invited.
    pub accept: Accept,
    /// `[protect]` and the administrators of Vaultwarden: accounts that are never deauthorized, disabled or deleted.
    pub protect: Protect,
    /// `[limits]`: when invitations and actions on people who left are held back.
    pub limits: Limits,
    /// `[notify]`: who is told what happens.
    pub notify: Notify,
    /// `[http]`: the status page, and the endpoints for health and metrics.
    pub http: Http,
    /// `[traces]`: the collector of OpenTelemetry; `None` if no traces are recorded.
    pub traces: Option<Traces>,
    /// `[log]`: level and format.
    pub log: Log,
    /// Whether `run` does one pass and exits, as `sync` does.
    pub once: bool,
    /// Settings that work but are unwise, one line each: `file:line: key: what is wrong; what to do`.
    pub warnings: Vec<String>,
}

impl Config {
    /// The directory of this name.
    pub fn directory(&self, name: &str) -> Option<&Directory> {
        self.directories
            .iter()
            .find(|directory| directory.settings.name == name)
    }

    /// The DNs that the configuration names: bind DNs, bases and groups; longest first.
    pub fn dns(&self) -> Vec<String> {
        let mut dns = Vec::new();
        for Directory { settings, .. } in &self.directories {
            if let Bind::Simple { dn, .. } = &settings.bind {
                dns.push(dn.clone());
            }
            dns.push(settings.base.clone());
            dns.extend(settings.groups.iter().cloned());
            // Values in the filter, such as those of memberOf.
            let filter = settings.filter.to_string();
            let terms = filter.split(['(', ')']);
            let values = terms.filter_map(|term| Some(term.split_once('=')?.1));
            dns.extend(values.filter(|value| value.contains('=')).map(str::to_owned));
        }
        // A DN that is part of another one comes after it.
        dns.sort_by_key(|dn| std::cmp::Reverse(dn.len()));
        dns
    }

    /// This configuration with the secrets and the log level of `other`, and the keys of secrets that differ and stay as they
    /// are. A directory keeps its password if `other` has no directory of that name, or one that binds in another way.
    #[must_use]
    pub fn renewed_by(&self, other: &Self) -> (Self, Vec<&'static str>) {
        let (mut renewed, mut kept) = (self.clone(), Vec::new());
        renewed.log.level = other.log.level;
        renewed.vaultwarden.admin_token = other.vaultwarden.admin_token.clone();
        renewed.vaultwarden.totp_secret = other.vaultwarden.totp_secret.clone();
        renewed.vaultwarden.proxy = other.vaultwarden.proxy.clone();
        renewed.vaultwarden.headers = other.vaultwarden.headers.clone();
        renewed.http.admin_token = other.http.admin_token.clone();
        // The connections of the state are made with the password that was there when they were first.
        if renewed.state != other.state {
            kept.push("state");
        }
        let (notify, others) = (&mut renewed.notify, &other.notify);
        for (key, secret, other) in [
            ("notify.url", &mut notify.url, &others.url),
            ("notify.secret", &mut notify.secret, &others.secret),
            ("notify.ping_url", &mut notify.ping_url, &others.ping_url),
            ("notify.proxy", &mut notify.proxy, &others.proxy),
        ] {
            // What has a secret is added or removed by a restart only.
            if secret.is_some() == other.is_some() {
                secret.clone_from(other);
            } else {
                kept.push(key);
            }
        }
        match (&mut renewed.traces, &other.traces) {
            (Some(traces), Some(other)) => traces.headers.clone_from(&other.headers),
            (None, None) => {}
            _ => kept.push("traces.url"),
        }
        for Directory { settings, .. } in &mut renewed.directories {
            let namesake = other.directory(&settings.name);
            if let Bind::Simple { password, .. } = &mut settings.bind
                && let Some(Bind::Simple {
                    password: renewed, ..
                }) = namesake.map(|other| &other.settings.bind)
            {
                *password = renewed.clone();
            }
        }
        (renewed, kept)
    }
}

/// How to reach Vaultwarden's admin API.
#[derive(Debug, Clone)]
pub struct Vaultwarden {
    /// `http` or `https`, with the sub-path if there is one; without credentials, query or `/admin`.
    pub url: Url,
    /// `ADMIN_TOKEN` in plain text.
    pub admin_token: SecretString,
    /// The secret of `ADMIN_TOTP_SECRET`.
    pub totp_secret: Option<SecretString>,
    /// TLS: which certificates are trusted.
    pub tls: TlsOptions,
    /// The URL of an HTTP proxy. Secret, because it may hold a password.
    pub proxy: Option<SecretString>,
    /// Headers for every request, one per line.
    pub headers: Option<SecretString>,
    /// The time between two comparisons of Vaultwarden's accounts with the state.
    pub accounts_interval: Duration,
}

/// The status page, and the endpoints for health and metrics.
#[derive(Debug, Clone)]
pub struct Http {
    /// The address to listen on; `None` switches all of it off.
    pub listen: Option<SocketAddr>,
    /// The full host names that a request may use.
    pub hosts: Vec<String>,
    /// What a person signs in with; without it the page shows no people and takes no orders.
    pub admin_token: Option<SecretString>,
}

/// Who is told what happens.
#[derive(Debug, Clone)]
pub struct Notify {
    /// The names of the kinds of events that receivers get ([`crate::model::What::name`]).
    pub events: Vec<&'static str>,
    /// The `http` or `https` URL of the webhook. Secret, because it may hold a token.
    pub url: Option<SecretString>,
    /// The key of the webhook's signatures; without it there are none.
    pub secret: Option<SecretString>,
    /// The absolute path of a program and its arguments; empty for none.
    pub command: Vec<String>,
    /// The `http` or `https` URL that is requested while all is well. Secret as well.
    pub ping_url: Option<SecretString>,
    /// How often it is requested.
    pub ping_interval: Duration,
    /// TLS for both URLs.
    pub tls: TlsOptions,
    /// The URL of an HTTP proxy for both.
    pub proxy: Option<SecretString>,
}

/// The collector of OpenTelemetry to which traces are sent.
#[derive(Debug, Clone)]
pub struct Traces {
    /// The `http` or `https` URL that takes traces, without credentials.
    pub url: Url,
    /// Headers for every request, one per line.
    pub headers: Option<SecretString>,
    /// TLS: which certificates are trusted.
    pub tls: TlsOptions,
}

/// One directory.
#[derive(Debug, Clone)]
pub struct Directory {
    /// How to reach and read it. Its attributes are those that the other fields require.
    pub settings: directory::DirectorySettings,
    /// The attributes that may hold the address, at least one, in the order in which they are tried.
    pub mail_attributes: Vec<String>,
    /// How disabled accounts are treated.
    pub disabled_accounts: DisabledAccounts,
    /// The time between two full listings beside any stream but `poll`. `None` is the default for the kind of stream.
    pub audit_interval: Option<Duration>,
    /// What happens to the accounts of people who have left this directory.
    pub leave: Leave,
}

/// A configuration, and its TOML form with all defaults.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The checked configuration.
    pub config: Config,
    effective: schema::File,
    legacy: Option<legacy::Legacy>,
}

impl Loaded {
    /// The effective configuration as TOML, with all defaults. Of each secret only its source is shown.
    ///
    /// # Errors
    /// A path that is not UTF-8 cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(&self.effective)
    }

    /// The native format of a configuration of vaultwarden_ldap, with comments. A secret that it contains is not
    /// repeated; a comment says where it is. `None` if the configuration is already in the native format.
    pub fn migrated(&self) -> Option<String> {
        self.legacy.as_ref().map(legacy::Legacy::migrated)
    }
}
