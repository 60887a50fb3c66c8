//! Runs the service, and a single `sync`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::administration::OfService;
use super::certificates;
use super::duty;
use super::housekeeping;
use super::listening::Listening;
use super::servers::{Renewed, traces_settings};
use super::signals::{Requests, Signals};
use super::supervisor::{RESTART, Supervisor};
use super::systemd;
use super::wiring::Components;
use crate::config::Config;
use crate::listener::Listener;
use crate::model::ActionState;
use crate::page::Page;
use crate::store::{Lease, Location};
use crate::telemetry::http;
use crate::telemetry::log::LogHandle;
use crate::telemetry::traces::Traces;
use crate::worker::Until;

/// How long work in progress may take after SIGTERM; less than the 90 s after which systemd sends SIGKILL.
const STOP_GRACE: Duration = Duration::from_secs(60);

/// How long the orders of the status page may take after that.
const ORDERS_GRACE: Duration = Duration::from_secs(5);

const STOPPED: &str = "stopped before all work was done; the next run continues";

/// The result of a `sync`, and the work that is left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncSummary {
    /// People invited by this run.
    pub invited: u64,
    /// People who already had an account.
    pub had_account: u64,
    /// Accounts changed by this run: those of leavers, of people who are back, and reminders.
    pub changed: u64,
    /// Leavers whose accounts are left alone until they have been gone for long enough.
    pub leaving: u64,
    /// Leavers who are held back by one of the `limits`.
    pub leavers_held: u64,
    /// Invitations still to be delivered.
    pub queued: u64,
    /// Invitations held back by one of the `limits`.
    pub held: u64,
    /// Invitations, and actions for leavers, in quarantine.
    pub quarantined: u64,
    /// One line for each directory that was not listed completely.
    pub failures: Vec<String>,
}

