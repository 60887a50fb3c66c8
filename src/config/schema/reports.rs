//! How the service tells what it does: `[notify]`, `[http]`, `[traces]`, `[log]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::choices::{Format, Level};
use super::super::secret::Secret;
use super::super::value::{duration, listen, one_or_many};

/// `[notify]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub(in crate::config) struct NotifyTable {
    #[serde(deserialize_with = "one_or_many")]
    pub(in crate::config) events: Vec<String>,
    pub(in crate::config) url: Option<Secret>,
    pub(in crate::config) url_file: Option<PathBuf>,
    pub(in crate::config) secret: Option<Secret>,
    pub(in crate::config) secret_file: Option<PathBuf>,
    #[serde(deserialize_with = "one_or_many")]
    pub(in crate::config) command: Vec<String>,
    pub(in crate::config) ping_url: Option<Secret>,
    pub(in crate::config) ping_url_file: Option<PathBuf>,
    #[serde(with = "duration")]
    pub(in crate::config) ping_interval: Duration,
    pub(in crate::config) ca_file: Option<PathBuf>,
    pub(in crate::config) tls_verify: bool,
    #[serde(deserialize_with = "one_or_many")]
    pub(in crate::config) tls_pin: Vec<String>,
    pub(in crate::config) proxy: Option<Secret>,
    pub(in crate::config) proxy_file: Option<PathBuf>,
}

impl Default for NotifyTable {
    fn default() -> Self {
        const EVENTS: [&str; 13] = [
            "joined",
            "rejoined",
            "left",
            "without-address",
            "lost-address",
            "changed-address",
            "shares-address",
            "invited",
            "leaving",
            "carried-out",
            "account-changed",
            "held",
            "quarantined",
        ];
        Self {
            events: EVENTS.map(str::to_owned).into(),
            url: None,
            url_file: None,
            secret: None,
            secret_file: None,
            command: Vec::new(),
            ping_url: None,
            ping_url_file: None,
            ping_interval: Duration::from_secs(60),
            ca_file: None,
            tls_verify: true,
            tls_pin: Vec::new(),
            proxy: None,
            proxy_file: None,
        }
    }
}

/// `[http]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub(in crate::config) struct HttpTable {
    #[serde(with = "listen")]
    pub(in crate::config) listen: Option<SocketAddr>,
    #[serde(deserialize_with = "one_or_many")]
    pub(in crate::config) hosts: Vec<String>,
    pub(in crate::config) admin_token: Option<Secret>,
    pub(in crate::config) admin_token_file: Option<PathBuf>,
}

impl Default for HttpTable {
    fn default() -> Self {
        Self {
            listen: Some((Ipv4Addr::LOCALHOST, 9464).into()),
            hosts: Vec::new(),
            admin_token: None,
            admin_token_file: None,
        }
    }
}

/// `[traces]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub(in crate::config) struct TracesTable {
    pub(in crate::config) url: Option<String>,
    pub(in crate::config) headers: Option<Secret>,
    pub(in crate::config) headers_file: Option<PathBuf>,
    pub(in crate::config) ca_file: Option<PathBuf>,
    pub(in crate::config) tls_verify: bool,
    #[serde(deserialize_with = "one_or_many")]
    pub(in crate::config) tls_pin: Vec<String>,
}

impl Default for TracesTable {
    fn default() -> Self {
        Self {
            url: None,
            headers: None,
            headers_file: None,
            ca_file: None,
            tls_verify: true,
            tls_pin: Vec::new(),
        }
    }
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct Log {
    /// The least severe level that is logged.
    pub level: Level,
    /// The format of log lines.
    pub format: Format,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: Level::Info,
            format: Format::Text,
        }
    }
}
