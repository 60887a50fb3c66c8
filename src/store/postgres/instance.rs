//! The running process as one of those that use the state: kept alive by a heartbeat, by the clock of the database.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::future::poll_fn;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::AsyncMessage;

use super::error::Failure;
use super::lease::Leases;
use super::settings::Settings;
use super::sql::{Db, values};
use super::{Kind, Postgres, connect, queue};
use crate::clock::{Clock, Timestamp};
use crate::store::InstanceReport;

/// The time between two heartbeats, and while this instance waits for a lease.
const BEAT: Duration = Duration::from_secs(2);
const BEAT_OF_STANDBY: Duration = Duration::from_secs(1);
/// How long a heartbeat may take. A later one would be worth more.
const BEAT_DEADLINE: Duration = Duration::from_secs(5);
/// An instance is dead so long after its last heartbeat, as the database measures it.
const LIFETIME: &str = "6 s";
/// The wait before notifications are listened to again.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// This process, as one of those that use the state.
#[derive(Debug)]
pub(super) struct Instance {
    /// Its number, random and new for each process.
    pub(super) id: i64,
    name: String,
    /// The worker that claims actions; `0` for none.
    worker: AtomicI64,
    /// What it does alone.
    pub(super) leases: Leases,
    /// Notified when actions may be due.
    pub(super) wake: Arc<Notify>,
    /// Whether it has ended. Held during each heartbeat, so that none registers it again after that.
    departed: Arc<Mutex<bool>>,
    began: Instant,
    /// The time of the database when `began` was, in milliseconds.
    epoch: Arc<AtomicI64>,
}

impl Instance {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            id: rand::random::<i64>(),
            name: settings.instance.clone(),
            worker: AtomicI64::new(0),
            leases: Leases::default(),
            wake: Arc::default(),
            departed: Arc::default(),
            began: Instant::now(),
            epoch: Arc::new(AtomicI64::new(Clock::system().now().0)),
        }
    }

    /// The clock of the database, as the last heartbeat has read it, followed in between by the monotonic clock.
    pub(super) fn clock(&self) -> Clock {
        let (began, epoch) = (self.began, self.epoch.clone());
        Clock::read_by(move || Timestamp(epoch.load(Ordering::Relaxed)) + began.elapsed())
    }

    /// Makes this worker the owner of what this instance claims, in the transaction in which it takes over.
    pub(super) async fn employ(&self, db: &Db, worker: i64) -> Result<(), Failure> {
        self.worker.store(worker, Ordering::Relaxed);
        self.renew(db, true).await
    }

    /// Says that this instance lives. Registers it if it is not registered, or was declared dead. A heartbeat that was late does
    /// not bring an earlier worker back, so only one that `takes_over` changes it.
    async fn renew(&self, db: &Db, takes_over: bool) -> Result<(), Failure> {
        let worker = Some(self.worker.load(Ordering::Relaxed)).filter(|worker| *worker != 0);
        let changes = if takes_over {
            ", worker = excluded.worker"
        } else {
            ""
        };
        let sql = format!(
            "insert into ldap_usher.instance (id, name, version, worker, started, until)
             values ($1, $2, $3, $4, clock_timestamp(), clock_timestamp() + interval '{LIFETIME}')
             on conflict (id) do update set until = excluded.until{changes}
             returning (extract(epoch from clock_timestamp()) * 1000)::bigint"
        );
        let version = env!("CARGO_PKG_VERSION");
        let now: i64 = db
            .one(&sql, values![self.id, self.name.as_str(), version, worker])
            .await?
            .try_get(0)?;
        let since = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.epoch.store(now.saturating_sub(since), Ordering::Relaxed);
        Ok(())
    }
}

impl Postgres {
    /// Registers this instance for the first time.
    pub(super) async fn enter(&self) -> Result<(), Failure> {
        let instance = self.instance.clone();
        self.perform(
            Kind::Lead,
            move |db| async move { instance.renew(&db, false).await },
        )
        .await
    }

    /// Keeps this instance alive and its leases, and takes back what dead instances have claimed. Never returns.
    pub(super) async fn live(self) {
        let mut was_alive = true;
        loop {
            let beat = timeout(BEAT_DEADLINE, self.beat()).await;
            match beat.unwrap_or(Err(Failure::TimedOut(BEAT_DEADLINE))) {
                Ok(()) => was_alive = true,
                // Whoever uses the store reports that it fails.
                Err(failure) => {
                    if std::mem::replace(&mut was_alive, false) {
                        tracing::debug!(?failure, "the state could not be told that this instance lives");
                    }
                }
            }
            let pause = if self.instance.leases.is_waiting() {
                BEAT_OF_STANDBY
            } else {
                BEAT
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.instance.leases.changed.notified() => {}
            }
        }
    }

