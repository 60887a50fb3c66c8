//! Builds every component and runs them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::Notify;

use super::servers::Servers;
use super::sessions::Sessions;
use super::signals::{Requests, Signals};
use super::supervisor::{RESTART, Supervisor};
use super::systemd;
use crate::clock::{Clock, Timestamp};
use crate::config::{self, Config};
use crate::directory::{self, LdapDirectory};
use crate::listener::Listener;
use crate::model::{EmailAddress, TaskState};
use crate::panics;
use crate::retry::{Retry, RetryNow};
use crate::rules::Limits;
use crate::rules::membership::{DISABLED_ATTRIBUTES, Policy};
use crate::store::{Decisions, Sqlite, Store, StoreError, Which};
use crate::telemetry::log::{self, LogHandle};
use crate::telemetry::{GRACE, Observer, http};
use crate::vaultwarden::{self, Admin, Vaultwarden};
use crate::worker::{self, Until, Worker};

/// The wait before a reconnect to a directory.
pub const RECONNECT: Retry = Retry {
    first: Duration::from_millis(500),
    ceiling: Duration::from_secs(60),
    floor: Duration::from_millis(50),
};
/// How long work in progress may take after SIGTERM; less than the 90 s after which systemd sends SIGKILL.
const STOP_GRACE: Duration = Duration::from_secs(60);

const STOPPED: &str = "stopped before everything was done; the next run continues from here";

/// What a `sync` did, and what is left to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncSummary {
    /// People invited by this run.
    pub invited: u64,
    /// People who already had an account.
    pub had_account: u64,
    /// Invitations still to be delivered.
    pub queued: u64,
    /// Invitations held back by one of the `limits`.
    pub held: u64,
    /// Invitations in quarantine.
    pub quarantined: u64,
    /// One line for each directory that was not listed completely.
    pub failures: Vec<String>,
}

/// Runs the service until SIGTERM or SIGINT. Calls `reload` on SIGHUP and uses the secrets and the log level that it
/// returns. Also calls it when a server refuses a bind password.
///
/// # Errors
/// The service cannot start. Once it runs, no failure outside the process ends it.
pub async fn run(
    config: Config,
    reload: impl Fn() -> anyhow::Result<Config> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let log = start_log(&config)?;
    let mut signals = Signals::take().context("signals cannot be handled")?;
    let requests = Requests::default();
    let parts = Parts::assemble(&config).await?;
    let mut supervisor = Supervisor::new(RESTART, rand::random, requests.stop.clone());
    let public = http::Public {
        hosts: config.http.hosts.clone(),
        dns: config.dns(),
    };
    if let Some(address) = config.http.listen {
        let listener = http::bind(address).await?;
        // The operating system chooses a port for port 0; a restart of this part uses the same one.
        let address = listener
            .local_addr()
            .context("the port of [http] cannot be read")?;
        let mut taken = Some(listener);
        tracing::info!(%address, "answering /livez, /readyz and /metrics");
        let (observer, store, stop) = (parts.observer.clone(), parts.store.clone(), requests.stop.clone());
        let public = public.clone();
        supervisor.keep("http", move || {
            let (taken, observer, store, stop) =
                (taken.take(), observer.clone(), store.clone(), stop.clone());
            let public = public.clone();
            async move {
                let listener = match taken {
                    Some(listener) => listener,
                    None => http::bind(address).await?,
                };
                http::serve(listener, observer, store, public, stop).await;
                Ok(())
            }
        });
    }
    let (servers, retry_now) = (parts.servers, parts.retry_now);
    let reload = Arc::new(reload);
    servers.reread_passwords(&config, &reload);
    for listener in parts.listeners {
        let (name, listener, stop) = (
            format!("listener {}", listener.name),
            Arc::new(listener),
            requests.stop.clone(),
        );
        supervisor.keep(name, move || {
            let (listener, stop) = (listener.clone(), stop.clone());
            async move { Ok(listener.run(&stop).await?) }
        });
    }
    if systemd::listens() {
        let (observer, store, stop) = (parts.observer, parts.store, requests.stop.clone());
        supervisor.keep("service manager", move || {
            let (observer, store, stop) = (observer.clone(), store.clone(), stop.clone());
            let public = public.clone();
            async move { systemd::inform(&observer, &*store, &public, &stop).await }
        });
    }
    let (worker, stop, at_once) = (
        Arc::new(parts.worker),
        requests.stop.clone(),
        requests.at_once.clone(),
    );
    supervisor.keep("invite worker", move || {
        let (worker, stop, at_once) = (worker.clone(), stop.clone(), at_once.clone());
        async move { Ok(worker.run(Until::Stopped, &stop, &at_once).await.map(drop)?) }
    });
    let reloads = async {
        loop {
            requests.reload.notified().await;
            let renewed = reload().and_then(|other| {
                let renewed = config.renewed_by(&other);
                servers.renew(&renewed)?;
                log.set_level(renewed.log.level.as_str())?;
                Ok(renewed.log.level.as_str())
            });
            match renewed {
                Ok(level) => {
                    tracing::info!(
                        level,
                        "secrets and log level were reloaded; other keys take effect after a restart"
                    );
                    retry_now.notify();
                }
                Err(error) => tracing::error!("the old configuration stays in use: {error:#}"),
            }
        }
    };
    let finished = supervisor.finish(STOP_GRACE, &requests.at_once);
    tokio::pin!(finished);
    let cut_off = tokio::select! {
        cut_off = &mut finished => cut_off,
        () = async { tokio::join!(signals.relay(&requests), reloads); } => finished.await,
    };
    if !cut_off.is_empty() {
        tracing::warn!(
            parts = cut_off.join(", "),
            "stopped before these parts had finished; nothing is lost"
        );
    }
    tracing::info!("stopped");
    Ok(())
}

