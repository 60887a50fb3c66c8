//! Builds the components of the service from the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::policies::{leave, limits, reminders};
use super::servers::{Servers, vaultwarden_settings};
use super::sessions::Sessions;
use crate::clock::Timestamp;
use crate::config::{self, Config};
use crate::directory::{Directory, LdapDirectory};
use crate::listener::{Listener, MAX_JOURNALED_JOINS};
use crate::model::{ActionState, EmailAddress, Release};
use crate::notify::{self, Notifier, NotifyError};
use crate::retry::{Retry, RetryNow};
use crate::rules::Limits;
use crate::rules::membership::Policy;
use crate::store::{self, ACCOUNTS_DUTY, Decisions, Duty, Lease, Location, Store, StoreError, Which};
use crate::telemetry::{GRACE, Observer};
use crate::vaultwarden::{self, Admin, Vaultwarden};
use crate::worker::{Accounts, AccountsSettings, Recheck, Worker, WorkerSettings};

/// The wait before a reconnect to a directory.
pub const RECONNECT: Retry = Retry {
    first: Duration::from_millis(500),
    ceiling: Duration::from_secs(60),
    floor: Duration::from_millis(50),
};

/// All components, connected and not yet running.
pub(super) struct Components {
    pub(super) store: Arc<dyn Store>,
    pub(super) observer: Observer,
    pub(super) listeners: Vec<Listener>,
    /// The right to listen to each directory, in the same order.
    pub(super) leases: Vec<Arc<dyn Lease>>,
    pub(super) worker: Worker,
    pub(super) accounts: Accounts,
    /// The right to compare the accounts.
    pub(super) accounts_lease: Arc<dyn Lease>,
    limits: Limits,
    pub(super) servers: Servers,
    pub(super) retry_now: RetryNow,
}

impl Components {
    /// Opens the state file, locks it for this process, and builds all components on it.
    pub(super) async fn open(config: &Config) -> anyhow::Result<Self> {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!(version = env!("CARGO_PKG_VERSION"), state = %config.state, "ldap-usher starts");
        let store = store::open(&config.state).await?;
        let sessions = Sessions::of_service(store.clone(), config.sessions.clone());
        let components = Self::build(config, store, sessions, |vaultwarden| vaultwarden)?;
        if let Location::Postgres(server) = &config.state {
            components.observer.runs_as(&server.instance);
        }
        components.configure().await?;
        Ok(components)
    }

    /// Who gets the events of these components.
    pub(super) async fn notifier(&self, config: &Config) -> Result<Notifier, NotifyError> {
        let context = notify::Context {
            store: self.store.clone(),
            observer: self.observer.clone(),
            clock: self.worker.clock.clone(),
            retry_now: self.retry_now.clone(),
            jitter: self.worker.jitter,
        };
        Notifier::open(&config.notify, context).await
    }

    /// Stores which directories are configured, and retires all others.
    pub(super) async fn configure(&self) -> Result<(), StoreError> {
        let configured = self
            .listeners
            .iter()
            .map(|listener| (listener.name.clone(), listener.scope.clone()))
            .collect();
        let changed = self.store.configure(configured).await?;
        for (from, to) in &changed.renamed {
            self.observer.directory_renamed(from, to);
        }
        for directory in &changed.retired {
            self.observer.directory_retired(directory);
        }
        let leave = self.worker.recheck.leave.clone();
        self.store
            .retire(self.limits, leave, self.worker.clock.now())
            .await?;
        self.reclassify_quarantined().await
    }

    /// Classifies stored rejections by the rules of this version. Releases people whose rejection concerns the server.
    async fn reclassify_quarantined(&self) -> Result<(), StoreError> {
        let (mut released, mut accused) = (Vec::new(), Vec::new());
        for task in self.store.in_state(ActionState::Quarantined, Which::All).await? {
            let Ok(address) = EmailAddress::parse(task.address.as_bytes()) else {
                continue;
            };
            if !task.kind.is_invite() {
                continue;
            }
            match vaultwarden::judge_reason(&address, &task.reason) {
                None => released.push(address),
                Some(rejection) => accused.extend(rejection.key.map(|key| (address, key))),
            }
        }
        if !released.is_empty() {
            let now = self.worker.clock.now();
            let which = Which::To(&released);
            let because = Release::FaultOfServer;
            self.store
                .release(&[ActionState::Quarantined], which, because, now)
                .await?;
            self.observer.released_from_quarantine(released.len());
        }
        self.store.set_faults(accused).await
    }

