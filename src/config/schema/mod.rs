//! The configuration file as it is written: one struct per table, one field per key.
//!
//! Required keys are `Option` here, so that all missing keys are reported together; [`super::check`] turns this into a
//! complete [`super::Config`]. `config/default.toml` explains each key; a test ensures that both have the same keys and
//! defaults.

mod reports;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::choices::{
    DisabledAccounts, HoldInvitations, LeaveAction, OnAddressChange, OnDeleted, Sasl, Stream,
};
use super::secret::Secret;
use super::value::{
    auto_duration, count, duration, grace, limit, one_base, one_or_many, optional_count, optional_grace,
    percent, size, tables, whole, without_password,
};

pub use reports::Log;
pub(super) use reports::{HttpTable, NotifyTable, TracesTable};

/// The default of `state`.
pub(super) const STATE: &str = "/var/lib/ldap-usher/state.db";

/// The value of `id_attribute` that stands for the server's own UUID.
pub(super) const AUTO: &str = "auto";

/// The whole file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub(super) struct File {
    #[serde(serialize_with = "without_password")]
    pub(super) state: String,
    pub(super) state_file: Option<PathBuf>,
    #[serde(deserialize_with = "count")]
    pub(super) journal_days: NonZeroU32,
    pub(super) postgres: PostgresTable,
    pub(super) vaultwarden: VaultwardenTable,
    #[serde(deserialize_with = "tables")]
    pub(super) directory: Vec<DirectoryTable>,
    pub(super) invite: Invite,
    pub(super) accept: AcceptTable,
    pub(super) protect: ProtectTable,
    pub(super) leave: Leave,
    pub(super) limits: Limits,
    pub(super) notify: NotifyTable,
    pub(super) http: HttpTable,
    pub(super) traces: TracesTable,
    pub(super) log: Log,
}

impl Default for File {
    fn default() -> Self {
        Self {
            state: STATE.into(),
            state_file: None,
            journal_days: const { NonZeroU32::new(400).unwrap() },
            postgres: PostgresTable::default(),
            vaultwarden: VaultwardenTable::default(),
            directory: Vec::new(),
            invite: Invite::default(),
            accept: AcceptTable::default(),
            protect: ProtectTable::default(),
            leave: Leave::default(),
            limits: Limits::default(),
            notify: NotifyTable::default(),
            http: HttpTable::default(),
            traces: TracesTable::default(),
            log: Log::default(),
        }
    }
}

/// `[postgres]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub(super) struct PostgresTable {
    pub(super) instance: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) tls_verify: bool,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) tls_pin: Vec<String>,
    pub(super) tls_server_name: Option<String>,
    pub(super) client_cert_file: Option<PathBuf>,
    pub(super) client_key_file: Option<PathBuf>,
}

impl Default for PostgresTable {
    fn default() -> Self {
        Self {
            instance: None,
            ca_file: None,
            tls_verify: true,
            tls_pin: Vec::new(),
            tls_server_name: None,
            client_cert_file: None,
            client_key_file: None,
        }
    }
}

/// `[vaultwarden]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub(super) struct VaultwardenTable {
    pub(super) url: Option<String>,
    pub(super) admin_token: Option<Secret>,
    pub(super) admin_token_file: Option<PathBuf>,
    pub(super) admin_totp_secret: Option<Secret>,
    pub(super) admin_totp_secret_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) tls_verify: bool,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) tls_pin: Vec<String>,
    pub(super) tls_server_name: Option<String>,
    pub(super) client_cert_file: Option<PathBuf>,
    pub(super) client_key_file: Option<PathBuf>,
    pub(super) proxy: Option<Secret>,
    pub(super) proxy_file: Option<PathBuf>,
    pub(super) headers: Option<Secret>,
    pub(super) headers_file: Option<PathBuf>,
    #[serde(with = "duration")]
    pub(super) accounts_interval: Duration,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) administrators: Vec<String>,
}

impl Default for VaultwardenTable {
    fn default() -> Self {
        Self {
            url: None,
            admin_token: None,
            admin_token_file: None,
            admin_totp_secret: None,
            admin_totp_secret_file: None,
            ca_file: None,
            tls_verify: true,
            tls_pin: Vec::new(),
            tls_server_name: None,
            client_cert_file: None,
            client_key_file: None,
            proxy: None,
            proxy_file: None,
            headers: None,
            headers_file: None,
            accounts_interval: Duration::from_secs(3600),
            administrators: Vec::new(),
        }
    }
}

/// `[[directory]]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub(super) struct DirectoryTable {
    pub(super) name: String,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) url: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) controllers: Vec<String>,
    pub(super) starttls: bool,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) tls_verify: bool,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) tls_pin: Vec<String>,
    pub(super) tls_server_name: Option<String>,
    pub(super) client_cert_file: Option<PathBuf>,
    pub(super) client_key_file: Option<PathBuf>,
    pub(super) bind_dn: Option<String>,
    pub(super) bind_password: Option<Secret>,
    pub(super) bind_password_file: Option<PathBuf>,
    pub(super) sasl: Option<Sasl>,
    #[serde(deserialize_with = "one_base")]
    pub(super) base_dn: Option<String>,
    pub(super) filter: String,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) groups: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) mail_attributes: Vec<String>,
    pub(super) id_attribute: String,
    pub(super) disabled_accounts: DisabledAccounts,
    pub(super) stream: Stream,
    #[serde(with = "duration")]
    pub(super) poll_interval: Duration,
    #[serde(with = "auto_duration")]
    pub(super) audit_interval: Option<Duration>,
    #[serde(deserialize_with = "count")]
    pub(super) page_size: NonZeroU32,
    #[serde(with = "size")]
    pub(super) max_message_size: usize,
    pub(super) leave_action: Option<LeaveAction>,
    #[serde(with = "optional_grace")]
    pub(super) leave_grace: Option<Duration>,
}