/// Lists every directory once, delivers everything that is due, and returns.
///
/// # Errors
/// The store failed, or a signal stopped it. A directory that fails is part of the summary.
pub async fn sync(config: Config) -> anyhow::Result<SyncSummary> {
    start_log(&config)?;
    let mut signals = Signals::take().context("signals cannot be handled")?;
    let requests = Requests::default();
    let parts = Parts::assemble(&config).await?;
    let work = async {
        let failures = tokio::select! {
            failures = list_everything(&parts.listeners) => failures,
            () = requests.stop.cancelled() => bail!("{STOPPED}"),
        };
        let tally = parts
            .worker
            .run(Until::Drained, &requests.stop, &requests.at_once)
            .await?;
        let report = parts.store.report().await?;
        Ok(SyncSummary {
            invited: tally.invited,
            had_account: tally.had_account,
            queued: report.count(TaskState::Queued),
            held: report.count(TaskState::Held),
            quarantined: report.count(TaskState::Quarantined),
            failures,
        })
    };
    tokio::select! {
        summary = work => summary,
        () = signals.relay(&requests) => bail!("{STOPPED}"),
    }
}

/// Lists every directory once. Returns one line for each directory that was not listed completely.
///
/// Uses the order of the configuration, so that runs are reproducible: if two entries have the same address, the first
/// one gets the invitation.
pub(super) async fn list_everything(listeners: &[Listener]) -> Vec<String> {
    let mut failures = Vec::new();
    for listener in listeners {
        if let Err(trouble) = listener.list_once().await {
            failures.push(format!("directory {}: {trouble}", listener.name));
        }
    }
    failures
}

fn start_log(config: &Config) -> anyhow::Result<LogHandle> {
    let format = match config.log.format {
        config::Format::Text => log::Format::Text,
        config::Format::Json => log::Format::Json,
    };
    let log = log::init(format, config.log.level.as_str())?;
    panics::report();
    Ok(log)
}

/// All components, connected and not yet running.
pub(super) struct Parts {
    store: Arc<dyn Store>,
    observer: Observer,
    pub(super) listeners: Vec<Listener>,
    pub(super) worker: Worker,
    limits: Limits,
    servers: Servers,
    retry_now: RetryNow,
}

impl Parts {
    /// Builds everything on the state file, which is locked by this process from now on.
    async fn assemble(config: &Config) -> anyhow::Result<Self> {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!(version = env!("CARGO_PKG_VERSION"), state = %config.state.display(), "ldap-usher starts");
        let store = Arc::new(Sqlite::open(&config.state).await?);
        let sessions = Sessions::of_service(store.clone(), config.sessions.clone());
        let parts = Self::wire(config, store, sessions, |vaultwarden| vaultwarden)?;
        parts.configure().await?;
        Ok(parts)
    }

