//! What the administrator told us: one TOML file, found, read, and checked as a whole.
//!
//! A file of vaultwarden_ldap, or the environment variables that it takes, does as well: `legacy` puts it into our form.
//! `config/default.toml` is the reference of all keys. [`load()`] gives a [`Config`], in which nothing is missing and
//! secrets are at hand, or every problem of the file together.

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

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

pub use choices::{DisabledAccounts, Format, Level, OnAddressChange};
#[cfg(fuzzing)]
pub use load::fuzz;
pub use load::{load, state_file};
pub use problem::ConfigError;
pub use schema::{Http, Invite, Limits, Log};

use crate::directory::{Bind, Filter, Server, StreamKind};
use crate::tls::TlsOptions;

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Config {
    /// The state file.
    pub state: PathBuf,
    /// Where the user at the keyboard may keep a session with Vaultwarden, from the environment alone.
    pub sessions: Option<PathBuf>,
    /// Whom to invite people into.
    pub vaultwarden: Vaultwarden,
    /// Where people come from: at least one, each with a name of its own.
    pub directories: Vec<Directory>,
    /// How invitations are sent.
    pub invite: Invite,
    /// Brakes.
    pub limits: Limits,
    /// Health and metrics.
    pub http: Http,
    /// Logs.
    pub log: Log,
    /// Whether `run` is to do one pass and end, as `sync` does.
    pub once: bool,
    /// What can be used but is unwise, one line each: `file:line: key: what; remedy`.
    pub warnings: Vec<String>,
}

impl Config {
    /// The DNs that are written in it: of readers, bases and groups.
    pub fn dns(&self) -> Vec<String> {
        let mut dns = Vec::new();
        for directory in &self.directories {
            if let Bind::Simple { dn, .. } = &directory.bind {
                dns.push(dn.clone());
            }
            dns.push(directory.base_dn.clone());
            dns.extend(directory.groups.iter().cloned());
            // Values of the filter's terms, such as those of memberOf.
            let filter = directory.filter.to_string();
            let terms = filter.split(['(', ')']);
            let values = terms.filter_map(|term| Some(term.split_once('=')?.1));
            dns.extend(values.filter(|value| value.contains('=')).map(str::to_owned));
        }
        // What stands within another one comes after it.
        dns.sort_by_key(|dn| std::cmp::Reverse(dn.len()));
        dns
    }

    /// This configuration with the secrets and the log level of another one. A directory without a namesake there, or
    /// with another kind of bind, stays as it is.
    #[must_use]
    pub fn renewed_by(&self, other: &Self) -> Self {
        let mut renewed = self.clone();
        renewed.log.level = other.log.level;
        renewed.vaultwarden.admin_token = other.vaultwarden.admin_token.clone();
        renewed.vaultwarden.proxy = other.vaultwarden.proxy.clone();
        renewed.vaultwarden.headers = other.vaultwarden.headers.clone();
        for directory in &mut renewed.directories {
            let namesake = other
                .directories
                .iter()
                .find(|other| other.name == directory.name);
            if let Bind::Simple { password, .. } = &mut directory.bind
                && let Some(Bind::Simple {
                    password: renewed, ..
                }) = namesake.map(|other| &other.bind)
            {
                *password = renewed.clone();
            }
        }
        renewed
    }
}

/// How to reach Vaultwarden's admin API.
#[derive(Debug, Clone)]
pub struct Vaultwarden {
    /// `http` or `https`, with the sub-path if there is one; without credentials, query or `/admin`.
    pub url: Url,
    /// `ADMIN_TOKEN` in plain text.
    pub admin_token: SecretString,
    /// Whom to trust.
    pub tls: TlsOptions,
    /// The URL of an HTTP proxy on the way.
    pub proxy: Option<SecretString>,
    /// Headers for every request, one a line.
    pub headers: Option<SecretString>,
}

/// One directory.
#[derive(Debug, Clone)]
pub struct Directory {
    /// Its name, unique among all directories.
    pub name: String,
    /// The servers in the order in which they are tried, at least one.
    pub servers: Vec<Server>,
    /// Whether connections are upgraded by StartTLS (RFC 4511, 4.14) before anything else is said; only where every
    /// server is `ldap://`.
    pub starttls: bool,
    /// Whom to trust.
    pub tls: TlsOptions,
    /// As whom to ask; neither name nor password is empty, and EXTERNAL comes with `ldapi://` only.
    pub bind: Bind,
    /// The DN at and below which people are looked for.
    pub base_dn: String,
    /// Who is a member.
    pub filter: Filter,
    /// The DNs of the groups to which members belong; in none, the filter alone decides.
    pub groups: Vec<String>,
    /// The attributes that may hold the address, in the order in which they are tried; at least one.
    pub mail_attributes: Vec<String>,
    /// The attribute by which people are known; `None` is the one that the server has for that, and where there is one,
    /// `stream` is `None` or [`StreamKind::Poll`].
    pub id_attribute: Option<String>,
    /// What accounts that are disabled are.
    pub disabled_accounts: DisabledAccounts,
    /// How changes are learned; `None` is the best way that the server offers.
    pub stream: Option<StreamKind>,
    /// The time between two listings where they are the stream.
    pub poll_interval: Duration,
    /// The time between two full listings beside every other stream; `None` is as long as the kind of stream allows.
    pub audit_interval: Option<Duration>,
    /// Entries a page (RFC 2696).
    pub page_size: NonZeroU32,
    /// Bytes that one message of the server may have.
    pub max_message_size: usize,
}

/// A configuration and how it reads with all defaults filled in.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What to run with.
    pub config: Config,
    effective: schema::File,
    legacy: Option<legacy::Legacy>,
}

impl Loaded {
    /// The effective configuration as TOML: defaults filled in, secrets replaced by where they came from.
    ///
    /// # Errors
    /// A path that is not UTF-8 cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(&self.effective)
    }

    /// The native form of a configuration that was written for vaultwarden_ldap, with comments. Of a secret that it
    /// holds itself, only the place where it stands is named. `None` where the configuration is in that form already.
    pub fn migrated(&self) -> Option<String> {
        self.legacy.as_ref().map(legacy::Legacy::migrated)
    }
}
