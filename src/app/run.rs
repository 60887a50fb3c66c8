//! The one place that sees everything.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::Notify;

use super::servers::Servers;
use super::sessions::Sessions;
use super::signals::{Signals, Wishes};
use super::supervisor::{RESTART, Supervisor};
use super::systemd;
use crate::clock::{Clock, Timestamp};
use crate::config::{self, Config};
use crate::directory::{self, LdapDirectory};
use crate::listener::Listener;
use crate::model::{ActionState, EmailAddress};
use crate::panics;
use crate::retry::{Retry, RetryNow};
use crate::rules::Limits;
use crate::rules::membership::{DISABLED_ATTRIBUTES, Policy};
use crate::store::{Decisions, Sqlite, Store, StoreError, Which};
use crate::telemetry::log::{self, LogHandle};
use crate::telemetry::{GRACE, Observer, http};
use crate::vaultwarden::{self, Admin, Vaultwarden};
use crate::worker::{self, Until, Worker};

/// The waits between two sessions with a directory.
pub const RECONNECT: Retry = Retry {
    first: Duration::from_millis(500),
    ceiling: Duration::from_secs(60),
    floor: Duration::from_millis(50),
};
/// What is under way gets this long after SIGTERM: below the 90 s after which systemd kills.
const STOP_GRACE: Duration = Duration::from_secs(60);

const STOPPED: &str = "stopped before everything was done; the next run goes on from here";

/// What a `sync` did, and what it leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncSummary {
    /// People invited by this run.
    pub invited: u64,
    /// People found to have an account by this run.
    pub had_account: u64,
    /// Invitations still to be delivered.
    pub queued: u64,
    /// Invitations held by `limits.invites_per_listing`.
    pub held: u64,
    /// Invitations in quarantine.
    pub quarantined: u64,
    /// What went wrong: a line for each directory that was not listed completely.
    pub failures: Vec<String>,
}

/// Runs the service until it is told to stop by SIGTERM or SIGINT. `reload` reads the configuration again, on
/// SIGHUP; its secrets and its log level count from then on. A bind password that a server refuses is read again as well.
///
/// # Errors
/// What keeps the service from starting; once it runs it outlives everything outside it.
pub async fn run(
    config: Config,
    reload: impl Fn() -> anyhow::Result<Config> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let log = start_log(&config)?;
    let mut signals = Signals::take().context("signals cannot be handled")?;
    let wishes = Wishes::default();
    let parts = Parts::assemble(&config).await?;
    let mut supervisor = Supervisor::new(RESTART, rand::random, wishes.stop.clone());
    let public = http::Public {
        hosts: config.http.hosts.clone(),
        dns: config.dns(),
    };
    if let Some(address) = config.http.listen {
        let listener = http::bind(address).await?;
        // Port 0 leaves the choice to the system; a restart of this part keeps what was chosen.
        let address = listener
            .local_addr()
            .context("the port of [http] cannot be read")?;
        let mut taken = Some(listener);
        tracing::info!(%address, "answering /livez, /readyz and /metrics");
        let (observer, store, stop) = (parts.observer.clone(), parts.store.clone(), wishes.stop.clone());
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
            wishes.stop.clone(),
        );
        supervisor.keep(name, move || {
            let (listener, stop) = (listener.clone(), stop.clone());
            async move { Ok(listener.run(&stop).await?) }
        });
    }
    if systemd::listens() {
        let (observer, store, stop) = (parts.observer, parts.store, wishes.stop.clone());
        supervisor.keep("service manager", move || {
            let (observer, store, stop) = (observer.clone(), store.clone(), stop.clone());
            let public = public.clone();
            async move { systemd::inform(&observer, &*store, &public, &stop).await }
        });
    }
    let (worker, stop, at_once) = (
        Arc::new(parts.worker),
        wishes.stop.clone(),
        wishes.at_once.clone(),
    );
    supervisor.keep("invite worker", move || {
        let (worker, stop, at_once) = (worker.clone(), stop.clone(), at_once.clone());
        async move { Ok(worker.run(Until::Stopped, &stop, &at_once).await.map(drop)?) }
    });
    let reloads = async {
        loop {
            wishes.reload.notified().await;
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
                        "secrets and the log level were read again; other keys take effect after a restart"
                    );
                    retry_now.notify();
                }
                Err(error) => tracing::error!("the configuration stays as it was: {error:#}"),
            }
        }
    };
    let finished = supervisor.finish(STOP_GRACE, &wishes.at_once);
    tokio::pin!(finished);
    let cut_off = tokio::select! {
        cut_off = &mut finished => cut_off,
        () = async { tokio::join!(signals.relay(&wishes), reloads); } => finished.await,
    };
    if !cut_off.is_empty() {
        tracing::warn!(
            parts = cut_off.join(", "),
            "stopped before these had finished; nothing is lost"
        );
    }
    tracing::info!("stopped");
    Ok(())
}