    /// Tells the store which directories are configured. It retires all others.
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
        self.store.retire(self.limits, self.worker.clock.now()).await?;
        self.reclassify_quarantined().await
    }

    /// Classifies stored refusals by the rules of this version. Releases people whose refusal concerns the server.
    async fn reclassify_quarantined(&self) -> Result<(), StoreError> {
        let (mut released, mut accused) = (Vec::new(), Vec::new());
        for task in self.store.in_state(TaskState::Quarantined, Which::All).await? {
            let Ok(address) = EmailAddress::parse(task.address.as_bytes()) else {
                continue;
            };
            match vaultwarden::judge_reason(&address, &task.reason) {
                None => released.push(address),
                Some(rejection) => accused.extend(rejection.key.map(|key| (address, key))),
            }
        }
        if !released.is_empty() {
            let now = self.worker.clock.now();
            let which = Which::To(&released);
            self.store.release(&[TaskState::Quarantined], which, now).await?;
            self.observer.released_from_quarantine(released.len());
        }
        self.store.accuse(accused).await
    }

    /// Builds everything on `store`. `admin` wraps the client that the worker uses.
    pub(super) fn wire(
        config: &Config,
        store: Arc<dyn Store>,
        sessions: Sessions,
        admin: impl FnOnce(Arc<Vaultwarden>) -> Arc<dyn Admin>,
    ) -> anyhow::Result<Self> {
        let clock = Clock::system();
        let observer = Observer::new(
            config.directories.iter().map(|directory| directory.name.clone()),
            GRACE,
        );
        let (wake, retry_now) = (Arc::new(Notify::new()), RetryNow::default());
        let limits = limits(config);
        let mut directories = Vec::new();
        let listeners = config
            .directories
            .iter()
            .map(|directory| {
                let settings = directory_settings(directory)?;
                let (fingerprint, settings_scope) = (settings.fingerprint(), settings.scope());
                let connection = Arc::new(LdapDirectory::new(settings));
                directories.push(connection.clone());
                Ok(Listener {
                    name: directory.name.clone(),
                    scope: settings_scope,
                    fingerprint,
                    directory: connection,
                    store: store.clone(),
                    observer: observer.clone(),
                    clock: clock.clone(),
                    wake: wake.clone(),
                    policy: policy(config, directory, clock.now()),
                    limits,
                    audit_interval: directory.audit_interval,
                    retry: RECONNECT,
                    retry_now: retry_now.clone(),
                    jitter: rand::random,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        let settings = vaultwarden_settings(config);
        let vaultwarden = Arc::new(Vaultwarden::new(&settings, Arc::new(sessions), clock.clone())?);
        let worker = Worker {
            store: store.clone(),
            vaultwarden: admin(vaultwarden.clone()),
            observer: observer.clone(),
            clock,
            wake,
            retry_now: retry_now.clone(),
            settings: worker::Settings {
                concurrency: usize::try_from(config.invite.concurrency.get()).unwrap_or(usize::MAX),
                per_minute: config.invite.per_minute.map(Into::into),
                limits,
                resend_after: config.invite.resend_unknown_after,
            },
            jitter: rand::random,
        };
        Ok(Self {
            store,
            observer,
            listeners,
            worker,
            limits,
            servers: Servers {
                vaultwarden,
                directories,
            },
            retry_now,
        })
    }
}

pub(super) fn vaultwarden_settings(config: &Config) -> vaultwarden::ClientSettings {
    let config::Vaultwarden {
        url,
        admin_token,
        tls,
        proxy,
        headers,
    } = config.vaultwarden.clone();
    vaultwarden::ClientSettings {
        tls,
        proxy,
        headers,
        ..vaultwarden::ClientSettings::new(url, admin_token)
    }
}

/// The settings of one directory.
///
/// # Errors
/// Its TLS files cannot be used.
pub fn directory_settings(directory: &config::Directory) -> anyhow::Result<directory::Settings> {
    let tls = directory
        .tls
        .client_config()
        .with_context(|| format!("directory {}", directory.name))?;
    Ok(directory::Settings {
        name: directory.name.clone(),
        servers: directory.servers.clone(),
        starttls: directory.starttls,
        tls: Arc::new(tls),
        bind: directory.bind.clone(),
        base: directory.base_dn.clone(),
        filter: directory.filter.clone(),
        groups: directory.groups.clone(),
        id_attribute: directory.id_attribute.clone(),
        attributes: attributes(directory),
        stream: directory.stream,
        poll_interval: directory.poll_interval,
        page_size: directory.page_size.get(),
        max_message_size: directory.max_message_size,
    })
}

/// The attributes to read. They are part of the fingerprint of the directory, so that a change of `disabled_accounts`
/// makes the listener list everyone again.
fn attributes(directory: &config::Directory) -> Vec<String> {
    let mut attributes = directory.mail_attributes.clone();
    if directory.disabled_accounts == config::DisabledAccounts::Auto {
        attributes.extend(DISABLED_ATTRIBUTES.map(str::to_owned));
    }
    attributes
}

/// The configured limits.
fn limits(config: &Config) -> Limits {
    let config::Limits {
        invites_per_listing,
        invites_per_hour,
        addresses_per_person,
    } = config.limits;
    Limits {
        invites_per_listing,
        invites_per_hour,
        addresses_per_person,
    }
}

/// The membership policy of a directory, at the time `now`.
pub fn policy(config: &Config, directory: &config::Directory, now: Timestamp) -> Policy {
    Policy {
        now,
        mail_attributes: directory.mail_attributes.clone(),
        invite_changed_address: config.invite.on_address_change == config::OnAddressChange::Invite,
        disabled_are_members: directory.disabled_accounts == config::DisabledAccounts::Ignore,
    }
}