/// Runs the service until SIGTERM or SIGINT. Calls `reload` on SIGHUP and uses the secrets and the level of `log` that it
/// returns. Also calls it when a server refuses a bind password.
///
/// # Errors
/// The service cannot start. Once it runs, failures are retried and do not end it.
pub async fn run(
    config: Config,
    log: LogHandle,
    reload: impl Fn() -> anyhow::Result<Config> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let mut signals = Signals::install().context("the signal handlers cannot be installed")?;
    let requests = Requests::default();
    let traces = Traces::start(traces_settings(&config).as_ref())?;
    let components = Components::open(&config).await?;
    let notifier = components.notifier(&config).await?;
    let mut supervisor = Supervisor::new(
        RESTART,
        rand::random,
        requests.stop.clone(),
        components.retry_now.clone(),
    )
    .watched_by(components.observer.clone());
    for part in notifier.parts() {
        let (name, part) = (part.name(), Arc::new(part));
        let lease = components.store.clone().duty(&name).lease;
        let work = move |held: CancellationToken| {
            let part = part.clone();
            async move {
                part.run(&held).await;
                Ok(())
            }
        };
        duty::spawn(&mut supervisor, name, lease, &requests.stop, |_| {}, work);
    }
    let public = http::Public {
        hosts: config.http.hosts.clone(),
        dns: config.dns(),
    };
    let administration = Arc::new(OfService::new(
        components.store.clone(),
        components.servers.directories.clone(),
        components.observer.clone(),
        config.clone(),
    ));
    let page = Page::new(
        components.store.clone(),
        components.observer.clone(),
        administration.clone(),
        public.clone(),
        config.http.admin_token.clone(),
        requests.stop.clone(),
    );
    if let Some(address) = config.http.listen {
        let listener = http::bind(address).await?;
        // The operating system chooses a port for port 0; a restart of this part uses the same one.
        let address = listener
            .local_addr()
            .context("the address of [http] cannot be read")?;
        let mut taken = Some(listener);
        tracing::info!(%address, "answering /livez, /healthz, /readyz and /metrics, and the status page");
        let (observer, store) = (components.observer.clone(), components.store.clone());
        let router = http::endpoints(observer, store, public.clone()).merge(page.router());
        let (public, stop) = (public.clone(), requests.stop.clone());
        supervisor.spawn("http", move || {
            let (taken, router) = (taken.take(), router.clone());
            let (public, stop) = (public.clone(), stop.clone());
            async move {
                let listener = match taken {
                    Some(listener) => listener,
                    None => http::bind(address).await?,
                };
                http::serve(listener, router, public, stop).await;
                Ok(())
            }
        });
    }
    let (servers, retry_now) = (components.servers, components.retry_now);
    let observer = components.observer.clone();
    let (store, watching, retrying, stop) = (
        components.store.clone(),
        observer.clone(),
        retry_now.clone(),
        requests.stop.clone(),
    );
    supervisor.spawn("store", move || {
        let (store, observer) = (store.clone(), watching.clone());
        let (retry_now, stop) = (retrying.clone(), stop.clone());
        async move {
            housekeeping::watch_store(&*store, &observer, &retry_now, &stop).await;
            Ok(())
        }
    });
    let (peers, watching, clock) = (
        Arc::new(certificates::peers(&config)),
        observer.clone(),
        components.worker.clock.clone(),
    );
    let (files_changed, stop) = (Arc::new(Notify::new()), requests.stop.clone());
    let changed = files_changed.clone();
    supervisor.spawn("certificates", move || {
        let (peers, observer, clock) = (peers.clone(), watching.clone(), clock.clone());
        let (changed, stop) = (changed.clone(), stop.clone());
        async move {
            certificates::watch(&peers, &observer, &clock, &changed, &stop).await;
            Ok(())
        }
    });
    let reload = Arc::new(reload);
    servers.reread_passwords(&config, &reload);
    for (listener, lease) in components.listeners.into_iter().zip(components.leases) {
        let name = format!("listener {}", listener.name);
        let listening = Arc::new(Listening {
            listener,
            lease: lease.clone(),
            store: components.store.clone(),
            stop: requests.stop.clone(),
            left: AtomicBool::default(),
        });
        let standing_by = listening.clone();
        let stands_by = move |does| {
            let listener = &standing_by.listener;
            listener.observer.stands_by(&listener.name, does);
        };
        let work = move |held: CancellationToken| {
            let listening = listening.clone();
            async move { Ok(listening.run(&held).await?) }
        };
        duty::spawn(&mut supervisor, name, lease, &requests.stop, stands_by, work);
    }
    if systemd::is_expected() {
        let (observer, store, stop) = (
            components.observer,
            components.store.clone(),
            requests.stop.clone(),
        );
        supervisor.spawn("service manager", move || {
            let (observer, store, stop) = (observer.clone(), store.clone(), stop.clone());
            let public = public.clone();
            async move { systemd::notify(&observer, &*store, &public, &stop).await }
        });
    }
    let store = components.store;
    let lease = store.clone().duty("housekeeping").lease;
    let kept = Duration::from_secs(u64::from(config.journal_days) * 24 * 3600);
    let (kept_store, clock) = (store.clone(), components.worker.clock.clone());
    let work = move |held: CancellationToken| {
        let (store, clock, observer) = (kept_store.clone(), clock.clone(), observer.clone());
        async move {
            let ended = housekeeping::keep_house(&*store, &clock, kept, &held).await;
            Ok(ended.inspect_err(|error| observer.store_failed(error))?)
        }
    };
    duty::spawn(
        &mut supervisor,
        "housekeeping",
        lease,
        &requests.stop,
        |_| {},
        work,
    );
    let (accounts, lease) = (components.accounts, components.accounts_lease);
    let work = move |held: CancellationToken| {
        let accounts = accounts.clone();
        async move {
            let ended = accounts.run(&held).await;
            Ok(ended.inspect_err(|error| accounts.observer.store_failed(error))?)
        }
    };
    duty::spawn(&mut supervisor, "accounts", lease, &requests.stop, |_| {}, work);
    let (worker, stop, abort) = (
        Arc::new(components.worker),
        requests.stop.clone(),
        requests.abort.clone(),
    );
    supervisor.spawn("invite worker", move || {
        let (worker, stop, abort) = (worker.clone(), stop.clone(), abort.clone());
        async move { Ok(worker.run(Until::Stopped, &stop, &abort).await.map(drop)?) }
    });
    let apply = |renewed: &Config, what: Renewed| -> anyhow::Result<()> {
        // Whatever may fail comes before the first change.
        let receivers = notifier.renewal(&renewed.notify)?;
        let collector = traces.renewal(traces_settings(renewed).as_ref())?;
        if let Location::Postgres(database) = &renewed.state {
            // Each connection reads them; here it is only found out whether it can.
            database.tls.client_config()?;
        }
        servers.renew(renewed, what)?;
        receivers.apply();
        collector.apply();
        page.renew(renewed.http.admin_token.clone());
        administration.renew(renewed.clone());
        log.set_level(renewed.log.level.as_str())?;
        retry_now.notify();
        Ok(())
    };
    let reloads = async {
        let mut current = config.clone();
        loop {
            tokio::select! {
                () = requests.reload.notified() => {
                    let _reloading = systemd::Reloading::begin();
                    let renewed = reload().map(|other| current.renewed_by(&other));
                    match renewed.and_then(|(renewed, kept)| {
                        apply(&renewed, Renewed::Secrets).map(|()| (renewed, kept))
                    }) {
                        Ok((renewed, kept)) => {
                            current = renewed;
                            tracing::info!(
                                level = current.log.level.as_str(),
                                "secrets and log level were reloaded; other keys take effect after a restart"
                            );
                            for key in kept {
                                tracing::warn!(key, "this secret is another one now, which takes effect after a restart");
                            }
                        }
                        Err(error) => tracing::error!("the old configuration stays in use: {error:#}"),
                    }
                }
                () = files_changed.notified() => match apply(&current, Renewed::Certificates) {
                    Ok(()) => tracing::info!("the certificates were read again"),
                    Err(error) => tracing::warn!("the certificates stay in use as they were: {error:#}"),
                },
            }
        }
    };
    let finished = supervisor.finish(STOP_GRACE, &requests.abort);
    tokio::pin!(finished);
    let aborted = tokio::select! {
        aborted = &mut finished => aborted,
        () = async { tokio::join!(signals.relay(&requests), reloads); } => finished.await,
    };
    if !aborted.is_empty() {
        tracing::warn!(
            parts = aborted.join(", "),
            "stopped before these parts had finished; no data is lost"
        );
    }
    page.finish(ORDERS_GRACE).await;
    duty::depart(&*store).await;
    traces.finish().await;
    tracing::info!("stopped");
    Ok(())
}