    /// Builds all components on `store`. `admin` wraps the client that the worker uses.
    pub(super) fn build(
        config: &Config,
        store: Arc<dyn Store>,
        sessions: Sessions,
        admin: impl FnOnce(Arc<Vaultwarden>) -> Arc<dyn Admin>,
    ) -> anyhow::Result<Self> {
        let clock = store.clock();
        let observer = Observer::new(
            config
                .directories
                .iter()
                .map(|directory| directory.settings.name.clone()),
            GRACE,
        );
        let (wake, retry_now) = (store.wake(), RetryNow::default());
        let (limits, leave) = (limits(config), Arc::new(leave(config)));
        let (mut directories, mut leases) = (Vec::new(), Vec::new());
        let mut rechecked: BTreeMap<String, (Arc<dyn Directory>, Policy)> = BTreeMap::new();
        let listeners = config
            .directories
            .iter()
            .map(|directory| {
                let settings = &directory.settings;
                let connection = Arc::new(LdapDirectory::new(settings.clone())?);
                directories.push(connection.clone());
                let policy = policy(config, directory, clock.now());
                rechecked.insert(settings.name.clone(), (connection.clone(), policy.clone()));
                let duty = store.clone().duty(&format!("directory {}", settings.name));
                leases.push(duty.lease);
                Ok(Listener {
                    name: settings.name.clone(),
                    scope: settings.scope(),
                    fingerprint: fingerprint(config, directory),
                    directory: connection,
                    store: duty.store,
                    observer: observer.clone(),
                    clock: clock.clone(),
                    wake: wake.clone(),
                    policy,
                    limits,
                    leave: leave.clone(),
                    max_journaled_joins: MAX_JOURNALED_JOINS,
                    audit_interval: directory.audit_interval,
                    retry: RECONNECT,
                    retry_now: retry_now.clone(),
                    jitter: rand::random,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        let settings = vaultwarden_settings(config);
        let vaultwarden = Arc::new(Vaultwarden::new(&settings, Arc::new(sessions), clock.clone())?);
        let admin = admin(vaultwarden.clone());
        let Duty {
            lease: accounts_lease,
            store: accounts_store,
        } = store.clone().duty(ACCOUNTS_DUTY);
        let accounts = Accounts {
            store: accounts_store,
            vaultwarden: admin.clone(),
            observer: observer.clone(),
            clock: clock.clone(),
            wake: wake.clone(),
            settings: AccountsSettings {
                interval: config.vaultwarden.accounts_interval,
                limits,
                leave: leave.clone(),
                reminders: reminders(config),
                invite_deleted: config.invite.on_deleted == config::OnDeleted::Invite,
            },
        };
        let worker = Worker {
            store: store.clone(),
            vaultwarden: admin,
            observer: observer.clone(),
            clock,
            recheck: Arc::new(Recheck {
                directories: rechecked,
                limits,
                leave,
                wake: wake.clone(),
            }),
            wake,
            retry_now: retry_now.clone(),
            settings: WorkerSettings {
                concurrency: usize::try_from(config.invite.concurrency.get()).unwrap_or(usize::MAX),
                per_minute: config.invite.per_minute.map(Into::into),
                limits,
                only: None,
                resend_after: config.invite.resend_unknown_after,
            },
            jitter: rand::random,
        };
        Ok(Self {
            store,
            observer,
            listeners,
            leases,
            worker,
            accounts,
            accounts_lease,
            limits,
            servers: Servers {
                vaultwarden,
                directories,
            },
            retry_now,
        })
    }
}

/// The settings on which a cursor depends. Those that decide who is a member are among them, so that after a change
/// everyone is listed and decided on again.
fn fingerprint(config: &Config, directory: &config::Directory) -> String {
    let mut fingerprint = directory.settings.fingerprint();
    if let Some(accept) = config.accept.fingerprint() {
        fingerprint = format!("{fingerprint}\n{accept}");
    }
    fingerprint
}

/// The membership policy of a directory, at the time `now`.
pub fn policy(config: &Config, directory: &config::Directory, now: Timestamp) -> Policy {
    Policy {
        now,
        mail_attributes: directory.mail_attributes.clone(),
        accept: config.accept.clone(),
        invite_changed_address: config.invite.on_address_change == config::OnAddressChange::Invite,
        disabled_are_members: directory.disabled_accounts == config::DisabledAccounts::Ignore,
    }
}