/// Lists every directory once, delivers everything that is due, and ends.
///
/// # Errors
/// The state file failed, or a signal ended it. A directory that fails is part of the summary.
pub async fn sync(config: Config) -> anyhow::Result<SyncSummary> {
    start_log(&config)?;
    let mut signals = Signals::take().context("signals cannot be handled")?;
    let wishes = Wishes::default();
    let parts = Parts::assemble(&config).await?;
    let work = async {
        let failures = tokio::select! {
            failures = list_everything(&parts.listeners) => failures,
            () = wishes.stop.cancelled() => bail!("{STOPPED}"),
        };
        let tally = parts
            .worker
            .run(Until::Drained, &wishes.stop, &wishes.at_once)
            .await?;
        let report = parts.store.report().await?;
        Ok(SyncSummary {
            invited: tally.invited,
            had_account: tally.had_account,
            queued: report.count(ActionState::Queued),
            held: report.count(ActionState::Held),
            quarantined: report.count(ActionState::Quarantined),
            failures,
        })
    };
    tokio::select! {
        summary = work => summary,
        () = signals.relay(&wishes) => bail!("{STOPPED}"),
    }
}

/// Lists every directory once, in the order of the configuration, so that two runs in the same world do the same: where
/// two entries have one address, the first one gets the invitation. Returns what went wrong, a line for each directory
/// that was not listed completely.
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

/// Everything, wired and not yet running.
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
    /// Everything on the state file, which is this process's own from now on.
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

    /// Tells the store which directories there are. Whatever else it knows of is retired.
    pub(super) async fn configure(&self) -> Result<(), StoreError> {
        let configured = self
            .listeners
            .iter()
            .map(|listener| (listener.name.clone(), listener.scope.clone()))
            .collect();
        let told = self.store.configure(configured).await?;
        for (from, to) in &told.renamed {
            self.observer.directory_renamed(from, to);
        }
        for directory in &told.retired {
            self.observer.directory_retired(directory);
        }
        self.store.retire(self.limits, self.worker.clock.now()).await?;
        self.judge_quarantined_again().await
    }

    /// What an earlier version took for people's own fault may be the server's by the rules of this one.
    async fn judge_quarantined_again(&self) -> Result<(), StoreError> {
        let (mut released, mut accused) = (Vec::new(), Vec::new());
        for task in self.store.in_state(ActionState::Quarantined, Which::All).await? {
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
            self.store
                .release(&[ActionState::Quarantined], which, now)
                .await?;
            self.observer.released_from_quarantine(released.len());
        }
        self.store.accuse(accused).await
    }

    /// Everything on this store; `admin` says what the worker takes for Vaultwarden.
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

pub(super) fn vaultwarden_settings(config: &Config) -> vaultwarden::Settings {
    let config::Vaultwarden {
        url,
        admin_token,
        tls,
        proxy,
        headers,
    } = config.vaultwarden.clone();
    vaultwarden::Settings {
        tls,
        proxy,
        headers,
        ..vaultwarden::Settings::new(url, admin_token)
    }
}

/// How to reach and read one directory, as the configuration says it.
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

/// What an entry is read for. That the accounts which are disabled are heeded is thus a part of the fingerprint, so that
/// everyone is listed when it changes.
fn attributes(directory: &config::Directory) -> Vec<String> {
    let mut attributes = directory.mail_attributes.clone();
    if directory.disabled_accounts == config::DisabledAccounts::Auto {
        attributes.extend(DISABLED_ATTRIBUTES.map(str::to_owned));
    }
    attributes
}

/// How many new people may be invited, as the configuration says it.
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

/// What the administrator decided about membership, as it is now.
pub fn policy(config: &Config, directory: &config::Directory, now: Timestamp) -> Policy {
    Policy {
        now,
        mail_attributes: directory.mail_attributes.clone(),
        invite_changed_address: config.invite.on_address_change == config::OnAddressChange::Invite,
        disabled_are_members: directory.disabled_accounts == config::DisabledAccounts::Ignore,
    }
}