    async fn beat(&self) -> Result<(), Failure> {
        let instance = self.instance.clone();
        let departed = instance.departed.clone().lock_owned().await;
        if *departed {
            return Ok(());
        }
        let (exchange, dead) = self
            .perform(Kind::Lead, move |db| async move {
                // Until the transaction has ended, even if nobody waits for it any more.
                let _departed = departed;
                instance.renew(&db, false).await?;
                let exchange = instance.leases.exchange(&db, instance.id).await?;
                Ok((exchange, has_dead(&db).await?))
            })
            .await?;
        exchange.tell();
        if dead {
            let now = self.instance.clock().now();
            let taken_back = self
                .perform(Kind::Decide, move |db| async move { bury(&db, now).await })
                .await?;
            if taken_back > 0 {
                tracing::info!(
                    actions = taken_back,
                    "an instance ended without settling its actions; they are looked up before they are repeated"
                );
                self.instance.wake.notify_one();
            }
        }
        Ok(())
    }

    /// Says that this instance ends, so that another one takes over at once.
    pub(super) async fn depart(&self) -> Result<(), Failure> {
        self.instance.leases.release_all();
        *self.instance.departed.lock().await = true;
        let id = self.instance.id;
        self.perform(Kind::Lead, move |db| async move {
            let leases = "update ldap_usher.lease set holder = null, since = null where holder = $1";
            db.execute(leases, values![id]).await?;
            db.execute("delete from ldap_usher.instance where id = $1", values![id])
                .await?;
            db.query("select pg_notify('ldap_usher', 'lease')", &[]).await?;
            Ok(())
        })
        .await
    }

    /// Listens to what other instances notify. This is only faster than to ask every two seconds: behind a pooler
    /// notifications are lost. Never returns.
    pub(super) async fn listen(self) {
        loop {
            if let Err(failure) = self.listen_once().await {
                tracing::debug!(?failure, "notifications of the state are not heard for a while");
            }
            sleep(LISTEN_AGAIN).await;
        }
    }

    async fn listen_once(&self) -> Result<(), Failure> {
        let tls = connect::tls(&self.settings).map_err(Failure::Tls)?;
        let (client, mut connection) = connect::config(&self.settings).connect(tls).await?;
        let mut messages = poll_fn(|context| connection.poll_message(context));
        let mut listen = pin!(client.batch_execute("listen ldap_usher"));
        let mut listens = false;
        loop {
            let message = tokio::select! {
                done = listen.as_mut(), if !listens => {
                    done?;
                    listens = true;
                    continue;
                }
                message = &mut messages => message,
            };
            match message {
                Some(Ok(AsyncMessage::Notification(notified))) if notified.payload() == "lease" => {
                    self.instance.leases.changed.notify_one();
                }
                Some(Ok(AsyncMessage::Notification(_))) => self.instance.wake.notify_one(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Failure::Closed),
            }
        }
    }
}

/// Whether there is a dead instance, or an action that is claimed by no worker of a living one.
async fn has_dead(db: &Db) -> Result<bool, Failure> {
    let sql = "select exists (select 1 from ldap_usher.instance where until <= clock_timestamp())
                   or exists (select 1 from ldap_usher.action a
                              where a.owner is not null
                                and not exists (select 1 from ldap_usher.instance i where i.worker = a.owner))";
    Ok(db.one(sql, &[]).await?.try_get(0)?)
}

/// Removes dead instances and takes back what their workers have claimed. Returns the number of actions.
async fn bury(db: &Db, now: Timestamp) -> Result<usize, Failure> {
    db.execute(
        "delete from ldap_usher.instance where until <= clock_timestamp()",
        &[],
    )
    .await?;
    queue::take_back(db, now).await
}

/// Whether an instance lives.
pub(super) async fn is_served(db: &Db) -> Result<bool, Failure> {
    let sql = "select exists (select 1 from ldap_usher.instance where until > clock_timestamp())";
    Ok(db.one(sql, &[]).await?.try_get(0)?)
}

/// The living instances, in the order of their start, and what each does alone.
pub(super) async fn report(db: &Db) -> Result<Vec<InstanceReport>, Failure> {
    let millis = |column: &str| format!("(extract(epoch from {column}) * 1000)::bigint");
    let sql = format!(
        "select i.id, i.name, i.version, {}, l.name, {}
         from ldap_usher.instance i left join ldap_usher.lease l on l.holder = i.id
         where i.until > clock_timestamp() order by i.started, i.id, l.name",
        millis("i.started"),
        millis("l.since"),
    );
    let mut places = HashMap::new();
    let mut reports: Vec<InstanceReport> = Vec::new();
    for row in db.query(&sql, &[]).await? {
        let id: i64 = row.try_get(0)?;
        let place = *places.entry(id).or_insert(reports.len());
        if place == reports.len() {
            reports.push(InstanceReport {
                name: row.try_get(1)?,
                version: row.try_get(2)?,
                started: Timestamp(row.try_get(3)?),
                duties: Vec::new(),
            });
        }
        if let Some(name) = row.try_get::<_, Option<String>>(4)? {
            let since: Option<i64> = row.try_get(5)?;
            reports[place]
                .duties
                .push((name, Timestamp(since.unwrap_or_default())));
        }
    }
    Ok(reports)
}