/// Lists every directory once, delivers everything that is due, and returns.
///
/// # Errors
/// The store failed, or a signal stopped it. A directory that fails is part of the summary.
pub async fn sync(config: Config) -> anyhow::Result<SyncSummary> {
    let mut signals = Signals::install().context("the signal handlers cannot be installed")?;
    let requests = Requests::default();
    let traces = Traces::start(traces_settings(&config).as_ref())?;
    let components = Components::open(&config).await?;
    let notifier = components.notifier(&config).await?;
    let work = async {
        let failures = tokio::select! {
            failures = list_free(&components.listeners, &components.leases) => failures,
            () = requests.stop.cancelled() => bail!("{STOPPED}"),
        };
        if duty::take_soon(&*components.accounts_lease).await {
            components.accounts.look().await?;
        }
        let tally = components
            .worker
            .run(Until::Drained, &requests.stop, &requests.abort)
            .await?;
        notifier.once(&requests.stop).await;
        let report = components.store.report().await?;
        Ok(SyncSummary {
            invited: tally.invited,
            had_account: tally.had_account,
            changed: tally.changed,
            leaving: report.leavers_in(ActionState::Queued),
            leavers_held: report.leavers_in(ActionState::Held),
            queued: report.count(ActionState::Queued),
            held: report.count(ActionState::Held),
            quarantined: report.count(ActionState::Quarantined) + report.leavers_in(ActionState::Quarantined),
            failures,
        })
    };
    let summary = tokio::select! {
        summary = work => summary,
        () = signals.relay(&requests) => Err(anyhow!("{STOPPED}")),
    };
    duty::depart(&*components.store).await;
    traces.finish().await;
    summary
}

/// Lists every directory once. Returns one line for each directory that was not listed completely.
///
/// Uses the order of the configuration, so that runs are reproducible: if two entries have the same address, the first
/// one gets the invitation.
pub(super) async fn list_everything(listeners: impl IntoIterator<Item = &Listener>) -> Vec<String> {
    let mut failures = Vec::new();
    for listener in listeners {
        if let Err(error) = listener.list_once().await {
            failures.push(format!("directory {}: {error}", listener.name));
        }
    }
    failures
}

/// As [`list_everything`], except the directories to which a running service listens.
async fn list_free(listeners: &[Listener], leases: &[Arc<dyn Lease>]) -> Vec<String> {
    let (mut free, mut failures) = (Vec::new(), Vec::new());
    for (listener, lease) in listeners.iter().zip(leases) {
        if duty::take_soon(&**lease).await {
            free.push(listener);
        } else {
            failures.push(format!(
                "directory {}: a running service listens to it, so it is not listed; `ldap-usher status` names the service",
                listener.name
            ));
        }
    }
    failures.extend(list_everything(free).await);
    failures
}