impl Default for DirectoryTable {
    fn default() -> Self {
        Self {
            name: "main".into(),
            url: Vec::new(),
            controllers: Vec::new(),
            starttls: false,
            ca_file: None,
            tls_verify: true,
            tls_pin: Vec::new(),
            tls_server_name: None,
            client_cert_file: None,
            client_key_file: None,
            bind_dn: None,
            bind_password: None,
            bind_password_file: None,
            sasl: None,
            base_dn: None,
            filter: "(objectClass=inetOrgPerson)".into(),
            groups: Vec::new(),
            mail_attributes: vec!["mail".into()],
            id_attribute: AUTO.into(),
            disabled_accounts: DisabledAccounts::Auto,
            stream: Stream::Auto,
            poll_interval: Duration::from_secs(60),
            audit_interval: None,
            page_size: const { NonZeroU32::new(500).unwrap() },
            max_message_size: 16 << 20,
            leave_action: None,
            leave_grace: None,
        }
    }
}

/// `[invite]`: how invitations are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct Invite {
    /// Whose invitations wait for an administrator.
    pub hold: HoldInvitations,
    /// What to do when the address of an invited person changes.
    pub on_address_change: OnAddressChange,
    /// What to do when an administrator of Vaultwarden deleted the account of an invited person.
    pub on_deleted: OnDeleted,
    /// How long after a mail a person who has not registered is reminded; at least an hour.
    #[serde(with = "duration")]
    pub resend_after: Duration,
    /// The largest number of reminders for one invitation.
    #[serde(deserialize_with = "whole")]
    pub resend_limit: u32,
    /// The number of invitations that are sent at the same time.
    #[serde(deserialize_with = "count")]
    pub concurrency: NonZeroU32,
    /// The largest number of invitations per minute; `None` is no limit.
    #[serde(deserialize_with = "optional_count")]
    pub per_minute: Option<NonZeroU32>,
    /// How long an invitation without an answer is looked up in Vaultwarden before it is sent again.
    #[serde(with = "duration")]
    pub resend_unknown_after: Duration,
}

impl Default for Invite {
    fn default() -> Self {
        Self {
            hold: HoldInvitations::None,
            on_address_change: OnAddressChange::Report,
            on_deleted: OnDeleted::Respect,
            resend_after: Duration::from_secs(96 * 3600),
            resend_limit: 2,
            concurrency: const { NonZeroU32::new(8).unwrap() },
            per_minute: None,
            resend_unknown_after: Duration::from_secs(180),
        }
    }
}

/// `[accept]`: which addresses may be invited.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub(super) struct AcceptTable {
    #[serde(deserialize_with = "one_or_many")]
    pub(super) domains: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) deny: Vec<String>,
}

/// `[protect]`: accounts that are never deauthorized, disabled or deleted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub(super) struct ProtectTable {
    #[serde(deserialize_with = "one_or_many")]
    pub(super) addresses: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) domains: Vec<String>,
}

/// `[leave]`: what happens to the accounts of people who have left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct Leave {
    /// What happens to the account.
    pub action: LeaveAction,
    /// How long a person must have been gone before it happens. May be zero.
    #[serde(with = "grace")]
    pub grace: Duration,
}

impl Default for Leave {
    fn default() -> Self {
        Self {
            action: LeaveAction::None,
            grace: Duration::from_secs(3600),
        }
    }
}

/// `[limits]`: when invitations and actions on people who left are held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, expecting = "a table")]
pub struct Limits {
    /// The largest number of new people that listings of one directory invite before an hour without new people has
    /// passed. More are held until somebody approves them; `None` is no limit.
    #[serde(with = "limit")]
    pub invites_per_listing: Option<u32>,
    /// The largest number of new people that single changes of one directory invite per hour; `None` is no limit.
    #[serde(with = "limit")]
    pub invites_per_hour: Option<u32>,
    /// The largest number of addresses at which one entry is invited per day; `None` is no limit.
    #[serde(with = "limit")]
    pub addresses_per_person: Option<u32>,
    /// The largest number of members who leave in one listing of a directory; `None` is no limit.
    #[serde(with = "limit")]
    pub leavers_per_listing: Option<u32>,
    /// The largest share of a directory's members who leave in one listing, in percent; `None` is no limit. The lesser of
    /// the two counts, but one person may always leave.
    #[serde(with = "percent")]
    pub leavers_percent: Option<u32>,
    /// The largest number of members whom single changes of a directory make leave per hour; `None` is no limit.
    #[serde(with = "limit")]
    pub leavers_per_hour: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            invites_per_listing: Some(500),
            invites_per_hour: Some(500),
            addresses_per_person: Some(2),
            leavers_per_listing: Some(10),
            leavers_percent: Some(5),
            leavers_per_hour: Some(20),
        }
    }
}
